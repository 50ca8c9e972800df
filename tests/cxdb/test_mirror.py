"""A folder's sessions on the server that mirrors it: every turn there once, in order, whatever was lost (S22)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from test_remote_cuts import DOWN, UP, Proxy, places, through

from orchestra.app.mirroring import MirrorResult, behind, follow, send_now
from orchestra.app.pipelines import compile_pipeline
from orchestra.app.runs import Future, RunSetup, replay, start
from orchestra.app.stores import open_store
from orchestra.config.server import Server
from orchestra.config.settings import Settings
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.format.fstree import DIRECTORY, FILE, TreeEntry, tree
from orchestra.cxdb.format.packing import digest_of
from orchestra.cxdb.server.http import Guard
from orchestra.cxdb.server.serve import Addresses, serving
from orchestra.engine.forking import TurnChoice
from orchestra.engine.gaps import with_branches
from orchestra.engine.loading import event_of, history
from orchestra.engine.sessions import Row, find, rows
from orchestra.errors import ConfigError, Source, StoreUnreachable
from orchestra.ports import Store, Turn
from orchestra.run.events import ParallelBranchCompleted, ParallelBranchStarted, Recorded
from served_memory import ServedMemory

LOOP = """digraph loop {
  start [shape=Mdiamond] exit [shape=Msquare]
  plan check [type=pipeline, stack.child_dotfile="child.dot"]
  review
  start -> plan -> check -> review
  review -> exit [condition="outcome=success"]
  review -> plan [condition="outcome=fail", loop_restart=true]
}"""
CHILD = "digraph child { start [shape=Mdiamond] exit [shape=Msquare] a start -> a -> exit }"
LARGE = "long " * 20_000
SCRIPT = f"""nodes:
  plan: [{{text: a, updates: {{seen: 1}}}}, {{text: "{LARGE}"}}]
  review: [{{status: fail}}, {{text: good}}]
children: {{check: {{nodes: {{a: [{{text: b}}]}}}}}}
"""


async def run(folder: Path, text: str = LOOP, script: str = SCRIPT) -> str:
    """A run on a folder's store: a session that restarts once, and two children."""
    folder.mkdir(exist_ok=True)
    (folder / "child.dot").write_text(CHILD)
    file = folder / "loop.dot"
    file.write_text(text)
    settings = Settings(store=folder / "store")
    store = open_store(settings)
    pipeline = compile_pipeline(Source(str(file), text), variables={}, secrets={})
    walked = await start(
        RunSetup(store=store, settings=settings), pipeline, variables={}, simulation=Source("s.yaml", script)
    )
    await walked.walk()
    await store.close()
    return walked.session


async def fork(folder: Path, session: str, at: TurnChoice) -> str:
    settings = Settings(store=folder / "store")
    store = open_store(settings)
    walked, _ = await replay(RunSetup(store=store, settings=settings), session, at=at, future=Future())
    await walked.walk()
    await store.close()
    return walked.session


@dataclass(frozen=True)
class Mirrored:
    """A server in this process, and what it keeps."""

    server: Server
    kept: ServedMemory


def server_at(at: Addresses, **more: object) -> Server:
    known = Server(http_host=at.http_host, http_port=at.http_port, host=at.host, port=at.port, patience=5.0)
    return replace(known, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def mirrored() -> AsyncIterator[Mirrored]:
    kept = ServedMemory()
    async with serving(kept, guard=Guard()) as at:
        yield Mirrored(server_at(at), kept)


async def send(folder: Path, server: Server, *names: str) -> list[MirrorResult]:
    done, too_large = await send_now(folder / "store", server, names, lambda one: None)
    assert not too_large
    return done


def content(chain: list[Turn]) -> list[tuple[str, int, bytes, int]]:
    return [(turn.type_id, turn.type_version, turn.payload, turn.depth) for turn in chain]


async def own_turns(store: Store, listed: list[Row]) -> int:
    """How many turns sessions have, those that forks share counted once."""
    return len({turn.turn_id for row in listed for turn in await history(store, row.context_id)})


async def assert_all_there(folder: Path, kept: Store, *, also: int = 0) -> list[Row]:
    """Every session is there once, turn by turn; nothing else but the turns that list them, and ``also``."""
    store = EmbeddedStore.open(folder / "store", read_only=True)
    ours, theirs = await rows(store), await rows(kept)
    assert sorted(row.source for row in theirs) == sorted(row.context_id for row in ours)
    by_source = {row.source: row for row in theirs}
    for row in ours:
        there = by_source[row.context_id]
        assert (there.session, there.pipeline, there.title) == (row.session, row.pipeline, row.title)
        chain = await history(kept, there.context_id)
        assert content(chain) == content(await history(store, row.context_id))
        assert [turn.parent for turn in chain[1:]] == [turn.turn_id for turn in chain[:-1]]
        above = by_source.get(row.parent)
        assert (there.parent, there.why) == (above.context_id if above else 0, row.why if above else "")
    if isinstance(kept, ServedMemory | EmbeddedStore):
        assert kept.counts().turns == await own_turns(store, ours) + len(ours) + also
    await store.close()
    return theirs


async def test_restarts_children_and_forks_are_there_turn_by_turn(tmp_path: Path) -> None:
    first = await run(tmp_path)
    await fork(tmp_path, first, TurnChoice(node="review"))
    async with mirrored() as at:
        done = await send(tmp_path, at.server)
        theirs = await assert_all_there(tmp_path, at.kept)
        assert {row.why for row in theirs} == {"", "restart", "child", "fork"}
        assert all(one.sent == one.turns for one in done if one.session == first)
        assert not sum(one.sent for one in await send(tmp_path, at.server))
        assert at.kept.bundles()


async def test_large_values_are_there_before_the_turns_that_name_them(tmp_path: Path) -> None:
    await run(tmp_path)
    async with mirrored() as at:
        await send(tmp_path, at.server)
        assert await at.kept.get_blob(digest_of(LARGE.encode()))


async def test_file_trees_are_there_at_their_turns(tmp_path: Path) -> None:
    session = await run(tmp_path)
    store = EmbeddedStore.open(tmp_path / "store")
    file = await store.put_blob(b"a file")
    folder = await store.put_blob(tree([TreeEntry("f", FILE, 0o644, 6, file)]))
    root = await store.put_blob(tree([TreeEntry("d", DIRECTORY, 0o755, 0, folder)]))
    (row,) = [row for row in await rows(store) if row.session == session]
    chain = await history(store, row.context_id)
    await store.attach_fs(chain[5].turn_id, root)
    await store.close()
    async with mirrored() as at:
        for depth in (5, 7):  # the second time as if its sender had been killed before it was attached
            await send(tmp_path, at.server)
            (there,) = [row for row in await rows(at.kept) if row.session == session]
            theirs = await history(at.kept, there.context_id)
            assert await at.kept.fs_root(theirs[4].turn_id) is None
            assert await at.kept.fs_root(theirs[depth].turn_id) == root
            assert [await at.kept.get_blob(digest) for digest in (file, folder)]
            store = EmbeddedStore.open(tmp_path / "store")
            root = await store.put_blob(tree([TreeEntry("other", FILE, 0o644, 6, file)]))
            await store.attach_fs(chain[7].turn_id, root)
            await store.close()


async def test_what_comes_later_is_sent_later(tmp_path: Path) -> None:
    async with mirrored() as at:
        first = await run(tmp_path)
        await send(tmp_path, at.server)
        await run(tmp_path)
        await fork(tmp_path, first, TurnChoice(node="plan"))
        before = await behind(tmp_path / "store", at.server)
        counts = {row.session: count for row, count in before}
        assert first not in counts
        done = await send(tmp_path, at.server)
        assert {one.session: one.sent for one in done if one.sent} == counts
        await assert_all_there(tmp_path, at.kept)
        assert not await behind(tmp_path / "store", at.server)


async def test_one_session_takes_those_along_that_it_comes_from(tmp_path: Path) -> None:
    first = await run(tmp_path)
    other = await fork(tmp_path, first, TurnChoice(node="review"))
    async with mirrored() as at:
        await send(tmp_path, at.server, other)
        there = await rows(at.kept)
        assert [row.why for row in reversed(there)] == ["", "restart", "fork"]
        assert [row.session for row in reversed(there)][1:] == [first, other]
        await send(tmp_path, at.server)
        await assert_all_there(tmp_path, at.kept)


async def test_a_server_that_came_back_empty_gets_everything_again(tmp_path: Path) -> None:
    await run(tmp_path)
    for _ in range(2):
        async with mirrored() as at:
            await send(tmp_path, at.server)
            await assert_all_there(tmp_path, at.kept)


async def test_two_at_once_double_nothing(tmp_path: Path) -> None:
    await run(tmp_path)
    async with mirrored() as at:
        await asyncio.gather(*(send(tmp_path, at.server) for _ in range(3)))
        await assert_all_there(tmp_path, at.kept)


async def test_a_copy_of_the_folder_is_another_master(tmp_path: Path) -> None:
    await run(tmp_path / "one")
    async with mirrored() as at:
        await send(tmp_path / "one", at.server)
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        await run(tmp_path / "one")
        await run(tmp_path / "two")
        for folder in ("one", "two", "one", "two"):
            await send(tmp_path / folder, at.server)
        for folder in ("one", "two"):
            theirs = [row for row in await rows(at.kept) if row.mirror_of.endswith(f"{folder}/store")]
            store = EmbeddedStore.open(tmp_path / folder / "store", read_only=True)
            for row in await rows(store):
                (there,) = [one for one in theirs if one.source == row.context_id]
                ours = content(await history(store, row.context_id))
                assert content(await history(at.kept, there.context_id)) == ours
            await store.close()


async def test_a_folder_that_was_moved_continues_where_it_was(tmp_path: Path) -> None:
    await run(tmp_path / "here")
    async with mirrored() as at:
        await send(tmp_path / "here", at.server)
        (tmp_path / "here").rename(tmp_path / "there")
        assert not sum(one.sent for one in await send(tmp_path / "there", at.server))


async def test_a_mirror_that_serves_the_very_folder_is_refused(tmp_path: Path) -> None:
    await run(tmp_path)
    kept = EmbeddedStore.open(tmp_path / "store")
    count = kept.counts().turns
    async with serving(kept, guard=Guard()) as at:
        with pytest.raises(ConfigError):
            await send(tmp_path, server_at(at))
        assert kept.counts().turns == count
    await kept.close()


async def test_the_last_session_of_a_mirror_is_that_of_its_original_whatever_was_sent_first(tmp_path: Path) -> None:
    first = await run(tmp_path, CHILD, "nodes: {}")
    second = await run(tmp_path, CHILD, "nodes: {}")
    async with mirrored() as at:
        for session in (second, first):
            await send(tmp_path, at.server, session)
        assert [row.session for row in await rows(at.kept)] == [second, first]
        assert (await find(at.kept, "last")).session == second


async def test_a_mirror_is_not_mirrored_on(tmp_path: Path) -> None:
    await run(tmp_path / "one")
    kept = EmbeddedStore.open(tmp_path / "store")
    async with serving(kept, guard=Guard()) as at:
        await send(tmp_path / "one", server_at(at))
    await kept.close()
    async with mirrored() as other:
        assert await send(tmp_path, other.server) == []


async def test_a_server_that_is_away_is_reported_and_nothing_is_lost(tmp_path: Path) -> None:
    await run(tmp_path)
    async with mirrored() as at:
        pass
    with pytest.raises(StoreUnreachable):
        await send(tmp_path, replace(at.server, patience=0.1))


# --- parallel branches -------------------------------------------------------------------------------

FAN = """digraph fan {
  start [shape=Mdiamond] exit [shape=Msquare]
  outer [shape=component] inner [shape=component] m1 [shape=tripleoctagon] m2 [shape=tripleoctagon]
  a x y
  start -> outer outer -> a -> m2 outer -> inner inner -> x -> m1 inner -> y -> m1 m1 -> m2 m2 -> exit
}"""
ANSWERS = "nodes: {a: [{text: one}], x: [{text: two}], y: [{text: three}]}"


async def told(store: Store, row: Row) -> dict[str, list[bytes]]:
    """The payloads of a session by the path of their branch."""
    found: dict[str, list[bytes]] = {}
    for path, turn in await with_branches(store, row):
        assert isinstance(turn, Turn)
        found.setdefault(path, []).append(turn.payload)
    return found


async def assert_branches_there(folder: Path, kept: Store, *, sessions: int = 1) -> None:
    """Every branch is there once, as a fork of the chain around it at the same turn."""
    store = EmbeddedStore.open(folder / "store", read_only=True)
    ours = await rows(store)
    by_source = {row.source: row for row in await rows(kept)}
    assert len(by_source) == sessions
    for row in ours:
        theirs = await told(kept, by_source[row.context_id])
        assert theirs == await told(store, row)
        assert {"outer/a", "outer/inner", "outer/inner/inner/x", "outer/inner/inner/y"} < theirs.keys()
    assert len(await kept.contexts()) == len(await store.contexts())
    await store.close()


async def test_branches_are_there_as_forks_also_those_of_a_session_forked_within(tmp_path: Path) -> None:
    session = await run(tmp_path, FAN, ANSWERS)
    async with mirrored() as at:
        await send(tmp_path, at.server)
        await assert_branches_there(tmp_path, at.kept)
        assert not sum(one.sent for one in await send(tmp_path, at.server))
        assert await behind(tmp_path / "store", at.server) == []
        await fork(tmp_path, session, TurnChoice(depth=12))
        assert [count for _row, count in await behind(tmp_path / "store", at.server)] > [5]
        await send(tmp_path, at.server)
        await assert_branches_there(tmp_path, at.kept, sessions=2)
        assert await behind(tmp_path / "store", at.server) == []


async def test_events_of_branches_are_on_a_mirror_between_their_start_and_their_end(tmp_path: Path) -> None:
    await run(tmp_path, FAN, ANSWERS)
    async with mirrored() as at:
        await send(tmp_path, at.server)
        (row,) = await rows(at.kept)
        found = [
            (path, event_of(turn)) for path, turn in await with_branches(at.kept, row) if isinstance(turn, Turn)
        ]
    events = [(path, read.event) for path, read in found if isinstance(read, Recorded)]
    edges = {
        (path, event.branch_id, type(event)): number
        for number, (path, event) in enumerate(events)
        if isinstance(event, ParallelBranchStarted | ParallelBranchCompleted)
    }
    for above, branch, within in (("", "a", "outer/a"), ("", "inner", "outer/inner")):
        inside = [number for number, (path, _event) in enumerate(events) if f"{path}/".startswith(f"{within}/")]
        assert edges[above, branch, ParallelBranchStarted] < inside[0]
        assert inside[-1] < edges[above, branch, ParallelBranchCompleted]


async def test_a_follower_sends_branches_as_they_come(tmp_path: Path) -> None:
    ended = asyncio.Event()
    EmbeddedStore.open(tmp_path / "store")
    async with mirrored() as at:
        following = asyncio.get_running_loop().create_task(follow(tmp_path / "store", at.server, ended.is_set))
        await run(tmp_path, FAN, ANSWERS)
        ended.set()
        await asyncio.wait_for(following, 10)
        await assert_branches_there(tmp_path, at.kept)


@pytest.mark.parametrize("direction", [UP, DOWN], ids=["request", "answer"])
async def test_a_connection_cut_anywhere_doubles_no_branch(tmp_path: Path, direction: int) -> None:
    await run(tmp_path, FAN, ANSWERS)
    async with cut_at(direction, None) as (at, proxy):
        await send(tmp_path, at.server)
        size = proxy.passed[direction]
    store = EmbeddedStore.open(tmp_path / "store", read_only=True)
    (ours,) = await rows(store)
    for cut in places(size, 12):
        async with cut_at(direction, cut) as (at, proxy):
            await send(tmp_path, at.server)
            assert proxy.was_cut
            (theirs,) = await rows(at.kept)
            assert await told(at.kept, theirs) == await told(store, ours)
    await store.close()


# --- connections and processes that end at any place ------------------------------------------------


@asynccontextmanager
async def cut_at(direction: int, cut: int | None) -> AsyncIterator[tuple[Mirrored, Proxy]]:
    async with mirrored() as at:
        proxy = Proxy(at.server.host, at.server.port, direction=direction, cut=cut)
        async with through(proxy) as (host, port):
            yield Mirrored(replace(at.server, host=host, port=port), at.kept), proxy


async def cut_in(folder: Path, direction: int, count: int) -> None:
    """Send all of a folder's sessions with the connection cut at so many places."""
    session = await run(folder, script=SCRIPT.replace(LARGE, "short"))
    await fork(folder, session, TurnChoice(node="review"))
    async with cut_at(direction, None) as (at, proxy):
        await send(folder, at.server)
        size = proxy.passed[direction]
    for cut in places(size, count):
        async with cut_at(direction, cut) as (at, proxy):
            await send(folder, at.server)
            assert proxy.was_cut
            await assert_all_there(folder, at.kept)


@pytest.mark.parametrize("direction", [UP, DOWN], ids=["request", "answer"])
async def test_a_connection_cut_anywhere_loses_and_doubles_nothing(tmp_path: Path, direction: int) -> None:
    await cut_in(tmp_path, direction, 25)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("direction", [UP, DOWN], ids=["request", "answer"])
async def test_a_connection_cut_at_a_thousand_places_loses_and_doubles_nothing(
    tmp_path: Path, direction: int
) -> None:
    await cut_in(tmp_path, direction, 1000)


async def test_sending_given_up_anywhere_continues_there(tmp_path: Path) -> None:
    await run(tmp_path, script=SCRIPT.replace(LARGE, "short"))
    async with mirrored() as at:
        for milliseconds in range(5, 65, 4):
            sending = asyncio.get_running_loop().create_task(send(tmp_path, at.server))
            await asyncio.sleep(milliseconds / 1000)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await send(tmp_path, at.server)
        await assert_all_there(tmp_path, at.kept)


async def test_a_follower_sends_what_comes_and_ends_with_its_run(tmp_path: Path) -> None:
    await run(tmp_path)
    ended = asyncio.Event()
    async with mirrored() as at:
        following = asyncio.get_running_loop().create_task(follow(tmp_path / "store", at.server, ended.is_set))
        second = asyncio.get_running_loop().create_task(follow(tmp_path / "store", at.server, ended.is_set))
        await asyncio.sleep(0.2)
        await run(tmp_path)
        ended.set()
        await asyncio.wait_for(asyncio.gather(following, second), 10)
        await assert_all_there(tmp_path, at.kept)


async def test_a_follower_continues_when_its_server_is_back_with_all_or_with_nothing(tmp_path: Path) -> None:
    await run(tmp_path)
    kept, ended = ServedMemory(), asyncio.Event()
    async with serving(kept, guard=Guard()) as at:
        following = asyncio.get_running_loop().create_task(follow(tmp_path / "store", server_at(at), ended.is_set))
        await asyncio.sleep(0.3)
    for again in (kept, ServedMemory()):
        await run(tmp_path)
        await asyncio.sleep(0.3)
        guard = Guard()
        async with serving(again, bind=(at.host, at.port), http_bind=(at.http_host, at.http_port), guard=guard):
            for _ in range(100):
                await asyncio.sleep(0.1)
                if not await behind(tmp_path / "store", server_at(at)):
                    break
            await assert_all_there(tmp_path, again)
            if again is not kept:
                ended.set()
                await asyncio.wait_for(following, 10)


async def test_a_server_started_again_all_the_while_gets_every_turn_once(tmp_path: Path) -> None:
    kept, ended = ServedMemory(), asyncio.Event()
    async with serving(kept, guard=Guard()) as at:
        pass
    await run(tmp_path)
    following = asyncio.get_running_loop().create_task(follow(tmp_path / "store", server_at(at), ended.is_set))
    for _ in range(12):
        async with serving(kept, bind=(at.host, at.port), http_bind=(at.http_host, at.http_port), guard=Guard()):
            await asyncio.sleep(0.12)
        await run(tmp_path, CHILD, "nodes: {a: [{text: b}]}")
    async with serving(kept, bind=(at.host, at.port), http_bind=(at.http_host, at.http_port), guard=Guard()):
        ended.set()
        await asyncio.wait_for(following, 30)
    await assert_all_there(tmp_path, kept)


async def test_a_follower_stops_when_its_server_is_down_for_its_patience(tmp_path: Path) -> None:
    await run(tmp_path)
    async with mirrored() as at:
        pass
    away = replace(at.server, patience=0.5)
    await asyncio.wait_for(follow(tmp_path / "store", away, lambda: True), 10)
