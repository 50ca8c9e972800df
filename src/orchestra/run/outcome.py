"""How a node's work ended (engine.md#handlers)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct, field

from orchestra.graph.model import Graph
from orchestra.graph.nearest import nearest

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A context value: what JSON can say."""


class Status(StrEnum):
    """A node's status, as conditions compare it (L31)."""

    SUCCESS = "success"
    PARTIAL_SUCCESS = "partial_success"
    RETRY = "retry"
    FAIL = "fail"
    SKIPPED = "skipped"


_STATUSES = frozenset(status.value for status in Status)

GOOD = frozenset({Status.SUCCESS, Status.PARTIAL_SUCCESS})
"""What satisfies a goal gate (E11)."""


class FailureClass(StrEnum):
    """Whether another attempt makes sense (E20)."""

    TRANSIENT = "transient"
    TERMINAL = "terminal"
    CANCELED = "canceled"


class Outcome(Struct, frozen=True, kw_only=True):
    """What a handler reports.

    ``word`` is an agent's own word for a success that an outgoing edge asks for (L31); ``edge`` is
    the key of the edge that the handler itself chose (routing rule 0); ``suggested_next_ids`` are
    node ids in order of preference; ``retry_after`` is the wait that a provider asks for, in seconds (E21).
    """

    status: Status
    word: str = ""
    edge: str = ""
    preferred_label: str = ""
    suggested_next_ids: tuple[str, ...] = ()
    context_updates: Mapping[str, Json] = field(default_factory=dict)
    notes: str = ""
    failure_reason: str = ""
    failure_class: FailureClass | None = None
    retry_after: float = 0.0

    @property
    def shown(self) -> str:
        """What a condition sees as ``outcome``: the agent's word, else the status (L31)."""
        return self.word or self.status.value


def failed_outcome(reason: str, failure_class: FailureClass | None = None) -> Outcome:
    """A failure with its reason."""
    return Outcome(status=Status.FAIL, failure_reason=reason, failure_class=failure_class)


def legal_words(graph: Graph, node_id: str) -> frozenset[str]:
    """The words that an outgoing edge of the node compares ``outcome`` with (L31)."""
    return frozenset(word for edge in graph.outgoing(node_id) for word in edge.condition.outcome_words)


def read_status(word: str, legal: Collection[str]) -> tuple[Status, str, str]:
    """Return the status, word and failure reason of what an agent reported as its outcome (L31).

    ``legal`` are the node's ``legal_words``. Any other word that is no status is a failure that says so.
    """
    lowered = word.strip().lower()
    if lowered in _STATUSES:
        return Status(lowered), "", ""
    if word in legal:
        return Status.SUCCESS, word, ""
    near = nearest(lowered[:40], [*(status.value for status in Status), *sorted(legal)])
    return Status.FAIL, "", f"unknown outcome '{word}'" + (f"; did you mean {near!r}?" if near else "")
