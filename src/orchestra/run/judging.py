"""Judge what a handler reported of an attempt, and decide whether the node is tried again (E15, E20-E22).

An outcome passes four questions in turn: is its form right, is its word one that an edge asks for, may the handler
write these keys, and does a failure mean another attempt or the end (engine.md#handlers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, NamedTuple

from msgspec.structs import astuple, replace

from orchestra.graph.model import Graph, Node
from orchestra.graph.visits import has_own_bound
from orchestra.run.events import StageCompleted, StageFailed, WarningRaised
from orchestra.run.outcome import FailureClass, Json, Outcome, Status, failed_outcome, legal_words
from orchestra.run.secrets import Redactor, clean, plain_json
from orchestra.run.state import ENGINE_KEYS, NodeRecord, RunningNode

ENGINE_ROOTS = frozenset({"graph", "run", "internal", "responses"})
"""Roots of keys that no handler writes either."""

RESERVED_ROOTS = ENGINE_ROOTS | {"parallel", "human", "tool", "tools", "stack", "workspace"}
"""Keys of the engine and of handlers; agents and the command line may not write them."""


def root_of(key: str) -> str:
    """The namespace of a key: what stands before its first dot."""
    return key.partition(".")[0]


def is_reserved(key: str) -> bool:
    """Whether only the engine and handlers write this key (engine.md#the-context)."""
    return key in ENGINE_KEYS or root_of(key) in RESERVED_ROOTS


KEY_SHOWN = 200
"""Characters of a context key that a message shows."""

WORDS = 4096
"""Characters of a reason, a remark or a label that are kept: they stand in the state, which stays small (S17)."""


def check_report(node: Node, outcome: Outcome | None) -> Outcome:
    """What a handler returned as an outcome: of the right form, else the failure that says what is wrong."""
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
    given = {name: text for name in _TEXTS if (text := getattr(outcome, name))}
    changed: dict[str, Any] = {name: _words(text, redactor) for name, text in given.items()}
    if outcome.suggested_next_ids != ():
        changed["suggested_next_ids"] = tuple([_words(wanted, redactor) for wanted in outcome.suggested_next_ids])
    return replace(outcome, **changed) if changed else outcome


_TEXTS = ("word", "edge", "preferred_label", "notes", "failure_reason")


class Verdict(NamedTuple):
    """A judged attempt: its recorded outcome, its context changes, and warnings for dropped keys.

    ``again`` says that the node is retried instead of ending.
    """

    outcome: Outcome
    updates: Mapping[str, Json]
    warnings: tuple[WarningRaised, ...]
    again: bool = False


def judge(
    graph: Graph, running: RunningNode, outcome: Outcome, may_write: Callable[[str], bool], redactor: Redactor
) -> Verdict:
    """Judge the outcome of an attempt; a conditional node repeats an outcome judged before (E13).

    ``may_write`` says of a context key whether it is for the node's handler to write.
    """
    node, passing = graph.nodes[running.node], running.handler == "conditional"
    if outcome.word and not passing and outcome.word not in legal_words(graph, node.id):
        outcome = failed_outcome(f"unknown outcome {outcome.word!r}", FailureClass.TERMINAL)  # no edge asks for it
    outcome, updates, warnings = _admit(node, outcome, may_write, redactor)
    if passing or outcome.status not in (Status.RETRY, Status.FAIL):
        return Verdict(outcome, updates, warnings)
    again = running.attempt < running.of and may_retry(outcome)
    too_long = waits_too_long(outcome) if again else None
    if again and too_long is None:
        return Verdict(outcome, updates, warnings, again=True)
    return Verdict(too_long or exhaust(node, outcome, running.of), updates, warnings)


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


MAX_DELAY_MS = 60_000

MAX_RETRY_AFTER = 300.0
"""Seconds that a provider may ask to wait; for longer the node fails instead (E21)."""

ACCEPTED = "retries exhausted, partial result accepted"
"""What the notes of a visit end in whose last attempt was accepted as it was (E22)."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """A delay that grows: ``initial · factor^(n-1)`` milliseconds before the n-th retry."""

    initial_ms: int
    factor: float

    def delay_ms(self, attempt: int, jitter: float, retry_after: float = 0.0) -> int:
        """The wait after attempt ``attempt`` (from 1), times ``jitter``; a longer ``retry_after`` (s) wins."""
        try:
            grown = self.initial_ms * self.factor ** (attempt - 1)
        except OverflowError:
            grown = MAX_DELAY_MS
        return max(round(min(grown, MAX_DELAY_MS) * jitter), round(retry_after * 1000))


PRESETS: dict[str, Backoff | None] = {
    "none": None,
    "standard": Backoff(200, 2.0),
    "aggressive": Backoff(500, 2.0),
    "linear": Backoff(500, 1.0),
    "patient": Backoff(2000, 3.0),
}
"""The presets of ``retry_policy`` by name (E21)."""


def backoff_of(node: Node) -> Backoff | None:
    """The node's preset; None means that it is never tried again."""
    return PRESETS.get(node.text("retry_policy") or "standard", PRESETS["standard"])


def attempts_of(graph: Graph, node: Node) -> int:
    """How many attempts a visit of the node has (E20)."""
    if backoff_of(node) is None:
        return 1
    retries = node.integer("max_retries") if node.has("max_retries") else graph.integer("default_max_retries")
    return max(0, retries) + 1


def waits_too_long(outcome: Outcome) -> Outcome | None:
    """Return the failure if a provider asks to wait longer than ``MAX_RETRY_AFTER``, else None."""
    if outcome.retry_after <= MAX_RETRY_AFTER:
        return None
    asked = f"{outcome.failure_reason or outcome.notes or 'the attempt failed'}"
    return replace(
        outcome,
        status=Status.FAIL,
        failure_reason=f"{asked} (asks to wait {outcome.retry_after:.0f} s, more than {MAX_RETRY_AFTER:.0f} s)",
        failure_class=FailureClass.TRANSIENT,
        retry_after=0.0,
    )


def may_retry(outcome: Outcome) -> bool:
    """Whether another attempt could help (E20)."""
    if outcome.failure_class in (FailureClass.TERMINAL, FailureClass.CANCELED):
        return False
    return outcome.status in (Status.RETRY, Status.FAIL)


def exhaust(node: Node, outcome: Outcome, attempts: int) -> Outcome:
    """The outcome of a visit whose last attempt ended in retry or fail (E22)."""
    reason = outcome.failure_reason or outcome.notes or f"{node.id} ended in {outcome.status}"
    if outcome.status is Status.RETRY and may_retry(outcome) and node.flag("allow_partial"):
        notes = f"{outcome.notes}; {ACCEPTED}" if outcome.notes else ACCEPTED
        return _with(outcome, Status.PARTIAL_SUCCESS, notes, "")
    if may_retry(outcome) and (outcome.status is Status.RETRY or attempts > 1):
        reason = f"max retries exceeded: {reason}"
    return _with(outcome, Status.FAIL, outcome.notes, reason)


def _with(outcome: Outcome, status: Status, notes: str, reason: str) -> Outcome:
    return Outcome(
        status=status,
        edge=outcome.edge,
        preferred_label=outcome.preferred_label,
        suggested_next_ids=outcome.suggested_next_ids,
        context_updates=outcome.context_updates,
        notes=notes,
        failure_reason=reason,
        failure_class=outcome.failure_class,
    )


OFTEN = 20
"""Failures in a row after which a warning is raised, and again after as many more."""

WITHIN_MS = 1000
"""Milliseconds between two failures that count as one after the other."""

ROUNDS = 50
"""Visits of an agent after which a warning is raised, and again after twice, four times, ... as many."""


def repeat_warning(
    graph: Graph, before: NodeRecord, ended: StageCompleted | StageFailed, now_ms: int
) -> WarningRaised | None:
    """Return the warning about a node that fails or an agent that runs again and again, where it is due (E15).

    ``before`` is what is known of the node up to the end of this visit.
    """
    count = before.failing + 1
    if isinstance(ended, StageFailed) and not count % OFTEN and _is_alike(before, ended, now_ms):
        said = f"{ended.node!r} has failed {count} times in a row, now less than a second after the time before"
        advice = "max_visits allows fewer visits, and orchestra pause --now stops the run"
    elif _is_round(ended.visit) and ended.handler == "codergen" and _is_unbound(graph, ended.node):
        said = f"the agent {ended.node!r} has run {ended.visit} times and its node has no max_visits"
        advice = "orchestra pause stops the run, limits.run.cost or --max-cost bounds what it spends"
    else:
        return None
    return WarningRaised(node=ended.node, message=f"{said}; {advice}")


def _is_alike(before: NodeRecord, ended: StageFailed, now_ms: int) -> bool:
    return before.reason == ended.failure_reason and now_ms - before.ended_ms < WITHIN_MS


def _is_unbound(graph: Graph, node: str) -> bool:
    return not has_own_bound(graph, graph.nodes[node])


def _is_round(visit: int) -> bool:
    rounds, rest = divmod(visit, ROUNDS)
    return not rest and not rounds & (rounds - 1)
