"""``pause``, ``cancel`` and ``steer``: requests from another terminal (S15)."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from pathlib import Path

import pytest
from calls import ORCHESTRA, PLAN, Terminal, begin, call, environment, only_session, shell

WAITS = """digraph g {
  start [shape=Mdiamond]; exit [shape=Msquare]; next [prompt="x"]
  plan [shape=parallelogram, tool_command="until test -e go; do sleep 0.02; done"]
  start -> plan -> next -> exit
}
"""


def test_a_run_is_paused_from_another_process_and_continues(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(WAITS)
    (tmp_path / "s.yaml").write_text("nodes: {}\n")
    process = begin(tmp_path, pipeline=tmp_path / "p.dot", script=tmp_path / "s.yaml")
    with subprocess.Popen([*ORCHESTRA, "pause", "last"], cwd=tmp_path, env=environment(tmp_path)) as pausing:
        assert process.stderr is not None
        assert "pause requested by" in process.stderr.readline()  # the runner has it
        (tmp_path / "go").touch()
    assert pausing.returncode == 0
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "paused by" in out
    assert only_session(tmp_path)["phase"] == "paused"
    assert "already" in call(tmp_path, "pause", "last").stdout
    assert call(tmp_path, "resume", "last", "-q").returncode == 0


def test_a_pause_at_once_does_not_wait_for_the_node(tmp_path: Path) -> None:
    process = begin(tmp_path, delay="30s")
    assert "is paused" in call(tmp_path, "pause", "last", "--now").stdout
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_status_shows_no_pause_that_was_carried_out(tmp_path: Path) -> None:
    hold = 'hold [shape=parallelogram, tool_command="until test -e end; do sleep 0.02; done"]'
    (tmp_path / "p.dot").write_text(
        WAITS.replace("-> next ->", "-> next -> hold ->").replace("plan [", f"{hold}; plan [")
    )
    (tmp_path / "s.yaml").write_text("nodes: {}\n")
    first = begin(tmp_path, pipeline=tmp_path / "p.dot", script=tmp_path / "s.yaml")
    call(tmp_path, "pause", "last", "--now")
    first.communicate(timeout=20)
    (tmp_path / "go").touch()
    command = [*ORCHESTRA, "resume", "last", "--json-stream"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        next(line for line in run.stdout if '"StageStarted"' in line and '"hold"' in line)
        shown = only_session(tmp_path)
        (tmp_path / "end").touch()
        run.stdout.read()
    assert run.returncode == 0
    assert shown["phase"] == "running"
    assert "pause" not in str(shown["detail"])


def test_a_cancel_ends_a_live_run(tmp_path: Path) -> None:
    process = begin(tmp_path, delay="30s")
    asked = call(tmp_path, "cancel", "last", "--why", "not needed", "--json")
    out, _ = process.communicate(timeout=20)
    assert (asked.returncode, process.returncode) == (0, 1)
    assert "not needed" in out
    found = json.loads(asked.stdout)
    assert (found["phase"], found["asked"]) == ("canceled", "cancel")


@pytest.mark.parametrize("killed", [True, False])
def test_a_cancel_records_the_end_of_a_run_that_nobody_has(killed: bool, tmp_path: Path) -> None:
    process = begin(tmp_path, delay="30s")
    (process.kill if killed else process.terminate)()
    process.communicate(timeout=20)
    assert call(tmp_path, "cancel", "last").returncode == 0
    assert only_session(tmp_path)["phase"] == "canceled"
    assert call(tmp_path, "resume", "last", "-q", "--simulate", str(PLAN.with_suffix(".yaml"))).returncode == 0


def test_what_has_ended_is_left_alone(tmp_path: Path) -> None:
    call(tmp_path, "run", str(PLAN), "-q", "--simulate", str(PLAN.with_suffix(".yaml")))
    for action in ("pause", "cancel"):
        asked = call(tmp_path, action, "last")
        assert asked.returncode == 0
        assert "nothing was changed" in asked.stdout
    refused = call(tmp_path, "steer", "last", "faster")
    assert refused.returncode == 2
    assert "too late" in refused.stderr
    assert only_session(tmp_path)["phase"] == "completed"


def test_an_instruction_reaches_the_next_agent_and_keeps_no_secret(tmp_path: Path) -> None:
    process = begin(tmp_path, delay="1s")
    asked = call(tmp_path, "steer", "last", "use tabs, key sk-ant-abcdefghijklmnop1234")
    assert asked.returncode == 0
    assert "queued for the running agent" in asked.stdout
    process.communicate(timeout=20)
    events = json.loads(call(tmp_path, "log", "last", "--json").stdout)["events"]
    (taken,) = [event for event in events if event["event"] == "SteeringTaken"]
    assert "use tabs, key [redacted:anthropic-key]" in taken["text"]


@pytest.mark.parametrize(("args", "code"), [(["pause", "nobody"], 9), (["steer", "last", " "], 2), (["steer"], 2)])
def test_mistakes_are_refused(args: list[str], code: int, tmp_path: Path) -> None:
    assert call(tmp_path, *args).returncode == code


@pytest.mark.parametrize("elsewhere", ["answered", "canceled"])
def test_a_prompt_of_the_inbox_goes_away_when_its_question_is_answered_or_closed_elsewhere(
    elsewhere: str, tmp_path: Path
) -> None:
    (tmp_path / "p.dot").write_text(
        """digraph g { start [shape=Mdiamond] exit [shape=Msquare]
        gate [shape=hexagon, label=Sure, "human.timeout"=1h] more [prompt=x]
        start -> gate gate -> exit [label=Yes] gate -> more [label=No] more -> exit }"""
    )
    assert call(tmp_path, "run", "p.dot", "-q", "--no-input").returncode == 5
    inbox = Terminal(tmp_path, 80, "inbox")
    inbox.until("Sure")
    assert "within" not in inbox.until("gate>"), "nobody runs the session, so nobody counts the time"
    if elsewhere == "answered":
        assert call(tmp_path, "answer", "last", "Yes").returncode == 0
        assert "was already answered: Yes, by" in inbox.until("no more open questions")
    else:
        assert call(tmp_path, "cancel", "last").returncode == 0
        assert "no longer open: its session is canceled" in inbox.until("no more open questions")
    assert inbox.ended() == 0


GATE = """digraph g {
  start [shape=Mdiamond]; exit [shape=Msquare]; ask [shape=hexagon, label="Ship it?"]
  start -> ask
  ask -> exit [label="[Y] Yes"]
  ask -> exit [label="[N] No"]
}
"""


def test_the_command_of_a_notification_answers_from_any_folder(tmp_path: Path) -> None:
    there, other = tmp_path / "there", tmp_path / "other"
    there.mkdir()
    other.mkdir()
    (there / "p.dot").write_text(GATE)
    (there / "n.yaml").write_text("humans: {notify: 'cat > new; mv new told'}\n")
    waiting = shell(there, "orchestra run p.dot --config n.yaml --store s -q --no-input")
    deadline = time.monotonic() + 10
    while not (there / "told").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    command = json.loads((there / "told").read_text())["command"]
    answered = call(other, *shlex.split(command)[1:], "Y")
    assert (waiting.returncode, answered.returncode) == (5, 0), answered.stderr


def test_last_is_named_where_it_is_a_session_of_another_folder(tmp_path: Path) -> None:
    there, other, one = tmp_path / "there", tmp_path / "other", f"--store={tmp_path / 'one'}"
    there.mkdir()
    other.mkdir()
    (there / "p.dot").write_text(GATE)
    call(there, "run", "p.dot", one, "-q", "--no-input")
    for command in (["steer", "last", "faster"], ["answer", "last", "Y"], ["resume", "last"], ["cancel", "last"]):
        done = call(other, *command, one)
        assert (done.returncode, str(there / "p.dot") in done.stderr) == (0, True), done.stderr
    assert call(there, "cancel", "last", one).stderr == ""


def test_a_request_to_last_reads_no_more_of_a_damaged_session_than_it_needs(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(GATE)
    call(tmp_path, "run", "p.dot", "-q", "--no-input")
    pack = tmp_path / "store" / "blobs" / "blobs.pack"
    content = bytearray(pack.read_bytes())
    content[5] ^= 0xFF  # of the first record, which the newest ones do not need
    pack.write_bytes(content)
    assert call(tmp_path, "steer", "last", "faster").returncode == 0
