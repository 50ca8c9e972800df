"""``orchestra explain``."""

from __future__ import annotations

from typing import Annotated

import typer


def explain(
    rule: Annotated[
        str | None, typer.Argument(metavar="[RULE]", help="Rule of a diagnostic (default: list all rules).")
    ] = None,
) -> None:
    """Say what a diagnostic means, with a wrong and a right example."""
    from orchestra.cli._explain import explain_rule

    raise typer.Exit(explain_rule(rule))
