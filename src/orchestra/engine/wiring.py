"""What the sessions of one process share, and what names a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from orchestra.ports import Clock, Store, Workspaces
from orchestra.run.events import LiveEvent, Recorded, WarningRaised
from orchestra.run.secrets import Redactor
from orchestra.run.state import RunState

AT_ONCE = 16
"""Nodes of branches that run at once in a session, unless ``limits.run.parallel`` says otherwise."""

Listener: TypeAlias = Callable[[Recorded | LiveEvent], None]
"""Is told each event once it is durable, and what is only shown as it happens."""

Sweep: TypeAlias = Callable[[RunState], Awaitable[tuple[WarningRaised, ...]]]
"""Stops what a dead runner left running of a session, and returns what to record about it (E4)."""


async def no_sweep(state: RunState) -> tuple[WarningRaised, ...]:
    """Stop nothing: for sessions that never ran a command."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerProcess:
    """The process that creates or runs a session, for its provenance.

    ``machine`` identifies the running system in which ``pid`` means something; empty where that is not known.
    """

    host: str
    pid: int
    version: str
    machine: str = ""

    @property
    def note(self) -> str:
        """The name of the session's owner as other processes see it (S16)."""
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What every session of this process is opened with.

    ``interrupted`` (``rerun``, ``fail`` or empty) is the operator's decision about attempts that were cut off;
    ``secrets`` are the names of the secrets declared now, None where nothing was declared anew. At most ``at_once``
    nodes of a session's branches run at once (E31). ``max_cost_micros`` is the bound of the command line (A5).
    """

    store: Store
    clock: Clock
    redactor: Redactor
    listeners: tuple[Listener, ...]
    origin: RunnerProcess
    sweep: Sweep = no_sweep
    interrupted: str = ""
    secrets: tuple[str, ...] | None = None
    at_once: int = AT_ONCE
    workspaces: Workspaces | None = None
    max_cost_micros: int = 0

    def on(self, workspaces: Workspaces | None) -> Wiring:
        """Return the same for sessions that work on these repositories."""
        return replace(self, workspaces=workspaces)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlace:
    """Where a session is in a store: its display id, the context of its chain, and its mailbox's."""

    session: str
    context_id: int
    mailbox: int
