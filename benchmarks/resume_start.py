"""What it costs to go on with a session, by how long it is already.

    python benchmarks/resume_start.py            the figures below, in one run
    python benchmarks/resume_start.py --go-on FOLDER   go on with the session in FOLDER, and say what that took

Prints, for a session of 200 and one of 20 000 steps that ``max_steps`` ended: the bytes of a step, the turns that
the resume reads before it walks, and the CPU time from the start of the process until it may walk (the least of
several, each a process of its own).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from durable_step import walk
from orchestra.app.runs import RunSetup, resume
from orchestra.app.stores import open_store
from orchestra.config.settings import Settings


class Counting:
    """A store, and how many turns were read from it."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.read = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def turns(self, context_id: int, **how: Any) -> Any:
        page = await self._store.turns(context_id, **how)
        self.read += len(page)
        return page


async def go_on(folder: Path) -> None:
    """Make the session ready to walk on, and print what that took as JSON."""
    settings = Settings(store=folder)
    store = Counting(open_store(settings))
    await resume(RunSetup(store=store, settings=settings), "last")  # type: ignore[arg-type]
    print(json.dumps({"cpu": time.process_time(), "turns": store.read}))


def costs(folder: Path, rounds: int) -> tuple[float, int]:
    """The least CPU time of a resume, and the turns that it reads."""
    told = []
    for _ in range(rounds):
        command = [sys.executable, __file__, "--go-on", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        told.append(json.loads(done.stdout))
    return min(one["cpu"] for one in told), max(one["turns"] for one in told)


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--go-on", type=Path, metavar="FOLDER", help="go on with the session there")
    options.add_argument("--steps", type=int, nargs=2, default=(200, 20_000), metavar="N")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--folder", type=Path, help="where to write; a disk, not a file system in memory")
    given = options.parse_args()
    if given.go_on:
        asyncio.run(go_on(given.go_on))
        return
    found = []
    with tempfile.TemporaryDirectory(dir=given.folder or Path.cwd(), prefix=".bench-") as made:
        for steps in given.steps:
            folder = Path(made) / str(steps)
            size = asyncio.run(walk(steps, folder)).size
            cpu, turns = costs(folder, given.rounds)
            found.append((size, cpu))
            print(f"{steps:6} steps: {size:.0f} bytes a step; a resume reads {turns} turns, {cpu * 1e3:.0f} ms CPU")
    (size, cpu), (later_size, later_cpu) = found
    print(f"ratio  bytes {later_size / size:.2f} (at most 1.15)  resume {later_cpu / cpu:.2f} (at most 1.5)")


if __name__ == "__main__":
    main()
