"""What ``compile --models``, ``compile --prompt`` and ``run --dry-cost`` print (A5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from orchestra.agents.models import CLI, DecidedValue, ResolvedModel
from orchestra.app.briefs import Brief
from orchestra.app.estimates import CostBounds
from orchestra.cli.terminal import many_lines, one_line, say, say_json, table
from orchestra.errors import ConfigError
from orchestra.graph.nearest import nearest
from orchestra.graph.report import dollars
from orchestra.run.secrets import Redactor


def say_models(brief: Brief, *, as_json: bool) -> None:
    """A row for each node that asks an agent: model, provider, backend, and what decided each."""
    rows = [brief.resolve(node) for node in brief.asking()]
    if as_json:
        say_json({"file": brief.file, "models": [_data(row, brief) for row in rows]}, indent=2)
        return
    if not rows:
        say("no node asks an agent")
        return
    lines = [("NODE", "MODEL", "PROVIDER", "BACKEND", "DECIDED BY")]
    lines += [
        (row.node, _model(row), _provider(row), str(row.backend.value), _deciding_rules(row, brief)) for row in rows
    ]
    for line in table([[one_line(cell, 1000) for cell in cells] for cells in lines]):
        say(line)


def _model(row: ResolvedModel) -> str:
    if row.model.value:
        return str(row.model.value)
    return "(its own)" if row.backend.value in CLI else "-"


def _provider(row: ResolvedModel) -> str:
    """The provider; a command-line agent has its own where the pipeline names none."""
    named = row.provider.value and (row.backend.value not in CLI or row.model.value)
    return str(row.provider.value) if named else "-"


def _deciding_rules(row: ResolvedModel, brief: Brief) -> str:
    """The rules that decided the model, the provider and the backend."""
    model = _rule(row.model, brief) + (f" (alias {row.alias})" if row.alias else "")
    parts = [
        ("model", model),
        ("provider", _rule(row.provider, brief) if _provider(row) != "-" else ""),
        ("effort", _rule(row.reasoning_effort, brief)),
        ("backend", _rule(row.backend, brief)),
    ]
    return "; ".join(f"{name}: {rule}" for name, rule in parts if rule)


def _rule(found: DecidedValue, brief: Brief) -> str:
    """The rule, with the line of the settings where the value is."""
    place = place_of(found.path, brief)
    rule = "backend" if place and found.rule == "default" else found.rule  # written out, though it is the default
    return f"{rule}{place}" if rule else ""


def place_of(path: tuple[str | int, ...], brief: Brief) -> str:
    """Where a setting is: its variable or its line of the settings file; empty for a default."""
    settings = brief.settings
    if path in settings.given:
        return f" ({settings.given[path]})"
    span = settings.document.span(path) if path and settings.document is not None else None
    return f" ({settings.file.name}:{span.line})" if span is not None and settings.file is not None else ""


def _data(row: ResolvedModel, brief: Brief) -> dict[str, Any]:
    decided = {
        name: {"value": _plain(found.value), "rule": _rule(found, brief)}
        for name in ("model", "provider", "backend", "reasoning_effort", "max_tokens", "temperature", "fallbacks")
        if (found := getattr(row, name)).rule
    }
    return {"node": row.node, "agent": row.agent, "alias": row.alias, **decided}


def _plain(value: Any) -> Any:
    return [":".join(pair) for pair in value] if isinstance(value, tuple) else value


def say_prompt(brief: Brief, node: str, *, as_json: bool) -> None:
    """Print a node's composed prompt; values known only in a run appear as names.

    Raises ``ConfigError``.
    """
    asking = {each.id: each for each in brief.asking()}
    if node not in asking:
        near = nearest(node, asking)
        what = "asks no agent" if node in brief.graph.nodes else "does not exist"
        fix = f"did you mean {near!r}?" if near else f"these ask one: {', '.join(asking)}"
        raise ConfigError(f"node {node!r} {what}", fix=fix)
    context = {f"graph.{key}": attribute.value for key, attribute in brief.graph.attributes.items()}
    found = brief.compose(asking[node], context)
    redact = Redactor(brief.settings.secrets).text
    system, user = redact(found.system), redact(found.user)
    layers = [file for layer in found.layers for file in (*layer.extended, layer.file) if file]
    files = list(dict.fromkeys((*layers, *map(str, found.docs))))
    if as_json:
        say_json({"node": node, "system": system, "user": user, "files": files}, indent=2)
        return
    if system:
        say(f"system:\n{_indent(system)}\n")
    say(f"user:\n{_indent(user)}")
    if files:
        say("\nfrom:\n" + "\n".join(f"  {one_line(file, 1000)}" for file in files))


def _indent(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in many_lines(text).splitlines())


UNKNOWN = "-"
MOST_NAMES = 5


def say_bounds(bounds: CostBounds) -> None:
    """A row for each node that asks an agent, then the bound of the whole run."""
    lines = [("NODE", "MODEL", "VISITS", "TURNS", "TOKENS", "COST")]
    for each in bounds.nodes:
        numbers = (_number(each.visits), _number(each.turns), _number(each.tokens), _dollars(each.cost))
        lines.append((one_line(each.node), one_line(each.model), *numbers))
    for line in table(lines) if bounds.nodes else ():
        say(line)
    for why in explain_unbounded(bounds):
        say(why)
    say(in_words(bounds))


def explain_unbounded(bounds: CostBounds) -> Iterator[str]:
    """Explain each ``-`` of the table: which number has no bound, at which nodes, and how to set one."""
    visited = [each for each in bounds.nodes if each.visits is not None]
    for number, fix, nodes in (
        ("VISITS", "a loop without a bound; set max_visits", [e for e in bounds.nodes if e.visits is None]),
        ("TURNS", "set limits.node.turns", [e for e in visited if e.turns is None]),
        ("TOKENS", "set limits.node.tokens", [e for e in visited if e.tokens is None]),
        ("COST", "set limits.node.cost", [e for e in visited if e.cost is None]),
    ):
        if nodes:
            names = ", ".join(one_line(each.node) for each in nodes[:MOST_NAMES])
            more = f" and {len(nodes) - MOST_NAMES} more" if len(nodes) > MOST_NAMES else ""
            yield f"no bound for {number} of {names}{more}: {fix}"


def in_words(bounds: CostBounds) -> str:
    """The bound of the whole run, in a line."""
    if not bounds.nodes:
        return "no node asks a model: the run costs nothing"
    if bounds.unpriced:
        models = ", ".join(bounds.unpriced)
        return f"no bound on the cost is known: no price is known for {models}; add it under `prices:`"
    if bounds.cost is None:
        return "no bound on the cost of a run is known: set limits.run.cost, or run with --max-cost"
    return f"a run costs at most {_dollars(bounds.cost)} ({bounds.rule}), and the calls that are under way then"


def as_data(bounds: CostBounds) -> dict[str, Any]:
    """The same for a program; null where no bound is known."""
    return {"cost_at_most": bounds.cost, "rule": bounds.rule, "unpriced": list(bounds.unpriced)} | {
        "nodes": [asdict(each) for each in bounds.nodes]
    }


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)


def _dollars(value: float | None) -> str:
    return UNKNOWN if value is None else dollars(value * 1e6)
