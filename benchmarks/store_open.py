"""What opening a large store costs: a million turns in a thousand contexts.

Run: ``python benchmarks/store_open.py [--turns N] [--dir DIR]``. The store is built once (about a minute) in
DIR, or in a temporary folder. Then a fresh process opens it and reads the newest page of one context: the
times are of the whole process, Python's start included. ``warm`` has our own files, as after any use; ``cold``
has only CXDB's.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestra.cxdb.embedded.files import Files
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.ports import NewTurn

CONTEXTS = 1000
BATCH = 100

PROGRAM = """
import asyncio, resource, sys, time
begun = time.perf_counter()
from orchestra.cxdb.embedded.store import EmbeddedStore
imported = time.perf_counter()
async def main():
    store = EmbeddedStore.open(sys.argv[1], read_only=sys.argv[2] == "read")
    opened = time.perf_counter()
    turns = await store.turns(500, limit=100)
    read = time.perf_counter()
    assert len(turns) == 100
    if sys.argv[2] == "list":
        rows = await store.contexts(label="kind:run")
        listed = time.perf_counter()
        assert len(rows) > 0
    else:
        listed = read
    await store.close()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    import json
    print(json.dumps({"import ms": round((imported - begun) * 1e3), "open ms": round((opened - imported) * 1e3, 1),
        "page ms": round((read - opened) * 1e3, 1), "list ms": round((listed - read) * 1e3, 1),
        "CPU ms": round((usage.ru_utime + usage.ru_stime) * 1e3), "peak MB": round(usage.ru_maxrss / 1024)}))
asyncio.run(main())
"""


class Unsynced(Files):
    """Building is no measurement: it need not be durable."""

    def fdatasync(self, fd: int) -> None:
        pass


def build(path: Path, turns: int) -> None:
    import asyncio

    import msgspec

    rng = random.Random(5)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(400)]
    texts = [" ".join(rng.choice(words) for _ in range(40)) for _ in range(200)]

    async def fill() -> None:
        store = EmbeddedStore.open(path, files=Unsynced())
        for number in range(CONTEXTS):
            context = (await store.create()).context_id
            metadata = {1: "orchestra", 2: f"session {number}", 3: ["kind:run", f"id:{number}"]}
            payload = msgspec.msgpack.encode({1: number, 30: metadata})
            await store.append(
                context, [NewTurn(type_id="dev.orchestra.PipelineLifecycle", type_version=1, payload=payload)]
            )
        for at in range(CONTEXTS, turns, BATCH):
            batch = [
                NewTurn(
                    type_id="dev.orchestra.NodeExecution",
                    type_version=1,
                    payload=f"{at + n} {texts[(at + n) % 200]}".encode(),
                )
                for n in range(BATCH)
            ]
            await store.append(1 + at // BATCH % CONTEXTS, batch)
        await store.close()

    asyncio.run(fill())


def measure(path: Path, how: str) -> None:
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), how], capture_output=True, text=True, check=True
    )
    print(f"{how:<6} whole process {time.perf_counter() - begun:6.2f} s ", json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=1_000_000)
    parser.add_argument("--dir", default=None)
    args = parser.parse_args()
    folder = Path(args.dir or tempfile.mkdtemp())
    path = folder / "store"
    if not path.exists():
        begun = time.perf_counter()
        build(path, args.turns)
        print(f"built {args.turns} turns in {time.perf_counter() - begun:.0f} s")
    for how in ("write", "read", "list", "list"):
        measure(path, how)
    shutil.rmtree(path / "orchestra")
    print("without our own files:")
    measure(path, "read")
    measure(path, "write")
    measure(path, "write")
    if args.dir is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
