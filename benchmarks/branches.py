"""What parallel branches cost on the embedded store, and LangGraph's ``Send`` fan-out on the same work.

    python benchmarks/branches.py                 the figures below, in one run
    python benchmarks/branches.py --profile wide  where the time goes (wide, deep or main)

wide: 1000 branches that sleep half a second, all at once (``limits.run.parallel: 1000``): wall time, memory, syncs.
deep: 100 branches of 20 durable steps each, and main: one walk of as many steps: CPU and syncs per step.
send: the wide fan-out with LangGraph, without a checkpointer and with the one in memory.
Each is measured in a process of its own; rounds are interleaved.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import operator
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

from durable_step import response
from orchestra.app.pipelines import compile_pipeline
from orchestra.app.runs import RunSetup, start
from orchestra.cli.commands.run import YOUNG
from orchestra.config.settings import settle
from orchestra.cxdb.embedded.files import Files
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.errors import Source

WIDE, SLEEP = 1000, 0.5
DEEP, STEPS = 100, 20


class Counting(Files):
    """Counts syncs."""

    syncs = 0

    def fdatasync(self, fd: int) -> None:
        self.syncs += 1
        super().fdatasync(fd)


def fan(branches: int, body: str, chain: str) -> str:
    """A fan-out over ``branches`` items."""
    return (
        'digraph fan {\n    graph [goal="Measure", max_steps=0]\n'
        "    start [shape=Mdiamond]\n    exit [shape=Msquare]\n    meet [shape=tripleoctagon]\n"
        f"    each [shape=component, for_each=items, max_items={branches}, max_parallel={branches}]\n"
        f"{body}    start -> each\n    each -> {chain} -> meet -> exit\n}}\n"
    )


def wide() -> tuple[str, str]:
    """Branches that sleep."""
    return fan(WIDE, '    work [prompt="Sleep"]\n', "work"), (
        f"nodes:\n  work:\n    - {{text: done, delay: {SLEEP}s}}\n"
    )


def nodes(count: int) -> tuple[str, str, str]:
    """A chain of nodes with 1 KB of response each, and its script."""
    names = [f"n{i}" for i in range(count)]
    body = "".join(f'    {name} [prompt="Do step {name}"]\n' for name in names)
    script = "nodes:\n" + "".join(
        f'  {name}:\n    - {{text: "{response(number)}"}}\n' for number, name in enumerate(names)
    )
    return body, " -> ".join(names), script


def deep() -> tuple[str, str]:
    """Branches of many steps."""
    body, chain, script = nodes(STEPS)
    return fan(DEEP, body, chain), script


def main_walk() -> tuple[str, str]:
    """As many steps in one walk: the same chain, again and again."""
    body, chain, script = nodes(STEPS)
    text = (
        f'digraph main {{\n    graph [goal="Measure", max_steps={DEEP * STEPS}]\n'
        f"    start [shape=Mdiamond]\n    exit [shape=Msquare]\n{body}    start -> {chain}\n"
        f'    n{STEPS - 1} -> n0 [condition="context.done!=1"]\n'
        f'    n{STEPS - 1} -> exit [condition="context.done=1"]\n}}\n'
    )
    return text, script


async def ours(text: str, script: str, folder: Path, profile: cProfile.Profile | None) -> dict[str, float]:
    """Run a pipeline on a new store."""
    items = list(range(WIDE if "work" in text else DEEP))
    checked = compile_pipeline(Source("fan.dot", text), (), variables={"items": json.dumps(items)}, secrets={})
    (folder / "orchestra.yaml").write_text("limits: {run: {parallel: 1000}}\n")
    settings = settle(folders=(folder,), environment={}, store=str(folder / "store"))
    files = Counting()
    store = EmbeddedStore.open(folder / "store", files=files)
    run = await start(
        RunSetup(store=store, settings=settings),
        checked,
        variables={"items": json.dumps(items)},
        simulation=Source("fan.yaml", script),
    )
    before = files.syncs
    found = await measured(run.walk, profile)
    found["syncs"] = files.syncs - before
    assert run.state.steps > len(items), run.state.result
    await store.close()
    return found


class State(TypedDict):
    """LangGraph's state: every branch adds a result."""

    results: Annotated[list[str], operator.add]


async def send(folder: Path, *, kept: bool) -> dict[str, float]:
    """The wide fan-out with LangGraph."""
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Send

    async def work(_given: Mapping[str, Any]) -> dict[str, list[str]]:
        await asyncio.sleep(SLEEP)
        return {"results": ["done"]}

    graph: Any = StateGraph(State)
    graph.add_node("work", work)
    graph.add_node("meet", lambda _state: {})
    graph.add_conditional_edges(START, lambda _state: [Send("work", {"item": i}) for i in range(WIDE)], ["work"])
    graph.add_edge("work", "meet")
    graph.add_edge("meet", END)
    compiled = graph.compile(checkpointer=InMemorySaver() if kept else None)
    config = {"configurable": {"thread_id": "1"}, "max_concurrency": WIDE}

    async def once() -> None:
        done = await compiled.ainvoke({"results": []}, config)
        assert len(done["results"]) == WIDE

    return await measured(once, None)


async def measured(work: Callable[[], Awaitable[object]], profile: cProfile.Profile | None) -> dict[str, float]:
    """Seconds of wall and CPU, and KB by which the most memory grew."""
    gc.freeze()
    gc.set_threshold(YOUNG)  # as the command line does, for LangGraph too
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if profile is not None:
        profile.enable()
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if profile is not None:
        profile.disable()
    return {"wall": wall, "cpu": cpu, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory}


OURS = {"wide": wide, "deep": deep, "main": main_walk}


def measure(name: str, folder: Path, profile: cProfile.Profile | None = None) -> dict[str, float]:
    """One measurement."""
    if name in OURS:
        return asyncio.run(ours(*OURS[name](), folder, profile))
    return asyncio.run(send(folder, kept=name == "send, kept"))


def apart(name: str) -> dict[str, float]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--one", name]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def report(rounds: int) -> None:
    """Measure and print."""
    names = ["wide", "send", "send, kept", "deep", "main"]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(apart(name))

    def middle(name: str, key: str) -> float:
        return statistics.median(one[key] for one in found[name])

    def least(name: str, key: str) -> float:
        return min(one[key] for one in found[name])

    for name in names[:3]:
        print(
            f"{name:11} {middle(name, 'wall'):5.2f} s wall (least {least(name, 'wall'):.2f}), "
            f"{middle(name, 'cpu'):5.2f} s CPU, {middle(name, 'memory') / WIDE:5.1f} KB a branch"
        )
    print(f"wide: {middle('wide', 'syncs'):.0f} syncs for {WIDE} branches")
    steps = DEEP * STEPS
    for name in names[3:]:
        print(
            f"{name:11} {least(name, 'cpu') / steps * 1e6:5.0f} µs CPU a step "
            f"(median {middle(name, 'cpu') / steps * 1e6:.0f}), "
            f"{middle(name, 'wall') / steps * 1e6:5.0f} µs wall, {middle(name, 'syncs') / steps:.3f} syncs"
        )
    ratios = [a["cpu"] / b["cpu"] for a, b in zip(found["deep"], found["main"], strict=True)]
    print(
        f"CPU per branch step / main step: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--one", help=argparse.SUPPRESS)
    options.add_argument("--profile", choices=list(OURS))
    given = options.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as made:
        if given.profile:
            profile = cProfile.Profile()
            print(measure(given.profile, Path(made), profile))
            pstats.Stats(profile).sort_stats("tottime").print_stats(50)
        elif given.one:
            print(json.dumps(measure(given.one, Path(made))))
        else:
            report(given.rounds)


if __name__ == "__main__":
    main()
