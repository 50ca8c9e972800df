"""What reading a large pipeline costs: parse and lint, beside Graphviz' own reader on the same file.

Run: ``python benchmarks/dot_parse.py [--nodes N] [--rounds R]``. Processor time, the least of the rounds, of ours
and of ``nop`` in turn; ``nop`` reads, lays nothing out, and prints. Then our time per node in a pipeline of a
hundred thousand nodes over that in one of a thousand. Exits 1 where a target is missed: 20 times ``nop``, and 1.3.
"""

from __future__ import annotations

import argparse
import gc
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from dot_generate import flat, generate
from orchestra.errors import Severity
from orchestra.graph.dot import decode, parse
from orchestra.graph.lint import lint

BESIDE_GRAPHVIZ = 20
GROWTH = 1.3


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of the processor."""

    parse: float
    lint: float

    @property
    def whole(self) -> float:
        return self.parse + self.lint


def ours(data: bytes) -> Cost:
    """Read and check the file's bytes."""
    gc.collect()
    began = time.process_time()
    source, refused = decode("big.dot", data)
    graph, found = parse(source)
    read = time.process_time()
    assert graph is not None
    found = (*refused, *found, *lint(graph))
    checked = time.process_time()
    assert not [d for d in found if d.severity is Severity.ERROR], found[:3]
    return Cost(read - began, checked - read)


def graphviz(file: Path) -> float:
    """Let ``nop`` read the file."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["nop", str(file)], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def least(costs: list[Cost]) -> Cost:
    return min(costs, key=lambda cost: cost.whole)


def beside_graphviz(name: str, text: str, rounds: int, folder: Path) -> float | None:
    """Print both, and give back how many times as long ours takes; None without Graphviz."""
    file = folder / f"{name}.dot"
    data = text.encode()
    file.write_bytes(data)
    print(f"{name}: {len(data) / 1e6:.2f} MB")
    if shutil.which("nop") is None:
        print("nop     not installed: nothing to compare with")
    mine, theirs = [], []
    for _ in range(rounds):
        mine.append(ours(data))
        if shutil.which("nop") is not None:
            theirs.append(graphviz(file))
    best = least(mine)
    print(f"ours    {best.whole:6.3f} s  (parse {best.parse:.3f}, lint {best.lint:.3f})")
    if not theirs:
        return None
    print(f"nop     {min(theirs):6.3f} s")
    return best.whole / min(theirs)


def growth(small: int, large: int, rounds: int) -> float:
    """The time per node of a large pipeline over that of a small one; the rounds alternate."""
    few, many = generate(small).encode(), generate(large).encode()
    short, long = [], []
    for _ in range(rounds):
        short += [ours(few) for _ in range(10)]
        long.append(ours(many))
    each, each_of_many = least(short).whole / small, least(long).whole / large
    print(f"{small:6} nodes: {each * 1e6:5.1f} µs a node\n{large:6} nodes: {each_of_many * 1e6:5.1f} µs a node")
    return each_of_many / each


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--nodes", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    texts = {"subgraphs and chains": generate(given.nodes), "flat": flat(given.nodes)}
    with tempfile.TemporaryDirectory() as folder:
        times = {name: beside_graphviz(name, text, given.rounds, Path(folder)) for name, text in texts.items()}
    grown = growth(1000, 100_000, max(given.rounds // 2, 1))
    for name, ratio in times.items():
        if ratio is not None:
            print(f"ratio to nop        {ratio:.1f}  ({name}; at most {BESIDE_GRAPHVIZ})")
    print(f"growth per node     {grown:.2f}  (at most {GROWTH})")
    sys.exit(max(ratio or 0 for ratio in times.values()) > BESIDE_GRAPHVIZ or grown > GROWTH)


if __name__ == "__main__":
    main()
