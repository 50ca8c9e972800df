"""Runs that their store stopped: remembered on this machine until the store can record it (S20)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestra.config.environment import state_directory
from orchestra.config.settings import Settings
from orchestra.engine.running import Run
from orchestra.run.secrets import Redactor


class StoppedSession(Struct, frozen=True, kw_only=True):
    """A run whose store failed: its node, why and when (UTC ms) it stopped, its runner's claim (S16)."""

    session: str
    context_id: int
    store: str
    pipeline: str
    node: str
    reason: str
    claim: str
    at_ms: int


def _folder(environment: Mapping[str, str]) -> Path:
    return state_directory(environment) / "stopped"


def remember(settings: Settings, run: Run, reason: str, now_ms: int) -> None:
    """Note that a run stopped; nothing where not even that can be written."""
    if settings.place == "memory":
        return
    state = run.state
    note = StoppedSession(
        session=state.session,
        context_id=run.context_id,
        store=settings.place,
        pipeline=state.pipeline,
        node=state.node,
        reason=Redactor(settings.secrets).text(reason),
        claim=run.opened.hold.token,
        at_ms=now_ms,
    )
    folder = _folder(os.environ)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{state.session}.{os.getpid()}"
        beside.write_bytes(msgspec.json.encode(note))
        beside.replace(folder / state.session)


def read_stopped(settings: Settings) -> dict[str, StoppedSession]:
    """The runs that this store stopped, by their sessions, newest first."""
    found: list[StoppedSession] = []
    with contextlib.suppress(OSError):
        for file in _folder(os.environ).iterdir():
            with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
                found.append(msgspec.json.decode(file.read_bytes(), type=StoppedSession))
    return {
        note.session: note for note in sorted(found, key=lambda note: -note.at_ms) if note.store == settings.place
    }


def forget(session: str) -> None:
    """The store knows now."""
    with contextlib.suppress(OSError):
        (_folder(os.environ) / session).unlink()
