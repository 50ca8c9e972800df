"""What a mirror costs a run: the steps of ``durable_step.py``, with and without one, round by round.

    python benchmarks/mirror_step.py [--steps N] [--rounds N]

The mirror is ``orchestra cxdb serve`` over another folder of the same disk. What sends the turns is a process of
its own, so the run's processor time is the same; on a machine with few processors its wall time is not, because the
sender and the server want some of them too. Then it is waited until all turns are there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from durable_step import Cost, walk
from orchestra.app.mirroring import behind, sending
from orchestra.config.settings import Settings, settle


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, str]]:
    """Our server over a folder: its HTTP and its binary address."""
    command = [sys.executable, "-m", "orchestra", "cxdb", "serve", "--path", str(folder)]
    process = subprocess.Popen(
        [*command, "--bind", "127.0.0.1:0", "--http", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        words = process.stdout.readline().split()
        yield words[3], words[1]
    finally:
        process.kill()
        process.communicate()


def round_of(steps: int, mirrored: bool) -> tuple[Cost, float]:
    """What a step costs, and how many seconds after the run its last turn was on the mirror."""
    with tempfile.TemporaryDirectory() as name, server(Path(name) / "served") as (http, binary):
        folder = Path(name)
        (folder / "orchestra.yaml").write_text(f"cxdb: {{path: store, mirror: '{http}', address: '{binary}'}}\n")
        settings = settle(folders=(folder,), environment=os.environ)
        assert settings.store is not None
        assert settings.mirror is not None
        with sending(settings if mirrored else Settings(store=settings.store)):
            cost = asyncio.run(walk(steps, settings.store))
        ended = time.perf_counter()
        while mirrored and asyncio.run(behind(settings.store, settings.mirror)):
            time.sleep(0.2)
        return cost, time.perf_counter() - ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[bool, list[Cost]] = {False: [], True: []}
    later: list[float] = []
    for _ in range(given.rounds):
        for mirrored in (False, True):
            cost, after = round_of(given.steps, mirrored)
            found[mirrored].append(cost)
            if mirrored:
                later.append(after)
    for mirrored, costs in found.items():
        cpu, wall = (
            statistics.median(values) * 1e6 for values in zip(*[(c.cpu, c.wall) for c in costs], strict=True)
        )
        print(f"{'with a mirror' if mirrored else 'without':14} {cpu:6.0f} us of CPU, {wall:6.0f} us per step")
    print(f"all turns were on the mirror {statistics.median(later):.1f} s after the run")


if __name__ == "__main__":
    main()
