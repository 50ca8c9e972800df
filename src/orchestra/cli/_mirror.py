"""What ``orchestra cxdb mirror`` does."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from msgspec import to_builtins

from orchestra.app.mirroring import Sent, follow, mirror_fix, run_ended, send_now
from orchestra.cli._errors import FAILED
from orchestra.cli._json import say_json
from orchestra.cli._stores import aimed, exists, hint, settings_for, there
from orchestra.cli._terminal import one_line, say
from orchestra.config.server import Server
from orchestra.config.settings import Settings
from orchestra.errors import ConfigError, StoreError
from orchestra.graph.report import counted

NICE = 19
"""Niceness of the mirror process that accompanies a run."""


def mirror(sessions: tuple[str, ...], *, store: str | None, config: Path | None, as_json: bool) -> int:
    """Send what the mirror lacks and print it. Return 0 if the mirror is complete now, 1 if something failed."""
    settings = settings_for(store, config)
    folder, server = _ends(settings)
    if sessions:
        there(settings, sessions[0])
    elif not exists(settings):
        say(f"no store in {folder} yet: nothing to send")
        return 0

    def tell(one: Sent) -> None:
        if not as_json and (one.sent or one.trouble):
            say(_line(one))

    try:
        done, too_large = asyncio.run(send_now(folder, server, sessions, tell))
    except StoreError as error:
        error.fix = aimed(mirror_fix(error.fix), hint(settings, store))
        raise
    failed = sum(1 for one in done if one.trouble)
    if as_json:
        what = {"mirror": str(server), "sessions": to_builtins(done), "blobs_too_large": too_large}
        say_json({**what, "exit_code": FAILED if failed else 0}, indent=2)
    else:
        for line in _summary(done, too_large, server):
            say(line)
    return FAILED if failed else 0


def follow_run(store: str | None, config: Path | None) -> None:
    """Send new turns until the run that started this process ends, then what is still missing."""
    folder, server = _ends(settings_for(store, config))
    os.nice(NICE)
    asyncio.run(follow(folder, server, run_ended))


def _ends(settings: Settings) -> tuple[Path, Server]:
    """The folder that is mirrored, and the server. Raises ``ConfigError``."""
    if settings.store is None:
        raise ConfigError(f"the store {settings.place} is not a folder: only a folder can have a mirror")
    if settings.mirror is None:
        raise ConfigError(
            "no mirror is configured",
            fix="set cxdb: {mirror: 'http://host:9010'} in orchestra.yaml, or ORCHESTRA_CXDB_MIRROR",
        )
    return settings.store, settings.mirror


def _line(one: Sent) -> str:
    told = f"{one.session}  {counted(one.sent, 'turn')} sent" + (f" of {one.turns}" if one.turns > one.sent else "")
    return told + (f"; stopped: {one_line(one.trouble, 500)}" if one.trouble else "")


def _summary(done: list[Sent], too_large: int, server: Server) -> list[str]:
    turns = sum(one.turns for one in done)
    failed = [one for one in done if one.trouble]
    whole = f"{server} is up to date: {counted(len(done) - len(failed), 'session')}, {counted(turns, 'turn')}"
    lines = [whole if not failed else f"{counted(len(failed), 'session')} not completely sent"]
    if too_large:
        lines.append(f"  {counted(too_large, 'blob')} skipped: larger than CXDB's protocol allows")
    return lines
