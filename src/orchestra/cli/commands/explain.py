"""``orchestra explain``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.terminal import room, say
from orchestra.errors import ConfigError
from orchestra.graph.attributes import nearest
from orchestra.graph.explain import explain as explanation
from orchestra.graph.report import wrap
from orchestra.graph.rulebook import ENTRIES


def explain(
    rule: Annotated[
        str | None, typer.Argument(metavar="[RULE]", help="Rule of a diagnostic (default: list all rules).")
    ] = None,
) -> None:
    """Say what a diagnostic means, with a wrong and a right example."""
    raise typer.Exit(explain_rule(rule))


def explain_rule(rule: str | None) -> int:
    """Print one rule's entry, or the list of rules."""
    if rule is None:
        longest = max(map(len, ENTRIES))
        for name, known in ENTRIES.items():
            lead = f"{name:{longest}}  {'/'.join(s.value for s in known.severities):15}  "
            say("\n".join(wrap(lead, known.meaning, room(), "    ")))
        return 0
    entry = ENTRIES.get(rule)
    if entry is None:
        near = nearest(rule, ENTRIES, within=3)
        fix = f"did you mean {near!r}?" if near else "list all rules: orchestra explain"
        raise ConfigError(f"unknown rule {rule!r}", fix=fix)
    prose, example, pipelines = explanation(entry).rstrip("\n").partition("\nWrong:")
    say("\n".join(line for text in prose.splitlines() for line in wrap("", text, room(), "")) + example + pipelines)
    return 0
