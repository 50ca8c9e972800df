"""Watching from other terminals, and leaving a run to itself: attach, --detach, status --watch (S28)."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from calls import ORCHESTRA, PLAN, Terminal, begin, call, environment, only_session, slow


def orchestra(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*ORCHESTRA, *args],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def detach(folder: Path, *args: str, delay: str = "1s") -> str:
    """A run in the background; its session."""
    done = orchestra(folder, "run", str(PLAN), "--simulate", str(slow(folder, delay)), "--detach", "--json", *args)
    out, err = done.communicate(timeout=20)
    assert done.returncode == 0, err
    return str(json.loads(out)["session"])


def test_a_detached_run_is_watched_from_several_terminals_each_event_once(tmp_path: Path) -> None:
    session = detach(tmp_path)
    watching = [orchestra(tmp_path, "attach", session, "--json-stream") for _ in range(2)]
    terminal = Terminal(tmp_path, 80, "attach", "last")
    told = [process.communicate(timeout=30)[0] for process in watching]
    assert terminal.ended() == 0
    assert "plan" in terminal.shown
    logged = call(tmp_path, "log", session, "--json-stream").stdout
    assert [process.returncode for process in watching] == [0, 0]
    assert told == [logged, logged]
    assert json.loads(told[0].splitlines()[-1])["event"] == "PipelineCompleted"


def test_leaving_harms_nothing(tmp_path: Path) -> None:
    session = detach(tmp_path, delay="5s")
    terminal = Terminal(tmp_path, 80, "attach", session)
    terminal.until("(1 done)")
    terminal.press("\x03")
    assert terminal.ended() == 130
    assert f"orchestra attach {session}" in terminal.shown
    closed = Terminal(tmp_path, 80, "attach", session)
    closed.until("(1 done)")
    closed.close()
    closed.exit_code()
    assert only_session(tmp_path)["phase"] == "running"
    assert call(tmp_path, "attach", session).returncode == 0
    assert only_session(tmp_path)["phase"] == "completed"


def test_a_detached_run_says_what_is_wrong_before_it_leaves(tmp_path: Path) -> None:
    for args, code in (
        (["none.dot"], 2),
        ([str(PLAN), "--simulate", "none.yaml"], 2),
        ([str(PLAN), "--store", "memory"], 2),
        ([str(PLAN), "--json-stream"], 2),
    ):
        done = orchestra(tmp_path, "run", "--detach", *args)
        _out, err = done.communicate(timeout=20)
        assert done.returncode == code
        assert "error" in err


def test_a_run_that_is_gone_is_distinguished_from_one_that_continues(tmp_path: Path) -> None:
    process = begin(tmp_path)
    watching = orchestra(tmp_path, "attach", "last")
    time.sleep(0.5)
    process.kill()
    process.communicate()
    out, _err = watching.communicate(timeout=20)
    assert watching.returncode == 130
    assert "crashed" in out
    assert "orchestra resume" in out
    session = str(only_session(tmp_path)["session"])
    script = slow(tmp_path, "10ms")
    resumed = orchestra(tmp_path, "resume", session, "--simulate", str(script), "--detach")
    out, err = resumed.communicate(timeout=20)
    assert resumed.returncode == 0, err
    assert session in out
    done = call(tmp_path, "attach", session, "--json")
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "success")
    ended = orchestra(tmp_path, "resume", session, "--detach")
    out, _err = ended.communicate(timeout=20)
    assert ended.returncode == 0
    assert "already" in out


def test_there_is_nothing_to_attach_to_without_a_session(tmp_path: Path) -> None:
    assert call(tmp_path, "attach", "last").returncode == 9


# --- status --------------------------------------------------------------------------------------


def test_status_names_the_command_that_continues_each_session(tmp_path: Path) -> None:
    process = begin(tmp_path)
    session = str(only_session(tmp_path)["session"])
    assert only_session(tmp_path)["next"] == f"orchestra attach {session}"
    process.kill()
    process.communicate()
    assert only_session(tmp_path)["next"] == f"orchestra resume {session}"
    assert f"orchestra resume {session}" in call(tmp_path, "status").stdout
    assert f"orchestra resume {session}" in call(tmp_path, "status", session).stdout
    call(tmp_path, "resume", session, "--simulate", str(slow(tmp_path, "1ms")))
    assert only_session(tmp_path)["next"] == ""


def test_a_watched_session_is_shown_until_it_ends(tmp_path: Path) -> None:
    session = detach(tmp_path, delay="60s")
    watching = orchestra(tmp_path, "status", session, "--watch", "--detail")
    assert watching.stdout is not None
    shown = ""
    while "running" not in shown:
        shown += watching.stdout.readline()
    assert call(tmp_path, "cancel", session).returncode == 0
    rest, _err = watching.communicate(timeout=20)
    assert watching.returncode == 0
    assert "canceled" in rest


@pytest.mark.parametrize("columns", [40, 140])
def test_the_list_is_watched_until_one_leaves(columns: int, tmp_path: Path) -> None:
    session = detach(tmp_path, delay="60s")
    terminal = Terminal(tmp_path, columns, "status", "--watch")
    terminal.until("running")
    assert call(tmp_path, "cancel", session).returncode == 0
    terminal.until("canceled")
    terminal.press("\x03")
    assert terminal.ended() == 130
    assert "Traceback" not in terminal.shown


def test_a_run_that_restarts_is_watched_on(tmp_path: Path) -> None:
    (tmp_path / "again.dot").write_text(
        "digraph again { start [shape=Mdiamond] exit [shape=Msquare] a start -> a"
        ' a -> exit [condition="outcome=success"] a -> a [condition="outcome=fail", loop_restart=true] }'
    )
    (tmp_path / "s.yaml").write_text("nodes: {a: [{status: fail, delay: 500ms}, {text: done}]}")
    begun = orchestra(tmp_path, "run", "again.dot", "--simulate", "s.yaml", "--detach", "--json")
    session = json.loads(begun.communicate(timeout=20)[0])["session"]
    out, _err = orchestra(tmp_path, "attach", session, "--json-stream").communicate(timeout=20)
    told = [json.loads(line) for line in out.splitlines()]
    assert told[0]["session"] == session
    assert told[-1]["event"] == "PipelineCompleted"
    assert told[-1]["session"] != session
