"""A process that answers questions at given times: one JSON line for each on its standard input."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.engine.mailbox import ANSWER, send


async def answer(folder: str, wanted: dict[str, Any], at: float) -> None:
    store = EmbeddedStore.open(folder)
    while time.time() < at:
        pass
    await send(
        store,
        wanted["mailbox"],
        wanted["session"],
        ANSWER,
        question=wanted["question"],
        value="Y",
        who="a process",
        now_ms=time.time_ns() // 1_000_000,
    )
    await store.close()


def main() -> None:
    for line in sys.stdin:
        told = json.loads(line)
        asyncio.run(answer(told["folder"], told["wanted"], told["at"]))
        print("answered", flush=True)


main()
