"""Run one attempt: contain its handler's errors and judge its outcome (engine.md#handlers).

An outcome passes four questions in turn: is its form right, is its word one that an edge asks for, may the handler
write these keys, and does a failure mean another attempt or the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, NamedTuple

from msgspec.structs import astuple, replace

from orchestra.errors import (
    BackendError,
    ConfigError,
    InvalidPipeline,
    SourceError,
    StoreError,
    Terminal,
    Transient,
)
from orchestra.graph.attributes import Duration
from orchestra.graph.model import Graph, Node
from orchestra.ports import Handler, Scope, Suspended
from orchestra.run.context import Context
from orchestra.run.events import WarningRaised
from orchestra.run.outcome import FailureClass, Json, Outcome, Status, failed_outcome, legal_words
from orchestra.run.plain import clean, plain_json
from orchestra.run.retry import exhaust, impatient, may_retry
from orchestra.run.secrets import Redactor
from orchestra.run.steps import Execute

_TERMINAL = (
    FileNotFoundError,
    NotImplementedError,
    PermissionError,
    ConfigError,
    InvalidPipeline,
    SourceError,
    Terminal,
)
"""Exceptions that another attempt would meet again: a missing file or command, configuration (E20)."""

KEY_SHOWN = 200
"""Characters of a context key that a message shows."""

WORDS = 4096
"""Characters of a reason, a remark or a label that are kept: they stand in the state, which stays small (S17)."""


async def attempt(handler: Handler, node: Node, context: Context, graph: Graph, stage: Scope) -> Outcome:
    """One attempt: the handler's outcome, its exception or its timeout as a failure.

    A lost store is ours and passes through, also out of an exception group. A handler with ``keeps_time`` sees to
    the node's ``timeout`` itself (H5).
    """
    limit = None if getattr(handler, "keeps_time", False) else node.duration("timeout")
    try:
        if limit is None:
            outcome = await handler(node, context, graph, stage)
        else:
            outcome = await _within(limit, handler, node, context, graph, stage)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return _outcome_of(error)  # nobody cancelled us: the handler waited for something that was
    except BaseExceptionGroup as group:
        if not isinstance(group, Exception):
            raise
        _let_through(group)
        return _outcome_of(_first(group))
    except Exception as error:  # noqa: BLE001  the wall: a handler's exception is the node's failure
        _let_through(error)
        return _outcome_of(error)
    return _check_report(node, outcome)


async def _within(
    limit: Duration, handler: Handler, node: Node, context: Context, graph: Graph, stage: Scope
) -> Outcome | None:
    """Return the handler's outcome, or its timeout, however the handler reacted to that."""
    try:
        async with asyncio.timeout(limit.seconds) as timer:
            outcome = await handler(node, context, graph, stage)
    except Exception as error:
        _let_through(error)
        if not timer.expired():
            raise
    if timer.expired():
        shown = limit if limit.milliseconds % 1000 else f"{limit.milliseconds // 1000}s"
        return failed_outcome(f"timeout after {shown}", FailureClass.TRANSIENT)
    return outcome


_DOOR = (StoreError, Suspended)


def _let_through(error: Exception) -> None:
    """Raise the lost store that the exception is, or holds; and what only says that the run pauses."""
    if isinstance(error, _DOOR):
        raise error
    lost = error.subgroup(_DOOR) if isinstance(error, ExceptionGroup) else None
    if lost is not None:
        raise _first(lost) from error


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _outcome_of(error: BaseException) -> Outcome:
    try:
        words = str(error)
    except Exception:  # noqa: BLE001  an exception that cannot even be shown still fails only its node
        words = ""
    ours = isinstance(error, ConfigError | BackendError)  # its message is written for the operator
    text = words if words and ours else f"{type(error).__name__}: {words}" if words else type(error).__name__
    if isinstance(error, _TERMINAL):
        return failed_outcome(text, FailureClass.TERMINAL)
    if isinstance(error, Transient):
        return replace(failed_outcome(text, FailureClass.TRANSIENT), retry_after=error.retry_after)
    return failed_outcome(text)


def _check_report(node: Node, outcome: Outcome | None) -> Outcome:
    if outcome is None:
        if node.flag("auto_status"):
            return Outcome(status=Status.SUCCESS, notes="auto_status: the handler reported no status")
        return failed_outcome("the handler reported no status (auto_status=true would make that a success)")
    problem = _form_fault(outcome)
    return failed_outcome(problem, FailureClass.TERMINAL) if problem else outcome


def _form_fault(outcome: Any) -> str:
    """What is wrong with the form of a handler's report; empty when nothing is."""
    if not isinstance(outcome, Outcome):
        return f"the handler reported a {type(outcome).__name__}, not an Outcome"
    found: Any = outcome
    for (name, kinds), value in zip(_FORMS.items(), astuple(outcome), strict=False):
        if type(value) not in kinds and not isinstance(value, kinds):
            return f"the handler reported a {type(value).__name__} as its {name}"
    if not all(isinstance(node_id, str) for node_id in found.suggested_next_ids):
        return "the handler reported suggested_next_ids that are not texts"
    if found.word and found.status is not Status.SUCCESS:
        return f"the handler reported the word {found.word!r} with the status {found.status.value}"
    if not 0 <= found.retry_after < LONGEST_WAIT:
        return f"the handler reported {found.retry_after!r} as its retry_after"
    return ""


_FORMS: Mapping[str, tuple[type, ...]] = {
    "status": (Status,),
    "word": (str,),
    "edge": (str,),
    "preferred_label": (str,),
    "suggested_next_ids": (tuple, list),
    "context_updates": (dict, Mapping),
    "notes": (str,),
    "failure_reason": (str,),
    "failure_class": (NoneType, FailureClass),
    "retry_after": (float, int),
}
"""What each field of an ``Outcome``, in its order, has to be."""

LONGEST_WAIT = 365 * 24 * 3600
"""Seconds; a provider that asks for more is not believed."""


def _words(text: str, redactor: Redactor, most: int = WORDS) -> str:
    """A text that a handler reported as it is recorded: in clean Unicode and of a bounded length.

    Secrets are looked for before it is cut: half of one would not be recognised afterwards (S18).
    """
    text = clean(text)
    return text if len(text) <= most else f"{redactor.text(text)[:most]}… ({len(text)} characters)"


def _recordable(outcome: Outcome, redactor: Redactor) -> Outcome:
    """The same outcome in words that can be recorded."""
    return replace(
        outcome,
        word=_words(outcome.word, redactor),
        edge=_words(outcome.edge, redactor),
        preferred_label=_words(outcome.preferred_label, redactor),
        notes=_words(outcome.notes, redactor),
        failure_reason=_words(outcome.failure_reason, redactor),
        suggested_next_ids=tuple([_words(wanted, redactor) for wanted in outcome.suggested_next_ids]),
    )


class Verdict(NamedTuple):
    """A judged attempt: its recorded outcome, its context changes, and warnings for dropped keys.

    ``again`` says that the node is retried instead of ending.
    """

    outcome: Outcome
    updates: Mapping[str, Json]
    warnings: tuple[WarningRaised, ...]
    again: bool = False


def judge(
    graph: Graph, step: Execute, kind: str, outcome: Outcome, may_write: Callable[[str], bool], redactor: Redactor
) -> Verdict:
    """Judge the outcome of an attempt; a conditional node repeats an outcome judged before (E13).

    ``may_write`` says of a context key whether it is for the node's handler to write.
    """
    node, passing = graph.nodes[step.node], kind == "conditional"
    if outcome.word and not passing and outcome.word not in legal_words(graph, node.id):
        outcome = failed_outcome(
            f"unknown outcome {outcome.word!r}", FailureClass.TERMINAL
        )  # no edge asks for it (L31)
    outcome, updates, warnings = _admit(node, outcome, may_write, redactor)
    if passing or outcome.status not in (Status.RETRY, Status.FAIL):
        return Verdict(outcome, updates, warnings)
    again = step.attempt < step.of and may_retry(outcome)
    too_long = impatient(outcome) if again else None
    if again and too_long is None:
        return Verdict(outcome, updates, warnings, again=True)
    return Verdict(too_long or exhaust(node, outcome, step.of), updates, warnings)


def _admit(
    node: Node, outcome: Outcome, may_write: Callable[[str], bool], redactor: Redactor
) -> tuple[Outcome, dict[str, Json], tuple[WarningRaised, ...]]:
    """Return the outcome to record, its context updates as plain data, and warnings for dropped keys.

    An update that is no JSON value fails the node: a value silently changed would be worse.
    """
    outcome = _recordable(outcome, redactor)
    given: Mapping[Any, object] = outcome.context_updates
    updates: dict[str, Json] = {}
    warnings: list[WarningRaised] = []
    for key, value in given.items():
        if not isinstance(key, str):
            reason = f"a context update has a key of type {type(key).__name__}; keys must be texts"
            return failed_outcome(reason, FailureClass.TERMINAL), {}, tuple(warnings)
        if not may_write(key):
            shown = repr(_words(key, redactor, KEY_SHOWN))
            message = f"{node.id} may not write {shown}, which is reserved for the engine or for handlers: ignored"
            warnings.append(WarningRaised(message=message, rule="reserved_key", node=node.id))
            continue
        try:
            updates[clean(key)] = plain_json(value)
        except ValueError as error:
            shown = repr(_words(key, redactor, KEY_SHOWN))
            return failed_outcome(f"context update {shown}: {error}", FailureClass.TERMINAL), {}, tuple(warnings)
    return outcome, updates, tuple(warnings)
