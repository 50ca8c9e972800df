"""Where a session continues after any end but success, from its graph and state (E4, S26)."""

from __future__ import annotations

from difflib import get_close_matches

from orchestra.errors import ConfigError, Undecided
from orchestra.graph.model import Graph
from orchestra.run.events import PipelineResumed
from orchestra.run.gates import gate_target, unmet_gate
from orchestra.run.outcome import GOOD
from orchestra.run.parallel import Fan
from orchestra.run.routing import End, route
from orchestra.run.state import RunningNode, RunState
from orchestra.run.steps import steps_counted

MOST_RECOVERIES = 3
"""How often one attempt of a node may end its runner and run again (E4)."""


def cut_off(state: RunState) -> RunningNode | None:
    """Return the node that was running when its runner stopped; None if none was."""
    stage = state.stage
    return stage if stage is not None and not stage.due else None


def resumption(graph: Graph, state: RunState, *, interrupted: str = "rerun", why: str = "") -> PipelineResumed:
    """Return how a session continues that has not ended well.

    ``interrupted`` says what becomes of an attempt that was cut off: ``rerun`` or ``fail``; ``why`` names what
    decided that.
    """
    if state.failed:
        node, granted = _after_failure(graph, state)
        return PipelineResumed(node=node, granted=granted)
    stage = cut_off(state)
    if stage is None:
        return PipelineResumed(node=state.stage.node if state.stage is not None else _next(graph, state))
    died = _died(state, stage)
    refused = ""
    if interrupted == "fail":
        refused = f"interrupted, and not run again ({why or 'on_interrupt=fail'})"
    elif died > MOST_RECOVERIES and not why and not work_below(state, stage):
        refused = f"its runner died {died} times while running it"
    kept = "" if refused else _what_continues(state, stage)
    return PipelineResumed(node=stage.node, again=stage.again + 1, recovery=died, refused=refused, granted=kept)


def _died(state: RunState, stage: RunningNode) -> int:
    """How often a runner died at an attempt, this time counted."""
    asked = state.paused or state.result is not None
    return stage.recoveries + (0 if asked else 1)


BRANCHES, CHILD, QUESTION, CONVERSATION = "branches", "child", "question", "conversation"
"""What an interrupted attempt can continue with instead of starting over (A9, E34, H7)."""


def _what_continues(state: RunState, stage: RunningNode) -> str:
    """What of the attempt continues; empty where the node begins from its start."""
    if fan_at_work(state, stage):
        return BRANCHES
    if _child_at_work(state, stage):
        return CHILD
    if state.pending:
        return QUESTION
    return CONVERSATION if stage.talked else ""


def _child_at_work(state: RunState, stage: RunningNode) -> bool:
    """Whether the node's child had not ended."""
    child = state.children.get(stage.node)
    return child is not None and not child.status and (child.visit, child.attempt) == (stage.visit, stage.attempt)


def fan_at_work(state: RunState, stage: RunningNode) -> Fan | None:
    """The branches of the attempt, where they have not been judged."""
    fan = state.fans.get(stage.node)
    at_work = fan is not None and not fan.status and (fan.visit, fan.attempt) == (stage.visit, stage.attempt)
    return fan if at_work else None


def _next(graph: Graph, state: RunState) -> str:
    if state.ended is None:
        return state.next_node or graph.start
    judged = state.context.get("last_stage")
    if state.ended.passing and judged in graph.nodes:
        return str(judged)
    return state.ended.node


def _after_failure(graph: Graph, state: RunState) -> tuple[str, str]:
    """Return the node at which a failed run continues, and what it is granted.

    That is the node that failed, and for a diamond the node that it judged. A node that succeeded and that no edge
    led on from is not run again: its outcome is routed again. Where a goal gate failed the run, it is the node to
    which the gate sends it back, else the gate itself; where ``max_steps`` did, the node that was not entered;
    where a fan-in did because its join policy was not met, the parallel node.
    """
    ended = state.ended
    bound = graph.integer("max_steps")
    if ended is None and bound and steps_counted(state) >= bound:
        return _next(graph, state), "steps"
    fan = state.fans.get(state.joining)
    if ended is not None and fan is not None and fan.fan_in == ended.node and fan.status == "fail":
        return state.joining, "visit"
    at_the_end = ended is None or (ended.node != graph.exit and isinstance(_way(graph, state), End))
    gate = unmet_gate(graph, state) if at_the_end else None
    if gate is not None:
        return gate_target(graph, gate) or gate, "visit"
    if ended is not None and ended.status in GOOD and not ended.passing and ended.node != graph.exit:
        return ended.node, "route"
    return _next(graph, state), "visit"


def _way(graph: Graph, state: RunState) -> object:
    """Where the node that ended leads, so far as that can be said without the context."""
    assert state.ended is not None
    return None if graph.outgoing(state.ended.node) else route(graph, state.ended, ())


def decision(graph: Graph, state: RunState, interrupted: str) -> tuple[str, str]:
    """What becomes of the attempt that was cut off: ``rerun`` or ``fail``, and who says so (E4).

    The operator's decision is about the work itself: where a child or branches were running, it is made for their
    nodes, unless the node asks for a decision of its own.
    """
    stage = cut_off(state)
    if stage is None or state.failed:
        return "rerun", ""
    wanted = "rerun" if stage.elsewhere else graph.nodes[stage.node].text("on_interrupt") or "rerun"
    if interrupted and (wanted == "ask" or not work_below(state, stage)):
        return interrupted, f"--interrupted {interrupted}"
    if state.waiting:  # it waited for a person, which is no work that was cut off (H7)
        return "rerun", ""
    if wanted == "ask":
        raise Undecided(state.session, stage.node)
    died = _died(state, stage)
    if wanted == "rerun" and died > MOST_RECOVERIES and _what_continues(state, stage) == CONVERSATION:
        raise Undecided(state.session, stage.node, died)  # a failure would throw a paid conversation away (A9)
    return ("rerun", "") if wanted == "rerun" else ("fail", "on_interrupt=fail")


def work_below(state: RunState, stage: RunningNode) -> bool:
    """Whether a child of the node, or a branch, was running when the node was interrupted.

    Then the nodes below count their dead runners, so that progress there is progress.
    """
    return _child_at_work(state, stage) or fan_at_work(state, stage) is not None


def lost_nodes(graph: Graph, state: RunState) -> list[str]:
    """Return the nodes that a session has entered, or comes to next, and that its pipeline has no longer."""
    stage, ended = state.stage, state.ended
    known = [
        *state.nodes,
        state.next_node,
        stage.node if stage is not None else "",
        ended.node if ended is not None else "",
    ]
    return [node for node in dict.fromkeys(known) if node and node not in graph.nodes]


def no_node_lost(graph: Graph, file: str, state: RunState) -> None:
    """Raise ``ConfigError`` where a pipeline has lost a node that a session needs (S26)."""
    lost = lost_nodes(graph, state)
    if not lost:
        return
    near = get_close_matches(lost[0], list(graph.nodes), n=1)
    hint = f"; is {lost[0]!r} now called {near[0]!r}?" if near else ""
    raise ConfigError(
        f"{file} has no node {', '.join(map(repr, lost[:5]))}, which session {state.session} has visited",
        fix=f"keep every node that the session has visited{hint}",
    )
