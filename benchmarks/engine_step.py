"""What a step of the engine costs by itself: a loop of 200 nodes with 1 KB of response each, in memory.

    python benchmarks/engine_step.py             CPU per step, rounds of it, and the store's own share
    python benchmarks/engine_step.py --profile   where the time goes

The store is left out by one that only counts turns: what remains is routing, the handler, the context,
events, redaction, the fold and the codec. CPU time, least and median of the rounds; the wall is not looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import statistics
import time
from collections.abc import Sequence

from durable_step import pipeline, script
from orchestra.app.pipelines import compile_pipeline
from orchestra.app.runs import RunSetup, start
from orchestra.config.settings import Settings
from orchestra.cxdb.memory import MemoryStore
from orchestra.ports import NewTurn, Turn


class Blackhole(MemoryStore):
    """Numbers turns and forgets them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    async def append(
        self, context_id: int, turns: Sequence[NewTurn], *, blobs: Sequence[bytes] = ()
    ) -> tuple[Turn, ...]:
        first = self.count + 1
        self.count += len(turns)
        return tuple(
            Turn(turn_id=n, parent=n - 1, depth=n - 1, type_id=t.type_id, type_version=1, payload=t.payload)
            for n, t in enumerate(turns, start=first)
        )


async def walk(steps: int, store: MemoryStore, profile: cProfile.Profile | None = None) -> float:
    """CPU seconds per step."""
    checked = compile_pipeline(pipeline(steps), (), variables={}, secrets={})
    settings = Settings(store="memory")
    run = await start(RunSetup(store=store, settings=settings), checked, variables={}, simulation=script())
    gc.collect()
    if profile is not None:
        profile.enable()
    begun = time.process_time()
    await run.walk()
    spent = time.process_time() - begun
    if profile is not None:
        profile.disable()
    return spent / steps


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=2000)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--profile", action="store_true")
    given = options.parse_args()
    if given.profile:
        profile = cProfile.Profile()
        asyncio.run(walk(given.steps, Blackhole(), profile))
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    for name, kind in (("engine alone", Blackhole), ("memory store", MemoryStore)):
        costs = [asyncio.run(walk(given.steps, kind())) * 1e6 for _ in range(given.rounds)]
        print(f"{name}  {min(costs):6.1f} µs CPU a step, median {statistics.median(costs):6.1f}")


if __name__ == "__main__":
    main()
