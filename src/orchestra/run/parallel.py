"""Fan-outs: what a branch is, what it came to, and what the results mean together (E30–E36).

Pure: the engine walks the branches, the handlers of ``parallel`` and ``parallel.fan_in`` ask these functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from orchestra.graph.report import plural
from orchestra.run.declare import BlobRef, Text

MOST_NESTED = 5
"""How deep parallel nodes nest (E30)."""

CANCELED = "canceled"
"""Status of a branch that was stopped because the fan-out was decided without it."""


class BranchPlan(Struct, frozen=True, kw_only=True):
    """A branch that a fan-out starts.

    ``id`` is the target's, with ``#2`` for a second edge to it, or ``target[0]`` for an item (E31, E36).
    """

    id: str
    target: str
    edge: str = ""
    item: Any = None


class BranchResult(Struct, frozen=True, kw_only=True):
    """What a branch came to (E31).

    ``updates`` are its changes to the context, ``refs`` those of them carried by reference; ``response`` is its
    last agent's answer, ``score`` its ``context.score`` where that is a number, ``turns`` the turns in its chain,
    ``branch`` its git branch, ``commits`` those of that by repository, ``ended_at`` the node at which it arrived or
    stopped.
    """

    id: str
    status: str
    notes: str = ""
    failure_reason: str = ""
    updates: Mapping[str, Any] = field(default_factory=dict)
    refs: Mapping[str, BlobRef] = field(default_factory=dict)
    response: Text = ""
    score: float | None = None
    duration_ms: int = 0
    context_id: int = 0
    turns: int = 0
    branch: str = ""
    commits: Mapping[str, Any] = field(default_factory=dict)
    ended_at: str = ""

    @property
    def good(self) -> bool:
        """Whether it counts as a success for the join policy."""
        return self.status in ("success", "partial_success", "skipped")


class Fan(Struct, frozen=True, kw_only=True):
    """One execution of a parallel node.

    ``opened`` names the CXDB context of each branch that has begun, ``done`` holds the results so far. ``upstream``
    are the nodes by which a branch would leave its piece of the graph (E30). ``status`` and ``reason`` are the
    verdict, once there is one; the results are then in the context, and ``ends`` are the nodes at which branches
    ended. Where ``seen`` is not 0 the branches belong to a session that this one is forked from, as they stood at
    that turn, but for those in ``mine`` (S27). ``join`` is the node's join policy.
    """

    visit: int
    attempt: int
    fan_in: str = ""
    branches: tuple[BranchPlan, ...] = ()
    upstream: tuple[str, ...] = ()
    from_turn: int = 0
    opened: Mapping[str, int] = field(default_factory=dict)
    done: Mapping[str, BranchResult] = field(default_factory=dict)
    ends: tuple[str, ...] = ()
    status: str = ""
    reason: str = ""
    seen: int = 0
    mine: tuple[str, ...] = ()
    join: str = ""

    def results(self) -> tuple[BranchResult, ...]:
        """The results so far, in branch order, whatever order they finished in (E31)."""
        return tuple(self.done[plan.id] for plan in self.branches if plan.id in self.done)

    def owns(self, branch: str) -> bool:
        """Whether a branch that has begun is this session's own."""
        return not self.seen or branch in self.mine

    @property
    def unfinished(self) -> tuple[BranchPlan, ...]:
        """The branches without a result, in the order in which they start."""
        return tuple(plan for plan in self.branches if plan.id not in self.done)

    @property
    def begun(self) -> tuple[int, ...]:
        """The contexts of this session's own branches that have begun and have no result."""
        own = (plan.id for plan in self.unfinished if plan.id in self.opened and self.owns(plan.id))
        return tuple(self.opened[branch] for branch in own)


class NodeCounts(Struct, frozen=True, kw_only=True):
    """What a node's record said when its branch began."""

    visits: int
    executions: int
    duration_ms: int


class Branch(Struct, frozen=True, kw_only=True):
    """The branch that a chain belongs to: where it began, where it ends, and what it has added since.

    ``path`` is ``fan/security``, nested ``fan/security/inner/x``; ``touched`` are the nodes that it entered, as
    they were counted before, ``steered`` the turns of the mailbox whose instructions its agents had.
    """

    path: str
    node: str
    id: str
    index: int
    fan_in: str = ""
    upstream: tuple[str, ...] = ()
    began_ms: int = 0
    steps: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_micros: int = 0
    touched: Mapping[str, NodeCounts] = field(default_factory=dict)
    updates: Mapping[str, Any] = field(default_factory=dict)
    refs: Mapping[str, BlobRef] = field(default_factory=dict)
    response: Text = ""
    notes: str = ""
    steered: tuple[int, ...] = ()

    @property
    def depth(self) -> int:
        """How many parallel nodes it stands in."""
        return len(self.path.split("/")) // 2


def split_references(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, BlobRef]]:
    """Context values, and those of them that are carried by reference."""
    refs = {key: value for key, value in values.items() if isinstance(value, BlobRef)}
    return {key: value for key, value in values.items() if key not in refs}, refs


class Policy(Struct, frozen=True, kw_only=True):
    """When a fan-out is decided: ``join`` and ``errors`` are the node's words (E32).

    ``need`` is the number of successes that decides it, 0 to wait for every branch.
    """

    join: str
    errors: str
    need: int = 0


def policy_of(join: str, errors: str, branches: int, k: int | None, quorum: float | None) -> Policy | str:
    """The policy of a node with so many branches, or what is wrong with it."""
    match join:
        case "first_success":
            return Policy(join=join, errors=errors, need=1)
        case "k_of_n":
            if k is None:
                return "join_policy=k_of_n needs the attribute k"
            if k > branches:
                has = plural(branches, "branch", "branches")
                return f"join_policy=k_of_n needs {plural(k, 'success', 'successes')}, but the node has {has}"
            return Policy(join=join, errors=errors, need=k)
        case "quorum":
            if quorum is None:
                return "join_policy=quorum needs the attribute quorum"
            return Policy(join=join, errors=errors, need=max(1, math.ceil(quorum * branches - 1e-9)))
        case _:
            return Policy(join="wait_all", errors=errors)


def is_decided(policy: Policy, results: Sequence[BranchResult], branches: int) -> bool:
    """Whether the branches that still run are not needed any more (E32)."""
    good = sum(result.good for result in results)
    bad = len(results) - good
    if bad and policy.errors == "fail_fast":
        return True
    return bool(policy.need) and (good >= policy.need or branches - bad < policy.need)


def verdict(policy: Policy, results: Sequence[BranchResult], branches: int) -> tuple[str, str]:
    """The status of the parallel node, and for a failure the reason (E32). Canceled branches do not count."""
    ended = [result for result in results if result.status != CANCELED]
    good = sum(result.good for result in ended)
    if policy.errors == "fail_fast" and good < len(ended):
        return "fail", f"a branch failed: {_first_bad(ended)} (error_policy=fail_fast)"
    if policy.errors == "ignore" and not good:
        return "fail", "join policy not met: every branch failed"
    if policy.need:
        if good >= policy.need:
            return "success", ""
        of = f"{policy.join}, {plural(branches, 'branch', 'branches')}"
        return "fail", f"join policy not met: {good} of {policy.need} needed ({of})"
    if not good:
        return "fail", f"join policy not met: every branch failed ({_first_bad(ended)})"
    whole = good == len(ended) or policy.errors == "ignore"
    return ("success", "") if whole else ("partial_success", "")


def _first_bad(results: Sequence[BranchResult]) -> str:
    first = next((result for result in results if not result.good), None)
    return f"{first.id}: {first.failure_reason or first.status}" if first is not None else "none ended"


def results_to_keep(policy: Policy, results: Sequence[BranchResult]) -> list[BranchResult]:
    """Return the results for the fan-in: no canceled ones; with ``error_policy=ignore`` no failed ones."""
    return [r for r in results if r.status != CANCELED and (r.good or policy.errors != "ignore")]


_RANK = {"success": 0, "partial_success": 1, "skipped": 1, "retry": 2, "fail": 3}


def best_of(results: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The best of some results: by status, then the highest score, then id (engine.md#branches)."""
    return min(results, key=lambda r: (_RANK.get(r.get("status", ""), 9), -_score(r), str(r.get("id", ""))))


def _score(result: Mapping[str, Any]) -> float:
    score = result.get("score")
    return float(score) if isinstance(score, int | float) and not math.isnan(score) else -math.inf
