"""What the shell offers after ``orchestra status`` and its like."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from orchestra.cli._stores import exists, reading, settings_for
from orchestra.engine.sessions import rows
from orchestra.errors import OrchestraError

MOST = 50
"""More than anybody reads."""

_ACTIVE = re.compile(r"[^\w .,/-]+")
"""What a shell that evaluates the offer could take for more than text: a title is anybody's words."""


def sessions(beginning: str, store: str | None, config: Path | None) -> list[tuple[str, str]]:
    """Ids and titles, newest first; none where the store cannot be looked at."""
    try:
        settings = settings_for(store, config)
        found = asyncio.run(reading(settings, rows, flag=store)) if exists(settings) else []
    except OrchestraError:
        return []
    return [(row.session, _ACTIVE.sub(" ", row.title)[:60]) for row in found if row.session.startswith(beginning)][
        :MOST
    ]
