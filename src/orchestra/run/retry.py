"""How often a node is tried and how long to wait between attempts (E20, E21)."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from orchestra.graph.model import Graph, Node
from orchestra.run.outcome import FailureClass, Outcome, Status

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


def impatient(outcome: Outcome) -> Outcome | None:
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
