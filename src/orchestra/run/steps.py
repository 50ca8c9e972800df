"""What comes next: one pure function from a graph and a state to the runner's next step (E10–E13)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from orchestra.graph.joins import outermost
from orchestra.graph.model import Edge, Graph
from orchestra.graph.report import plural
from orchestra.graph.visits import RETURNS, comes_back
from orchestra.run.events import WarningRaised
from orchestra.run.gates import bypassed_gates, describe_gate, gate_target, unmet_gate
from orchestra.run.judging import attempts_of
from orchestra.run.routing import Candidate, End, Fail, Follow, Jump, RoutingRule, failure_of, route, survey
from orchestra.run.state import NodeEnd, NodeRecord, RunState

MOST_RESTARTS = 50
"""How often a chain of sessions may restart where the graph sets no ``default_max_visits`` (E14)."""


class Execute(Struct, frozen=True, kw_only=True):
    """Run a node's handler. ``announced``: its StageStarted is recorded already (a resume)."""

    node: str
    visit: int
    attempt: int
    of: int
    announced: bool = False


class Refuse(Struct, frozen=True, kw_only=True):
    """Fail a node without running it: ``max_visits`` is used up, or an attempt may not run again (E4).

    ``attempt`` is 0 for a refused visit.
    """

    node: str
    visit: int
    reason: str
    attempt: int = 0


class Retry(Struct, frozen=True, kw_only=True):
    """Wait until ``due`` (UTC ms), at most ``delay`` ms, then run attempt ``attempt`` of the node."""

    node: str
    visit: int
    attempt: int
    of: int
    due: int
    delay: int


class Advance(Struct, frozen=True, kw_only=True):
    """Go from ``source`` to ``target``; ``edge`` is empty for a jump, ``gate`` names an unmet goal gate."""

    source: str
    target: str
    edge: str
    rule: int
    reason: str
    candidates: tuple[Candidate, ...] = ()
    gate: str = ""


class Restart(Struct, frozen=True, kw_only=True):
    """End the session and begin another one at ``target`` (E14).

    ``advance`` is None if that is recorded already.
    """

    source: str
    target: str
    advance: Advance | None = None


class Finish(Struct, frozen=True, kw_only=True):
    """The walk ends, successfully if ``error`` is empty.

    ``candidates`` are those for which routing by ``rule`` found no edge. A branch ends with the ``status`` of its
    last node, and its ``reason`` if that is a failure.
    """

    node: str
    error: str = ""
    rule: int = 0
    candidates: tuple[Candidate, ...] = ()
    status: str = "success"
    reason: str = ""
    warnings: tuple[WarningRaised, ...] = ()


Step: TypeAlias = Execute | Refuse | Retry | Advance | Restart | Finish


MAX_STEPS = "max_steps exceeded"
"""How the reason begins of a walk that ended because all walks together had executed so many nodes."""


def steps_counted(state: RunState) -> int:
    """How many nodes a walk knows to have been executed, as ``max_steps`` counts them."""
    return state.steps_carried + state.steps - state.steps_before


def next_step(graph: Graph, state: RunState, context: Mapping[str, object], steps: int = 0) -> Step:
    """The next step of a run that has not ended.

    ``context`` is the run's, in which the values that the outgoing conditions read are resolved. ``steps`` are the
    nodes that all walks of the session have executed by now, where that is more than this one knows of (E35).
    """
    stage = state.stage
    if stage is not None and stage.due:
        return Retry(
            node=stage.node,
            visit=stage.visit,
            attempt=stage.attempt + 1,
            of=stage.of,
            due=stage.due,
            delay=stage.delay_ms,
        )
    if stage is not None and stage.refused:
        return Refuse(node=stage.node, visit=stage.visit, reason=stage.refused, attempt=stage.attempt)
    if stage is not None:
        return Execute(node=stage.node, visit=stage.visit, attempt=stage.attempt, of=stage.of, announced=True)
    if state.ended is not None:
        return _after(graph, state, state.ended, context)
    if state.restarting:
        return Restart(source=state.restarting, target=state.next_node)
    return _enter(graph, state, state.next_node or graph.start, steps)


def _enter(graph: Graph, state: RunState, node_id: str, steps: int) -> Step:
    bound = graph.integer("max_steps")
    if bound and max(steps_counted(state), steps) >= bound:
        reason = f"{MAX_STEPS}: {plural(bound, 'node')} executed; set max_steps on the graph to allow more"
        return Finish(node=node_id, error=reason)
    if state.branch is not None and node_id in (state.branch.fan_in, graph.exit):
        return Finish(node=node_id, status=state.passed.status, reason=state.passed.failure_reason)
    if node_id == graph.exit and (back := _gates(graph, state, node_id)) is not None:
        return back
    node = graph.nodes[node_id]
    visits = state.nodes[node_id].visits if node_id in state.nodes else 0
    allowed = _max_visits(graph, node_id)
    if allowed and visits >= max(allowed, state.granted.get(node_id, 0)):
        gate = unmet_gate(graph, state)
        unmet = f", and goal gate {gate} is not met" if gate in state.nodes else ""
        reason = f"max_visits exceeded: {node_id} allows {allowed}{unmet}"
        return Refuse(node=node_id, visit=visits + 1, reason=reason)
    return Execute(node=node_id, visit=visits + 1, attempt=1, of=attempts_of(graph, node))


def _max_visits(graph: Graph, node_id: str) -> int:
    """How often a node may be entered; 0 is without bound."""
    node = graph.nodes[node_id]
    return node.integer("max_visits") if node.has("max_visits") else graph.integer("default_max_visits")


def _after(graph: Graph, state: RunState, ended: NodeEnd, context: Mapping[str, object]) -> Step:
    if ended.node == graph.exit:
        if ended.status == "fail":
            return Finish(node=ended.node, error=ended.failure_reason or "the exit node failed")
        return Finish(node=ended.node, warnings=bypassed_gates(graph, state))
    if graph.type_of(ended.node) == "parallel":
        return _within(graph, state, _join(graph, state, ended))
    candidates = survey(graph, ended, context, state.edges)
    return _within(graph, state, _route(graph, state, ended, candidates))


def _route(graph: Graph, state: RunState, ended: NodeEnd, candidates: tuple[Candidate, ...]) -> Step:
    decision = route(graph, ended, candidates)
    match decision:
        case Follow(edge=edge, rule=rule) if _fails_for_ever(graph, state, ended, edge):
            return _out_of_returns(ended, rule, candidates)
        case Follow(edge=edge, key=key, rule=rule, reason=reason):
            advance = Advance(
                source=ended.node,
                target=edge.target,
                edge=key,
                rule=rule,
                reason=reason,
                candidates=candidates,
            )
            return _restart(graph, state, advance) if edge.flag("loop_restart") else advance
        case Jump():
            return _jump(graph, state, ended, decision, candidates)
        case Fail(rule=rule, reason=reason):
            return Finish(node=ended.node, error=reason, rule=rule, candidates=candidates)
        case End():
            if state.branch is not None:
                return Finish(node=ended.node, status=state.passed.status, reason=state.passed.failure_reason)
            return _gates(graph, state, ended.node) or Finish(
                node=ended.node,
                status="completed (no exit)",
                warnings=(
                    WarningRaised(
                        message=f"{ended.node} has no outgoing edge: the run ended there, not at an exit node",
                        rule="no_exit",
                        node=ended.node,
                    ),
                    *bypassed_gates(graph, state),
                ),
            )


def _fails_for_ever(graph: Graph, state: RunState, ended: NodeEnd, edge: Edge) -> bool:
    """Whether a node has failed so often in a row that a run does not lead back to it uncounted (E15)."""
    record = state.nodes.get(ended.node)
    return record is not None and record.failing >= _returns(ended) and comes_back(graph, edge)


def _out_of_returns(ended: NodeEnd, rule: int, candidates: tuple[Candidate, ...]) -> Finish:
    times = plural(_returns(ended), "time")
    why = f"{ended.node} failed {times} in a row; set max_visits on it for another bound, 0 for none"
    return Finish(node=ended.node, error=f"{why}: {ended.failure_reason}", rule=rule, candidates=candidates)


TERMINAL = "terminal"
TERMINAL_RETURNS = 3
"""How often one node sends a run back by a failure that would happen again, as with a rejected key (E15).

What the run goes back to costs as much every time.
"""


def _returns(ended: NodeEnd | NodeRecord) -> int:
    return TERMINAL_RETURNS if ended.failure_class == TERMINAL else RETURNS


def _jump(
    graph: Graph, state: RunState, ended: NodeEnd, jump: Jump, candidates: tuple[Candidate, ...] = ()
) -> Advance | Finish:
    """Go to a retry target, a bounded number of times from one node (E15)."""
    target = outermost(graph, jump.target, state.branch.node if state.branch is not None else "")
    bound = _max_visits(graph, jump.target) or _returns(ended)
    if state.jumps.get(ended.node, 0) >= bound:
        why = f"{ended.node} failed after it sent the run back to {jump.target} {plural(bound, 'time')}"
        return Finish(
            node=ended.node, error=f"{why}: {ended.failure_reason}", rule=RoutingRule.FAILURE, candidates=candidates
        )
    return Advance(
        source=ended.node,
        target=target,
        edge="",
        rule=RoutingRule.FAILURE,
        reason=jump.reason,
        candidates=candidates,
    )


def _join(graph: Graph, state: RunState, ended: NodeEnd) -> Advance | Finish:
    """Return where the run continues after a parallel node: fan-in or, after a failure, retry target."""
    decision = route(graph, replace(ended, edge=""), ()) if ended.status == "fail" else None
    if isinstance(decision, Jump):
        return _jump(graph, state, ended, decision)
    fan = state.fans.get(ended.node)
    decided = fan is not None and (fan.status != "" or ended.status != "fail")
    if fan is not None and fan.fan_in and decided:
        why = f"the branches of {ended.node} meet at {fan.fan_in}"
        return Advance(source=ended.node, target=fan.fan_in, edge="", rule=RoutingRule.MEETING, reason=why)
    if ended.status == "fail":
        return Finish(node=ended.node, error=failure_of(ended), rule=RoutingRule.FAILURE)
    if fan is not None and fan.ends == (graph.exit,):
        why = f"every branch of {ended.node} ended at the exit"
        return Advance(source=ended.node, target=graph.exit, edge="", rule=RoutingRule.MEETING, reason=why)
    return Finish(node=ended.node, error=f"the branches of {ended.node} do not meet", rule=RoutingRule.MEETING)


def _within(graph: Graph, state: RunState, step: Step) -> Step:
    """Return the step, or the failure of a branch that it would lead out of its part of the graph."""
    branch = state.branch
    if branch is None:
        return step
    if isinstance(step, Restart):
        where = f"{step.source} takes a loop_restart edge"
    elif isinstance(step, Advance) and step.target in branch.upstream:
        where = f"{step.source} goes back to {step.target}"
    else:
        return step
    return Finish(node=step.source, error=f"left its branch: {where}", status="fail")


def _restart(graph: Graph, state: RunState, advance: Advance) -> Restart | Finish:
    bound = graph.integer("default_max_visits") or MOST_RESTARTS
    if state.restarts < bound:
        return Restart(source=advance.source, target=advance.target, advance=advance)
    return Finish(
        node=advance.source,
        error=f"the edge {advance.edge} would restart the run more than {plural(bound, 'time')}",
    )


def _gates(graph: Graph, state: RunState, at: str) -> Advance | Finish | None:
    """Where the first unmet goal gate sends the run; None when every gate holds."""
    gate = unmet_gate(graph, state)
    if gate is None:
        return None
    record = state.nodes.get(gate)
    why = f"goal gate {gate} is not met" + (f" ({describe_gate(record)})" if record else " (never visited)")
    named = gate_target(graph, gate)
    if not named:
        return Finish(node=at, error=f"{why}, and neither it nor the graph has a retry_target")
    target = outermost(graph, named)
    bound = _max_visits(graph, named) or (_returns(record) if record is not None else RETURNS)
    if state.gates.get(gate, 0) >= bound:
        return Finish(node=at, error=f"{why}, after it sent the run back to {target} {plural(bound, 'time')}")
    return Advance(source=at, target=target, edge="", rule=RoutingRule.FAILURE, reason=why, gate=gate)
