"""What our server answers to each of hundreds of requests, right and wrong, is what CXDB does (S30).

`probe_answers.txt` has the answers, which are those of CXDB itself but for what `docs/cxdb.md` says: `ok` and an
error's code where CXDB closes the connection, an HTTP status and how many contexts a query finds. Against a CXDB
server that has no context yet: ``ORCHESTRA_TEST_CXDB=HOST:PORT,HOST:HTTP pytest tests/cxdb/test_probes.py``.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from probe_table import BEFORE, PROBES, REGISTER, Probe, append, frame, http, q

from orchestra.cxdb.format import frames
from orchestra.cxdb.server.http import Guard
from orchestra.cxdb.server.serve import serving
from served_memory import ServedMemory

ANSWERS = Path(__file__).with_name("probe_answers.txt")
NAMED = os.environ.get("ORCHESTRA_TEST_CXDB", "")
OURS_ALONE = {
    "encoding 0", "encoding 2", "encoding 4294967295", "2/fs/%52EADME.md", 'created > "-9223372036854775807d"',
    "depth = 0", "GET /v1/blobs/",
}  # fmt: skip
"""Where CXDB answers otherwise; docs/cxdb.md says so."""

Doors = tuple[tuple[str, int], tuple[str, int]]


def expected() -> dict[str, dict[str, str]]:
    """The answers by category and name."""
    found: dict[str, dict[str, str]] = {}
    for line in ANSWERS.read_text(encoding="utf-8").splitlines():
        category, name, answer = line.split("\t")
        found.setdefault(category, {})[name] = answer
    return found


@asynccontextmanager
async def doors() -> AsyncIterator[Doors]:
    """The server's binary and HTTP addresses."""
    if NAMED:
        binary, web = (address.rsplit(":", 1) for address in NAMED.split(","))
        yield (binary[0], int(binary[1])), (web[0], int(web[1]))
        return
    async with serving(ServedMemory(), guard=Guard()) as at:
        yield (at.host, at.port), (at.http_host, at.http_port)


async def spoken(door: tuple[str, int], data: bytes, seconds: float = 20) -> bytes:
    """What comes back of a frame, or of a request: the first whole frame, or all until the end."""
    reader, writer = await asyncio.open_connection(*door)
    writer.write(data)
    found = b""
    try:
        async with asyncio.timeout(seconds):
            if data.endswith(b"\r\n\r\n") or b" HTTP/1.1\r\n" in data[:2000]:
                return await reader.read(-1)
            header = frames.read_header(await reader.readexactly(frames.HEADER.size))
            found = await reader.readexactly(header.length)
            kind = b"error " if header.kind == frames.ERROR else b"ok "
            return kind + frames.HEADER.pack(*header)[8:] + found
    except (asyncio.IncompleteReadError, ConnectionError):
        return b"closed"
    except TimeoutError:
        return b"silent"
    finally:
        writer.close()


def told(answer: bytes) -> str:
    """A binary answer in words: what it carries matters, but for the ids of new things."""
    kind, _, rest = answer.partition(b" ")
    if kind == b"error":
        return f"error {frames.read_error(rest[8:])[0]}"
    return f"ok {len(rest) - 8}" if kind == b"ok" else answer.decode()


def replied(answer: bytes) -> str:
    """An HTTP answer in words: its status, and of a list how long it is."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1].decode()
    if status == "200" and b"chunked" not in head and body[:1] == b"{":
        value = json.loads(body)
        for count in ("total_count", "count"):
            if count in value:
                return f"{status} {count} {value[count]}"
        if "turns" in value:
            return f"{status} turns {len(value['turns'])}"
    return status


async def viewed(binary: tuple[str, int], web: tuple[str, int], payload: bytes) -> str:
    """The typed view of a payload in a context of its own, in two renderings."""
    made = await spoken(binary, frame(frames.CREATE, q(0)))
    context = int.from_bytes(made[11:19], "little")
    await spoken(binary, frame(frames.APPEND, append(context, raw=payload, type_id=b"com.x.T")))
    words = []
    for more in ("", "&u64_format=number&enum_render=both&time_render=unix_ms&bytes_render=hex"):
        answer = await spoken(web, http(f"/v1/contexts/{context}/turns?view=typed&include_unknown=1{more}"))
        status, body = replied(answer), answer.partition(b"\r\n\r\n")[2]
        words.append(status.split()[0])
        if status.startswith("200"):
            (turn,) = json.loads(body)["turns"]
            words.append(json.dumps([turn["data"], turn["unknown"]], separators=(",", ":"), sort_keys=True))
    return " ".join(words)


async def asked(probe: Probe, binary: tuple[str, int], web: tuple[str, int]) -> str:
    if probe.typed is not None:
        return await viewed(binary, web, probe.typed)
    if probe.http:
        return replied(await spoken(web, probe.http))
    return told(await spoken(binary, probe.binary, 0.05 if probe.silent else 20))


async def prepared(binary: tuple[str, int], web: tuple[str, int]) -> None:
    """Make the contexts that the probes name, unless they are there."""
    if not told(await spoken(binary, frame(frames.GET_HEAD, q(1)))).startswith("ok"):
        for data in BEFORE:
            assert told(await spoken(binary, data)).startswith("ok")
        assert replied(await spoken(web, REGISTER)) == "201"


def same(name: str, answer: str, ours: str) -> bool:
    """Whether an answer is the one that was expected, of CXDB as CXDB gives it."""
    return answer == ours or (bool(NAMED) and (name in OURS_ALONE or (answer == "closed" and "error" in ours)))


@pytest.mark.parametrize("category", PROBES)
async def test_every_probe_of_a_category_gets_its_answer(category: str) -> None:
    known = expected()[category]
    async with doors() as (binary, web):
        await prepared(binary, web)
        found = {probe.name: await asked(probe, binary, web) for probe in PROBES[category]()}
    wrong = {
        name: (answer, known.get(name)) for name, answer in found.items() if not same(name, answer, known[name])
    }
    assert wrong == {}
    assert found.keys() == known.keys()
