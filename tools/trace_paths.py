"""How much code one node's execution and one resume go through: the reading test of the architecture.

    python tools/trace_paths.py [-v]

Runs examples/hello.dot with simulated agents on an embedded store and counts, with ``sys.setprofile``, the source
files of Orchestra in which a function runs, and the lines of these files. Counted are: one agent node, from the
step that chooses it to the step that chooses the next, without ``cxdb``, ``graph`` and ``cli``; and a resume, from
the session's name to a run that is ready to walk, without ``cxdb``, ``graph`` and ``config``. A coroutine counts
where it is called, not again each time that it continues: the run that waits for the node is no part of it.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import orchestra
from orchestra.app.pipelines import compile_pipeline, read
from orchestra.app.runs import RunSetup, resume, start
from orchestra.app.stores import open_store
from orchestra.config.settings import Settings
from orchestra.engine.control import Control
from orchestra.run.events import StageStarted
from orchestra.run.steps import next_step

SOURCES = Path(orchestra.__file__).parent
EXAMPLE = Path(__file__).parents[1] / "examples" / "hello.dot"
WITHOUT = {"node": ("cxdb", "graph", "cli"), "resume": ("cxdb", "graph", "config")}
CONTINUES = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
TARGETS = {"node": (12, 2000), "resume": (20, 0)}


class Trace:
    """The files in which a function was called while ``on``."""

    def __init__(self) -> None:
        self.on = False
        self.files: set[str] = set()

    def see(self, frame: FrameType) -> None:
        """Note a call; what runs because a module is imported does not count."""
        name = frame.f_code.co_filename
        if self.on and name.startswith(str(SOURCES)) and frame.f_code.co_name != "<module>":
            self.files.add(name)

    def counted(self, without: tuple[str, ...]) -> dict[str, int]:
        """The files outside some packages, with their lines."""
        paths = [Path(name).relative_to(SOURCES) for name in self.files]
        kept = sorted(path for path in paths if path.parts[0] not in without)
        return {str(path): len((SOURCES / path).read_text().splitlines()) for path in kept}


@contextmanager
def profiled(see: Callable[[FrameType], None]) -> Iterator[None]:
    """Call ``see`` with the frame of every Python function that is called meanwhile."""
    begun: set[FrameType] = set()

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame not in begun:
            if frame.f_code.co_flags & CONTINUES:
                begun.add(frame)
            see(frame)

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


async def traced_node(folder: Path, trace: Trace) -> None:
    """Trace the first agent node of a run."""
    source, found = read(EXAMPLE)
    pipeline = compile_pipeline(source, found, variables={}, secrets={})
    graph = pipeline.checked_graph()
    node = next(name for name in graph.nodes if graph.type_of(name) == "codergen")
    settings = Settings(store=folder)
    store = open_store(settings)
    run = await start(RunSetup(store=store, settings=settings), pipeline, variables={})

    def see(frame: FrameType) -> None:
        if frame.f_code is next_step.__code__:
            trace.on = run.state.next_node == node or (trace.on and not run.state.next_node)
        trace.see(frame)

    with profiled(see):
        await run.walk()
    await store.close()


async def traced_resume(folder: Path, trace: Trace) -> None:
    """Trace the resume of a run that was interrupted at its first agent node."""
    source, found = read(EXAMPLE)
    pipeline = compile_pipeline(source, found, variables={}, secrets={})
    settings, control = Settings(store=folder), Control()
    store = open_store(settings)

    def stop(recorded: object) -> None:
        event = getattr(recorded, "event", None)
        if isinstance(event, StageStarted) and event.handler == "codergen":
            control.interrupt("traced")

    run = await start(
        RunSetup(store=store, settings=settings, listeners=(stop,), control=control), pipeline, variables={}
    )
    await run.walk()
    trace.on = True
    with profiled(trace.see):
        later, _pipeline = await resume(RunSetup(store=store, settings=settings), run.session)
    await later.opened.hold.release()
    await store.close()


def measured() -> dict[str, dict[str, int]]:
    """The files of both paths, with their lines. What a first run in a process imports and keeps is not counted."""
    found: dict[str, dict[str, int]] = {}
    for what, traced in (("node", traced_node), ("resume", traced_resume)):
        trace = Trace()
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(traced(Path(folder) / "warm", Trace()))
            asyncio.run(traced(Path(folder) / "store", trace))
        found[what] = trace.counted(WITHOUT[what])
    return found


def main() -> None:
    """Print both counts; ``-v`` names the files."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("-v", "--verbose", action="store_true", help="name the files")
    verbose = options.parse_args().verbose
    for what, found in measured().items():
        files, lines = TARGETS[what]
        without = WITHOUT[what]
        aim = f"{files} files" + (f", {lines} lines" if lines else "")
        total = f"{len(found)} files, {sum(found.values())} lines"
        sys.stdout.write(f"{what}: {total} (target {aim}) without {', '.join(without)}\n")
        if verbose:
            for name, length in found.items():
                sys.stdout.write(f"  {length:5} {name}\n")


if __name__ == "__main__":
    main()
