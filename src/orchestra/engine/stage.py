"""One execution of one node: what its handler gets, and the wall around the handler (engine.md 2)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from orchestra.engine.journal import Journal
from orchestra.errors import StoreError
from orchestra.graph.model import Graph, Node
from orchestra.ports import Clock, Handler
from orchestra.run.context import Context, reserved
from orchestra.run.events import ContextValue, WarningRaised
from orchestra.run.outcome import FailureClass, Json, Outcome, Status, failed
from orchestra.run.plain import clean, plain_json
from orchestra.run.steps import Execute

_TERMINAL = (FileNotFoundError, NotImplementedError, PermissionError)
"""Exceptions that another attempt would meet again: a missing file or command, configuration (E20)."""


class Stage:
    """What a handler gets of its session (the ``Scope`` port), and what it left behind when it ended."""

    __slots__ = ("_clock", "_journal", "_step", "prompted", "responded")

    def __init__(self, journal: Journal, step: Execute, clock: Clock) -> None:
        self._journal = journal
        self._step = step
        self._clock = clock
        self.prompted = ""
        self.responded = ""

    @property
    def visit(self) -> int:
        """How often the node has been entered, this time included."""
        return self._step.visit

    @property
    def attempt(self) -> int:
        """Which attempt of this visit, from 1."""
        return self._step.attempt

    @property
    def execution(self) -> int:
        """How often the node has been executed in the session, retries included, from 1."""
        return self._journal.state.nodes[self._step.node].executions

    @property
    def previous(self) -> Outcome:
        """The last outcome that a conditional node passes on (E13)."""
        passed = self._journal.state.passed
        return Outcome(
            status=Status(passed.status),
            word=passed.word,
            preferred_label=passed.preferred_label,
            failure_reason=passed.failure_reason,
        )

    @property
    def variables(self) -> Mapping[str, Json]:
        """The variables given when the run was started."""
        return self._journal.state.variables

    def prompt(self, text: str) -> None:
        """Record what the agent is asked."""
        self.prompted = clean(text)

    def response(self, text: str) -> None:
        """Record the agent's whole answer."""
        self.responded = clean(text)

    async def resolve(self, value: ContextValue) -> Json:
        """A context value, its reference resolved."""
        return await self._journal.resolve(value)

    async def sleep(self, seconds: float) -> None:
        """Wait; a cancellation interrupts it."""
        await self._clock.sleep(seconds)


async def attempt(handler: Handler, node: Node, context: Context, graph: Graph, stage: Stage) -> Outcome:
    """One attempt: the handler's outcome, its exception or its timeout as a failure.

    A lost store is ours and passes through, also out of an exception group.
    """
    limit = node.duration("timeout")
    try:
        if limit is None:
            outcome = await handler(node, context, graph, stage)
        else:
            outcome = await _within(limit.seconds, str(limit), handler, node, context, graph, stage)
    except StoreError:
        raise
    except BaseExceptionGroup as group:
        store = group.subgroup(StoreError)
        if store is not None:
            raise store.exceptions[0] from group
        if not isinstance(group, Exception):
            raise
        return _raised(group.exceptions[0])
    except Exception as error:  # noqa: BLE001  the wall: a handler's exception is the node's failure
        return _raised(error)
    return _reported(node, outcome)


async def _within(
    seconds: float, shown: str, handler: Handler, node: Node, context: Context, graph: Graph, stage: Stage
) -> Outcome | None:
    try:
        async with asyncio.timeout(seconds) as limit:
            return await handler(node, context, graph, stage)
    except TimeoutError:
        if limit.expired():
            return failed(f"timeout after {shown}", FailureClass.TRANSIENT)
        raise


def _raised(error: BaseException) -> Outcome:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return failed(clean(text), FailureClass.TERMINAL if isinstance(error, _TERMINAL) else None)


def _reported(node: Node, outcome: Outcome | None) -> Outcome:
    if outcome is not None:
        return outcome
    if node.flag("auto_status"):
        return Outcome(status=Status.SUCCESS, notes="auto_status: the handler reported nothing")
    return failed("the handler reported nothing (auto_status=true would make that a success)")


def admitted(
    node: Node, outcome: Outcome, own: frozenset[str]
) -> tuple[Outcome, dict[str, Json], list[WarningRaised]]:
    """The outcome, its context updates made plain, and warnings for the keys that were dropped.

    ``own`` are the roots of reserved keys that the node's handler writes itself. An update that is no JSON
    value fails the node: a value silently changed would be worse.
    """
    updates: dict[str, Json] = {}
    warnings = []
    for key, value in outcome.context_updates.items():
        if reserved(key) and key.partition(".")[0] not in own:
            message = f"{node.id} may not write {key!r}, which belongs to the engine: the update was dropped"
            warnings.append(WarningRaised(message=message, rule="reserved_key", node=node.id))
            continue
        try:
            updates[clean(key)] = plain_json(value)
        except ValueError as error:
            return failed(f"context update {key!r}: {error}", FailureClass.TERMINAL), {}, warnings
    return outcome, updates, warnings
