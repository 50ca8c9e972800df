"""CXDB's query language."""

from __future__ import annotations

import msgspec
import pytest
from wire_client import served

from orchestra.cxdb.format.registry import bundle
from orchestra.cxdb.server.core import Core
from orchestra.cxdb.server.cql import CqlError, parse, search
from orchestra.ports import NewTurn
from served_memory import ServedMemory
from support import ran


def turn(metadata: object) -> NewTurn:
    return NewTurn(type_id="t", type_version=1, payload=msgspec.msgpack.encode({30: metadata}))


@pytest.fixture
async def core() -> Core:
    """Contexts 1 to 3 say who they are, 4 says nothing, 5 is empty, 6 is a fork of 1."""
    store = ServedMemory()
    for number in (1, 2, 3):
        context = (await store.create()).context_id
        provenance = {1: 70 + number, 3: 5, 10: f"trace{number}", 20: f"User{number}", 40: "Service", 45: "Host"}
        labels = ["all", f"env=e{number}"]
        await store.append(context, [turn({1: f"Tag{number}", 2: f'Title "{number}"', 3: labels, 10: provenance})])
    for _ in range(2):
        await store.create()
    await store.append(4, [turn({})] * 3)
    await store.fork(1)
    return Core(store, token=None)


async def found(core: Core, query: str) -> list[int]:
    rows, _ = await search(core, parse(query))
    return [row.context_id for row in rows]


@pytest.mark.parametrize(
    ("query", "contexts"),
    [
        ("id = 1", [1]),
        ("id != 1", [6, 4, 3, 2]),
        ("id in (1, 3, 99)", [3, 1]),
        ("id = 1.9", [1]),
        ("id = -4", []),
        ('tag = "Tag2"', [2]),
        ("tag = 'tag2'", []),
        ('tag ~= "tag2"', [2]),
        ('tag ^= "Ta"', [6, 3, 2, 1]),
        ('tag ^~= "tA"', [6, 3, 2, 1]),
        ('tag IN ("Tag2", "Tag3", 5)', [3, 2]),
        ('tag != "Tag1"', [4, 3, 2]),
        ('title = "Title \\"2\\""', [2]),
        ('user ~= "USER3"', [3]),
        ('service = "Service" AND NOT user = "User1"', [3, 2]),
        ('host ~= "host"', []),
        ('host ~= "Host"', [6, 3, 2, 1]),
        ('label = "env=e2"', [2]),
        ('label != "all"', [4]),
        ('label in ("env=e2", "env=e3")', [3, 2]),
        ('trace_id = "trace3"', [3]),
        ("parent = 72", [2]),
        ("root in (5)", [6, 3, 2, 1]),
        ("depth >= 1", [4]),
        ("depth < 1", [6, 3, 2, 1]),
        ('created > "-1h"', [6, 4, 3, 2, 1]),
        ('created > "2020-01-01"', [6, 4, 3, 2, 1]),
        ('created < "2020-01-01T00:00:00Z"', []),
        ("is_live = true", []),
        ("is_live = FALSE", [6, 4, 3, 2, 1]),
        ("(id = 1 or id = 2) and (id = 2 or id = 3)", [2]),
        ("id = 1 or id = 2 and id = 3", [1]),
        ("(" * 60 + "id = 1" + ")" * 60, [1]),
    ],
)
async def test_a_query_finds_contexts_by_descending_id(core: Core, query: str, contexts: list[int]) -> None:
    assert await found(core, query) == contexts


@pytest.mark.parametrize(
    ("query", "kind", "offset"),
    [
        ("", "SyntaxError", 0),
        ("id", "SyntaxError", 2),
        ("id =", "SyntaxError", 4),
        ("id = 1 id = 2", "SyntaxError", 7),
        ("(id = 1", "SyntaxError", 7),
        ("id = 1)", "SyntaxError", 6),
        ("NOT NOT id = 1", "SyntaxError", 4),
        ("id IN 1", "SyntaxError", 6),
        ("id IN ()", "SyntaxError", 7),
        ("\n\nid = @", "SyntaxError", 7),
        ('tag = "open', "SyntaxError", 6),
        ("foo = 1", "UnknownField", 0),
        ("ID = 1", "UnknownField", 0),
        ("id > 1", "InvalidOperator", None),
        ('tag > "a"', "InvalidOperator", None),
        ('label ^= "a"', "InvalidOperator", None),
        ("is_live != true", "InvalidOperator", None),
        ('id = "1"', "InvalidValue", None),
        ("tag = 5", "InvalidValue", None),
        ('created > "nope"', "InvalidValue", None),
        (f'created > "-{"9" * 30}d"', "InvalidValue", None),
        ('created > "-213503982335d"', "InvalidValue", None),
        ("is_live = 1", "InvalidValue", None),
    ],
)
async def test_a_query_that_cannot_be_answered_says_why(
    core: Core, query: str, kind: str, offset: int | None
) -> None:
    with pytest.raises(CqlError) as refused:
        await found(core, query)
    assert refused.value.kind == kind
    position = refused.value.position
    assert (None if position is None else position.offset) == offset


def test_nesting_is_bounded_and_length_is_not() -> None:
    with pytest.raises(CqlError):
        parse("(" * 2000 + "id = 1" + ")" * 2000)
    with pytest.raises(CqlError):
        parse("(" * 100_000)
    parse(" or ".join(["id = 1"] * 10_000))


async def test_a_session_is_found_in_cxdbs_page_by_its_id_and_shown_with_descriptions() -> None:
    store = ServedMemory()
    session = await ran("start -> a -> exit  a", store=store)
    name = session.state.session
    await store.publish_types(*bundle())
    fields = ("tag", "title", "user", "service", "host")  # what the page asks for a word that is no query
    query = " OR ".join([*(f'{field} ^~= "{name}"' for field in fields), f'label = "{name}"'])
    assert await found(Core(store, token=None), query) == [session.context_id]
    async with served(store) as client:
        page = await client.json(f"/v1/contexts/{session.context_id}/turns?limit=100")
    shown = [turn["data"]["description"] for turn in page["turns"]]
    assert "stage started: a" in shown
    assert "edge selected: start -> a" in " ".join(shown)
    assert all(shown)
