"""What looking costs in a large store: a thousand sessions, a million turns, through the command line.

    python benchmarks/large_store.py [--sessions N] [--dir DIR]

Builds the store once in DIR (or in a temporary folder), then measures whole processes of `orchestra status`,
`orchestra show SESSION` and `orchestra status SESSION`: wall time, CPU, peak memory. With warm caches unless said.
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
from pathlib import Path

from orchestra.app.pipelines import compile_pipeline
from orchestra.app.runs import RunSetup, start
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.cxdb.embedded.files import Files
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.loading import history
from orchestra.engine.opening import Opening, lock_session, new_place
from orchestra.engine.wiring import RunnerProcess, Wiring
from orchestra.errors import Source
from orchestra.ports import NewTurn
from orchestra.run.events import PipelineStarted
from orchestra.run.secrets import Redactor

STEPS = 249


class Unsynced(Files):
    """Building is no measurement: it need not be durable."""

    def fdatasync(self, fd: int) -> None:
        """Nothing."""


def pipeline() -> Source:
    """A loop of 20 nodes that ``max_steps`` ends."""
    nodes = "\n".join(f'    n{i} [prompt="Do step {i}"]' for i in range(20))
    chain = " -> ".join(f"n{i}" for i in range(20))
    return Source(
        "loop.dot",
        f'digraph loop {{\n    graph [goal="Measure", max_steps={STEPS}]\n    start [shape=Mdiamond]\n'
        f"    exit [shape=Msquare]\n{nodes}\n    start -> {chain}\n"
        '    n19 -> n0 [condition="context.done!=1"]\n    n19 -> exit [condition="context.done=1"]\n}\n',
    )


async def template() -> list[NewTurn]:
    """The turns of one finished run but its first."""
    checked = compile_pipeline(pipeline(), (), variables={}, secrets={})
    store = MemoryStore()
    run = await start(RunSetup(store=store, settings=Settings(store=None)), checked, variables={})
    await run.walk()
    turns = await history(store, run.context_id)
    return [NewTurn(type_id=t.type_id, type_version=t.type_version, payload=t.payload) for t in turns[1:]]


async def build(folder: Path, sessions: int) -> None:
    """A store with that many finished sessions."""
    turns = await template()
    store = EmbeddedStore.open(folder, files=Unsynced())
    started = PipelineStarted(pipeline="loop", goal="Measure", dot=pipeline().text, graph_hash="0" * 64, mailbox=0)
    origin = RunnerProcess(host="bench", pid=os.getpid(), version="0")
    wiring = Wiring(store=store, clock=SystemClock(), redactor=Redactor({}), listeners=(), origin=origin)
    for _ in range(sessions):
        opened = await lock_session(wiring, Opening(place=await new_place(wiring), first=started))
        for at in range(0, len(turns), 100):
            await store.append(opened.context_id, turns[at : at + 100])
        await opened.hold.release()
    await store.close()


def measured(command: list[str], folder: Path) -> tuple[float, float, int]:
    """Wall and CPU milliseconds and peak MB of a process."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["ORCHESTRA_CXDB_PATH"] = str(folder)
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestra", *command], env=environment, stdout=subprocess.DEVNULL
    )
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = (time.perf_counter() - begun) * 1000
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return wall, (usage.ru_utime + usage.ru_stime) * 1000, usage.ru_maxrss // 1024


def main() -> None:
    """Build and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sessions", type=int, default=1000)
    options.add_argument("--dir", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as made:
        folder = given.dir or Path(made) / "store"
        if not (folder / "turns").is_dir():
            begun = time.perf_counter()
            asyncio.run(build(folder, given.sessions))
            print(f"built {given.sessions} sessions in {time.perf_counter() - begun:.0f} s")
        for command in (["status"], ["show", "last"], ["status", "last"]):
            taken = [measured(command, folder) for _ in range(7)]
            wall, cpu = (statistics.median(one[i] for one in taken) for i in (0, 1))
            print(
                f"orchestra {' '.join(command):12} {wall:5.0f} ms wall (least {min(t[0] for t in taken):.0f}),"
                f" {cpu:5.0f} ms CPU, {max(t[2] for t in taken)} MB"
            )


if __name__ == "__main__":
    main()
