"""``orchestra export`` and ``import``: one file, any store, the same contents (S28)."""

from __future__ import annotations

import asyncio
import json
import zipfile
from pathlib import Path

import pytest
from calls import Terminal, begin, call, only_session, shell

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.format.packing import digest_of
from orchestra.engine.loading import history
from orchestra.engine.sessions import find

LARGE = """digraph large {
    start [shape=Mdiamond]
    exit [shape=Msquare]
    a [prompt="x"]
    b [prompt="x"]
    start -> a -> b
    b -> exit [condition="outcome=success && big contains needle"]
}
"""


def ran(folder: Path, script: str, text: str = LARGE) -> str:
    (folder / "p.dot").write_text(text)
    (folder / "s.yaml").write_text(f"nodes: {script}")
    return str(json.loads(call(folder, "run", "p.dot", "--simulate", "s.yaml", "--json").stdout)["session"])


BIG = "{a: {updates: {big: " + "needle" * 4000 + "}, text: " + "t" * 20_000 + "}, b: [{status: fail}, {text: x}]}"


def payloads(store: Path, session: str) -> list[bytes]:
    async def read() -> list[bytes]:
        opened = EmbeddedStore.open(store, read_only=True)
        try:
            turns = await history(opened, (await find(opened, session)).context_id)
            return [digest_of(turn.payload) for turn in turns]
        finally:
            await opened.close()

    return asyncio.run(read())


def moved(folder: Path, session: str) -> None:
    """Export the session, and import it into the store ``other``, in which other things are already."""
    (folder / "q.dot").write_text("digraph q { start [shape=Mdiamond] exit [shape=Msquare] start -> exit }")
    call(folder, "run", "q.dot", "--store", "other")
    done = call(folder, "export", session, "--to", "file.orchestra")
    assert done.returncode == 0, done.stderr
    done = call(folder, "import", "file.orchestra", "--store", "other")
    assert done.returncode == 0, done.stderr
    assert session in done.stdout


def test_a_session_goes_into_another_store_with_the_same_contents(tmp_path: Path) -> None:
    session = ran(tmp_path, BIG)
    moved(tmp_path, session)
    before, after = payloads(tmp_path / "store", session), payloads(tmp_path / "other", session)
    assert after[:-1] == before
    detail = [
        json.loads(call(tmp_path, "status", session, "--detail", "--json", *args).stdout)
        for args in ([], ["--store", "other"])
    ]
    assert detail[0]["nodes"] == detail[1]["nodes"]
    assert detail[0]["phase"] == detail[1]["phase"] == "failed"
    shown = call(tmp_path, "show", f"{session}:{len(before) - 2}", "--store", "other")
    assert shown.returncode == 0
    assert "cannot" not in call(tmp_path, "log", session, "--store", "other").stderr


def test_an_imported_session_is_resumed_and_replayed_like_any_other(tmp_path: Path) -> None:
    session = ran(tmp_path, BIG)
    moved(tmp_path, session)
    done = call(tmp_path, "resume", session, "--store", "other")
    assert done.returncode == 0, done.stderr
    done = call(tmp_path, "replay", session, "--node", "a", "--store", "other")
    assert done.returncode == 1, "b fails the first time again"
    assert call(tmp_path, "attach", session, "--store", "other").returncode == 0
    assert call(tmp_path, "status", session, "--json").stdout.count("failed") == 1


def test_a_session_goes_from_store_to_store_through_a_pipe(tmp_path: Path) -> None:
    session = ran(tmp_path, BIG)
    done = shell(tmp_path, f"orchestra export {session} --to - | orchestra import - --store other")
    assert (done.returncode, session in done.stdout, session in done.stderr) == (0, True, True)
    assert payloads(tmp_path / "other", session)[:-1] == payloads(tmp_path / "store", session)
    assert not (tmp_path / "-").exists()
    nothing = shell(tmp_path, "orchestra import - --store other < /dev/null")
    assert (nothing.returncode, "damaged or contains no sessions" in nothing.stderr) == (2, True)


def test_an_export_is_not_written_to_a_terminal(tmp_path: Path) -> None:
    ran(tmp_path, BIG)
    terminal = Terminal(tmp_path, 80, "export", "last", "--to", "-")
    assert terminal.ended() == 2
    assert "--to FILE" in terminal.shown


def test_a_session_is_imported_once(tmp_path: Path) -> None:
    session = ran(tmp_path, BIG)
    moved(tmp_path, session)
    for place in ("store", "other"):
        done = call(tmp_path, "import", "file.orchestra", "--store", place)
        assert done.returncode == 2
        assert session in done.stderr
    assert call(tmp_path, "export", session, "--to", "file.orchestra").returncode == 2, "it is there"


def test_a_chain_of_restarts_goes_as_one(tmp_path: Path) -> None:
    text = LARGE.replace("}\n", '    b -> a [condition="outcome=fail", loop_restart=true]\n}\n')
    session = ran(tmp_path, BIG, text)
    moved(tmp_path, session)
    listed = json.loads(call(tmp_path, "status", "--json", "--store", "other").stdout)["sessions"]
    states = {row["session"]: row["phase"] for row in listed if row["pipeline"] == "large"}
    assert sorted(states.values()) == ["completed", "restarted"]
    assert call(tmp_path, "resume", session, "--store", "other").returncode == 0
    watched = call(tmp_path, "attach", session, "--store", "other")
    assert watched.returncode == 0


def test_a_running_session_is_exported_in_its_current_state(tmp_path: Path) -> None:
    process = begin(tmp_path)
    session = str(only_session(tmp_path)["session"])
    moved(tmp_path, session)
    listed = json.loads(call(tmp_path, "status", "--json", "--store", "other").stdout)["sessions"]
    assert {row["phase"] for row in listed if row["session"] == session} == {"paused"}
    process.kill()
    process.communicate()


@pytest.mark.parametrize("how", ["cut", "changed", "other", "missing", "text"])
def test_a_damaged_file_is_refused_and_leaves_nothing(how: str, tmp_path: Path) -> None:
    session = ran(tmp_path, BIG)
    call(tmp_path, "export", session, "--to", "file.orchestra")
    file = tmp_path / "file.orchestra"
    data = file.read_bytes()
    if how == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif how == "changed":
        with zipfile.ZipFile(file) as archive:
            at = archive.getinfo("0.turns").header_offset + 200
        file.write_bytes(data[:at] + bytes(20) + data[at + 20 :])
    elif how == "other":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("manifest.json", '{"format": "orchestra.sessions.v9"}')
    elif how == "text":
        file.write_text("hello")
    else:
        file.unlink()
    done = call(tmp_path, "import", "file.orchestra", "--store", "other")
    assert done.returncode == 2
    assert "file.orchestra" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(call(tmp_path, "status", "--json", "--store", "other").stdout)["sessions"] == []


PARENT = """digraph parent {
    start [shape=Mdiamond]
    exit [shape=Msquare]
    c [type=pipeline, stack.child_dotfile="child.dot"]
    start -> c -> exit
}
"""


def test_children_come_along_with_their_parent(tmp_path: Path) -> None:
    (tmp_path / "child.dot").write_text(LARGE.replace("large", "child"))
    session = ran(tmp_path, "{}", PARENT)
    listed = json.loads(call(tmp_path, "status", "--json").stdout)["sessions"]
    assert len(listed) == 2
    moved(tmp_path, session)
    there = json.loads(call(tmp_path, "status", "--json", "--store", "other").stdout)["sessions"]
    assert {row["session"] for row in listed} < {row["session"] for row in there}
    phases = {row["session"]: row["phase"] for row in there}
    assert [phases[row["session"]] for row in listed] == [row["phase"] for row in listed]
    assert call(tmp_path, "resume", session, "--store", "other").returncode in (0, 1)


def test_a_running_session_is_imported_as_a_copy_that_nobody_is_invited_to_run(tmp_path: Path) -> None:
    process = begin(tmp_path, delay="30s")
    exported = call(tmp_path, "export", "last", "--to", "copy.orchestra")
    process.terminate()
    process.communicate(timeout=20)
    assert exported.returncode == 0
    other = str(tmp_path / "other")
    assert call(tmp_path, "import", "copy.orchestra", "--store", other).returncode == 0
    (found,) = json.loads(call(tmp_path, "status", "--json", "--store", other).stdout)["sessions"]
    assert (found["phase"], found["next"]) == ("paused", "")
    assert f"process {process.pid}" in found["detail"]
