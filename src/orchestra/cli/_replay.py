"""What ``orchestra replay`` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestra.agents.scripts import read_script
from orchestra.app.pipelines import Pipeline, read
from orchestra.app.replaying import Future, replay
from orchestra.app.resuming import Changes
from orchestra.cli._ended import Shown
from orchestra.cli._run import key_values, walk_shown
from orchestra.cli._stores import aimed, hint, settings_for, there
from orchestra.cli._terminal import one_line
from orchestra.engine.control import Control
from orchestra.engine.forking import Wanted
from orchestra.engine.journal import Listener
from orchestra.engine.running import Run
from orchestra.errors import ConfigError, StoreError
from orchestra.ports import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for on the command line."""

    checkpoint: str
    turn: str
    node: str
    visit: int | None
    variables: tuple[str, ...]
    values: tuple[str, ...]
    graph: Path | None
    simulate: Path | None
    label: str
    detach: bool


def replay_session(session: str, asked: Asked, shown: Shown) -> int:
    """Fork, go on, and say how it ended; the exit code (C2)."""
    settings = settings_for(shown.store, shown.config, str(asked.graph) if asked.graph is not None else "-")
    try:
        there(settings, session)
    except StoreError as error:
        error.fix = aimed(error.fix, hint(settings, shown.store))
        raise
    wanted = _wanted(asked)
    source, found = read(asked.graph) if asked.graph is not None else (None, ())
    script = read_script(asked.simulate) if asked.simulate is not None else None
    future = Future(
        variables=key_values(asked.variables, "variable"),
        values=key_values(asked.values, "value"),
        changes=Changes(graph=source, found=found, simulation=script),
        label=asked.label,
    )

    async def fork(store: Store, listeners: tuple[Listener, ...], control: Control) -> tuple[Run, Pipeline]:
        return await replay(
            session,
            at=wanted,
            future=future,
            store=store,
            settings=settings,
            listeners=listeners,
            control=control,
        )

    return walk_shown(shown, settings, fork, detach=asked.detach)


def _wanted(asked: Asked) -> Wanted:
    if asked.node:
        return Wanted(node=asked.node, visit=asked.visit)
    if asked.checkpoint == "last":
        return Wanted(newest=True)
    text = asked.checkpoint or asked.turn
    if not text:
        return Wanted()
    number = text.removeprefix("#")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise ConfigError(
            f"{one_line(text, 40)!r} is not a turn",
            fix="use a depth, as `orchestra log SESSION` shows it, or #ID for a CXDB turn id",
        )
    if text.startswith("#"):
        return Wanted(turn_id=int(number), checkpoint=bool(asked.checkpoint))
    return Wanted(depth=int(number), checkpoint=bool(asked.checkpoint))
