"""The known bounds of what a run costs, before anything is paid (A5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestra.agents.models import MOST_CORRECTIONS, WITH_MODEL, ResolvedModel, node_limit, resolve, run_limit
from orchestra.agents.pricing import price_of, prices_of
from orchestra.app.briefs import Brief
from orchestra.app.pipelines import Pipeline
from orchestra.config.model import Limit
from orchestra.config.settings import COST, MAX_COST, Settings
from orchestra.graph.model import Graph, Node
from orchestra.graph.visits import most_visits
from orchestra.run.judging import attempts_of


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeBounds:
    """The most that a node's agent can do by the graph and the settings; None for what they leave open.

    ``turns``, ``tokens`` and ``cost`` (dollars) are those of all its visits together.
    """

    node: str
    model: str
    visits: int | None
    turns: int | None
    tokens: int | None
    cost: float | None
    priced: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CostBounds:
    """The same of all nodes, and of the whole run; ``rule`` says what bounds its cost."""

    nodes: tuple[NodeBounds, ...]
    cost: float | None
    rule: str
    unpriced: tuple[str, ...] = ()


def cost_bounds(pipeline: Pipeline, settings: Settings, file: str) -> CostBounds:
    """The known bounds of what a run costs, its children included (A5)."""
    nodes = tuple(_node_bounds(pipeline, settings, file, "", 1))
    limit = run_limit(settings.config, Path(file).name, cost_is_bound=settings.cost_is_bound)
    total = _sum([each.cost for each in nodes])
    flag = settings.given.get(COST) == MAX_COST
    found = [(limit.cost, MAX_COST if flag else "limits.run.cost"), (total, "visits × limits of each node")]
    known = [(cost, rule) for cost, rule in found if cost is not None]
    cost, rule = min(known, default=(None, ""))
    unpriced = tuple(dict.fromkeys(each.model for each in nodes if not each.priced))
    if unpriced:  # no limit counts them
        cost, rule = None, ""
    return CostBounds(nodes=nodes, cost=cost, rule=rule, unpriced=unpriced)


def _node_bounds(
    pipeline: Pipeline, settings: Settings, file: str, under: str, times: int | None
) -> Iterator[NodeBounds]:
    """Yield the bounds of a pipeline's nodes and of its children's.

    ``under`` is the path of the node that runs the pipeline.
    """
    graph = pipeline.checked_graph()
    visits = most_visits(graph)
    for node in Brief(graph=graph, settings=settings, file=file).asking():
        found = resolve(node, graph, settings.config, Path(file).name)
        if found.backend.value == "simulation":
            continue
        limit = node_limit(node, settings.config, Path(file).name)
        each = _of_visit(node, graph, settings, found, limit)
        yield _all_visits(each, under, _times(times, visits[node.id] or None))
    for name, child in pipeline.children.items():
        more = _times(times, visits[name] or None)
        yield from _node_bounds(child, settings, child.source.name, f"{under}{name}/", more)


def _of_visit(node: Node, graph: Graph, settings: Settings, found: ResolvedModel, limit: Limit) -> NodeBounds:
    """The bounds of one visit."""
    asks = found.backend.value in WITH_MODEL
    turns, cost = limit.turns, limit.cost
    if found.backend.value == "direct" and turns is None:
        turns = attempts_of(graph, node) * (1 + MOST_CORRECTIONS if node.text("output_schema") else 1)
    price = price_of(found.model.value, prices_of(settings.config), found.provider.value) if asks else None
    if cost is None and price is not None and limit.tokens is not None:
        cost = limit.tokens * max(price.input, price.output) / 1_000_000
    model = f"{found.provider.value}:{found.model.value}" if asks else str(found.backend.value)
    return NodeBounds(
        node=node.id,
        model=model,
        visits=1,
        turns=turns,
        tokens=limit.tokens,
        cost=cost,
        priced=price is not None or not asks,
    )


def _all_visits(each: NodeBounds, under: str, visits: int | None) -> NodeBounds:
    return replace(
        each,
        node=f"{under}{each.node}",
        visits=visits,
        turns=_times(each.turns, visits),
        tokens=_times(each.tokens, visits),
        cost=None if each.cost is None or visits is None else each.cost * visits,
    )


def _times(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one * other


def _sum(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None
