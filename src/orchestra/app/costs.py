"""What a run may cost: the limit of the settings, and the one that the command line sets (A5)."""

from __future__ import annotations

from dataclasses import replace

from orchestra.agents.models import run_limit
from orchestra.config.model import RunLimit
from orchestra.config.settings import Settings

FLAG = "--max-cost"
RECORDED = "--max-cost, as it was given before"
COST = ("limits", "run", "cost")
"""The setting that bounds what a run costs."""


def max_cost_of(settings: Settings) -> int:
    """The bound that the command line sets, in millionths of a dollar; 0 where it sets none (A5)."""
    if settings.given.get(COST) != FLAG:
        return 0
    return round((settings.config.limits.run.cost or 0) * 1_000_000)


def with_max_cost(settings: Settings, recorded: int) -> Settings:
    """The settings with the bound that a session was given before, unless the command line sets one (A5)."""
    if not recorded or max_cost_of(settings):
        return settings
    config = settings.config
    run = replace(config.limits.run, cost=recorded / 1_000_000)
    given = {**settings.given, COST: RECORDED}
    return replace(settings, given=given, config=replace(config, limits=replace(config.limits, run=run)))


def run_limit_of(settings: Settings, pipeline: str) -> RunLimit:
    """The bounds of a whole run of a pipeline; the command line's come before the pipeline's own section."""
    found = run_limit(settings.config, pipeline)
    if settings.given.get(COST) in (FLAG, RECORDED):
        return replace(found, cost=settings.config.limits.run.cost)
    return found
