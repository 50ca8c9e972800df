"""What a tool call costs beyond the work itself, and a search beside ripgrep's own (A30-A33).

    python benchmarks/agent_tools.py [--files 20000]

Prints for each tool the CPU time of a call and of the bare work, in milliseconds, as the median of many; then how
long ``search-code`` takes beside ``rg`` in a folder of many files.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "agents" / "tools"))

from toolbox import Box

from orchestra.agents.tools.search import ripgrep


def cpu() -> float:
    """Seconds of this process and of those that it has waited for."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


async def median(work: Callable[[], Awaitable[object]], times: int) -> float:
    """The median CPU time of some work, in milliseconds."""
    found = []
    for _each in range(times):
        began = cpu()
        await work()
        found.append((cpu() - began) * 1000)
    return statistics.median(found)


async def calls(folder: Path) -> None:
    box = Box(folder)
    path = folder / "a.py"
    text = "".join(f"line {number} of the file\n" for number in range(500))
    path.write_text(text)
    await box.call("read-file", path="a.py")
    await box.call("shell", command="true")
    flip = {"now": ("line 250 ", "line 250! "), "next": ("line 250! ", "line 250 ")}

    async def edit() -> None:
        old, new = flip["now"]
        flip["now"], flip["next"] = flip["next"], flip["now"]
        result = await box.call("edit-file", path="a.py", old_string=old, new_string=new)
        assert not result.is_error, result.text

    async def bare_read() -> None:
        path.read_text()

    async def bare_write() -> None:
        path.write_text(path.read_text())

    async def bare_shell() -> None:
        subprocess.run(["/bin/sh", "-c", "true"], capture_output=True, check=True)

    rows: list[tuple[str, Callable[[], Awaitable[object]], Callable[[], Awaitable[object]]]] = [
        ("read-file", lambda: box.call("read-file", path="a.py"), bare_read),
        ("edit-file", edit, bare_write),
        ("write-file", lambda: box.call("write-file", path="a.py", content=text), bare_write),
        ("shell", lambda: box.call("shell", command="true"), bare_shell),
    ]
    print(f"{'tool':12} {'call':>8} {'bare':>8} {'ours':>8}   (CPU ms, median)")
    for name, call, bare in rows:
        await call()
        whole, plain = await median(call, 100), await median(bare, 100)
        print(f"{name:12} {whole:8.2f} {plain:8.2f} {whole - plain:8.2f}")


def fill(folder: Path, files: int) -> None:
    for number in range(files):
        place = folder / f"d{number % 200}"
        place.mkdir(exist_ok=True)
        (place / f"f{number}.py").write_text(f"def function_{number}():\n    return {number}\n" * 20)


async def search(folder: Path, files: int) -> None:
    if ripgrep() is None:
        print("no ripgrep: the search is not measured")
        return
    fill(folder, files)
    box = Box(folder)
    ours, theirs = [], []
    for _each in range(7):
        began = time.perf_counter()
        await box.call("search-code", pattern=r"function_199\d\b")
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        subprocess.run(
            ["rg", "--line-number", "--hidden", r"function_199\d\b", "."],
            cwd=folder,
            capture_output=True,
            check=True,
        )
        theirs.append(time.perf_counter() - began)
    mine, bare = min(ours) * 1000, min(theirs) * 1000
    print(f"search-code over {files} files: {mine:.0f} ms, rg {bare:.0f} ms, {mine / bare:.2f} times")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=20_000)
    files = parser.parse_args().files
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(calls(Path(name)))
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(search(Path(name), files))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
