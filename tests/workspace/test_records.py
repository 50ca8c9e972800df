"""``cleanup --sessions``: records of ended sessions, listed first, and all of it can be brought back (W11)."""

from __future__ import annotations

import json
from pathlib import Path

from calls import call
from scratch import git, project, repository, row, run, tool

FAN = (
    "fan [shape=component] join [shape=tripleoctagon]\n"
    + tool("left", "echo l")
    + tool("right", "echo r")
    + "start -> fan -> left -> join; fan -> right -> join -> exit"
)
GATE = 'gate [shape=hexagon, label="ok?"]\nstart -> gate -> exit'


def without_git(folder: Path, nodes: str) -> Path:
    project(folder, nodes)
    (folder / "orchestra.yaml").unlink()
    return folder


def sessions(folder: Path) -> list[str]:
    return [one["session"] for one in json.loads(call(folder, "status", "--json").stdout)["sessions"]]


def test_ended_sessions_go_and_come_back_and_the_others_stay(tmp_path: Path) -> None:
    without_git(tmp_path, FAN)
    gone = run(tmp_path)["session"]
    kept = run(tmp_path)["session"]
    again = json.loads(call(tmp_path, "replay", kept, "--node", "fan", "--json").stdout)["session"]
    (tmp_path / "p.dot").write_text(f"digraph p {{ start [shape=Mdiamond] exit [shape=Msquare]\n{GATE}\n}}")
    waiting = json.loads(call(tmp_path, "run", "p.dot", "--json", "--no-input").stdout)["session"]
    log = call(tmp_path, "log", gone).stdout
    listed = call(tmp_path, "cleanup", "--sessions", "--older-than", "0")
    assert listed.returncode == 0, listed.stderr
    assert f"remove  {gone}" in listed.stdout
    assert f"session {again} was replayed from it" in listed.stdout
    assert sorted(sessions(tmp_path)) == sorted([gone, kept, again, waiting])
    assert "0 sessions to remove" in call(tmp_path, "cleanup", "--sessions").stdout
    done = call(tmp_path, "cleanup", "--sessions", "--older-than", "0", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    records = {one["session"]: one for one in json.loads(done.stdout)["records"]}
    assert not records[gone]["kept"]
    assert "waiting" in records[waiting]["kept"] or "paused" in records[waiting]["kept"]
    assert sorted(sessions(tmp_path)) == sorted([kept, waiting])  # the replay was ended, and nothing needs it
    assert call(tmp_path, "doctor", "--deep").returncode == 0
    assert call(tmp_path, "show", kept).returncode == 0
    assert "fan/left" in call(tmp_path, "log", kept).stdout
    back = call(tmp_path, "import", records[gone]["file"])
    assert back.returncode == 0, back.stderr
    assert gone in sessions(tmp_path)
    assert call(tmp_path, "log", gone).stdout.count("StageCompleted") == log.count("StageCompleted")


def test_a_session_with_branches_in_git_keeps_its_record(tmp_path: Path) -> None:
    code = repository(project(tmp_path, row(("write", "echo new > c.txt"))) / "code")
    session = run(tmp_path)["session"]
    said = call(tmp_path, "cleanup", "--sessions", "--older-than", "0", "--yes").stdout
    assert f"keep    {session}" in said
    assert "remove them first: orchestra cleanup" in said
    git(code, "merge", "-q", f"orchestra/p/{session}")
    assert "1 session removed" in call(tmp_path, "cleanup", "--older-than", "0", "--yes").stdout
    assert "1 session removed" in call(tmp_path, "cleanup", "--sessions", "--older-than", "0", "--yes").stdout
    assert sessions(tmp_path) == []


def test_records_on_a_server_are_not_ours_to_remove(tmp_path: Path) -> None:
    done = call(tmp_path, "cleanup", "--sessions", ORCHESTRA_CXDB_PATH="", ORCHESTRA_CXDB_URL="http://127.0.0.1:9")
    assert done.returncode == 2
    assert "store in a folder" in done.stderr


def test_a_damaged_session_is_named_and_stays_and_the_others_go(tmp_path: Path) -> None:
    without_git(tmp_path, tool("write", "echo $RANDOM$RANDOM") + "start -> write -> exit")
    pack = tmp_path / "store" / "blobs" / "blobs.pack"
    first, damaged = run(tmp_path)["session"], run(tmp_path)["session"]
    end = pack.stat().st_size
    last = run(tmp_path)["session"]
    content = bytearray(pack.read_bytes())
    content[end - 8] ^= 0xFF
    pack.write_bytes(content)
    done = call(tmp_path, "cleanup", "--sessions", "--older-than", "0", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"keep    {damaged}" in done.stdout
    assert "blobs.pack" in done.stdout
    assert f"removed {first}" in done.stdout
    assert f"removed {last}" in done.stdout
    assert sessions(tmp_path) == [damaged]


def test_an_error_of_the_store_suggests_a_command_that_names_the_store(tmp_path: Path) -> None:
    run(without_git(tmp_path, "start -> exit"))
    run(tmp_path)
    turns = tmp_path / "store" / "turns" / "turns.log"
    content = bytearray(turns.read_bytes())
    content[85] ^= 0xFF  # of the second turn
    turns.write_bytes(content)
    refused = call(tmp_path, "cleanup", "--sessions", "--older-than", "0", "--yes", "--store", "store")
    assert refused.returncode == 6
    assert "orchestra doctor --store store" in refused.stderr
