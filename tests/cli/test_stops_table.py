"""Each way to stop a run ends in a state that ``status`` names and ``resume`` accepts, and nothing is done twice.

The oracle is a file outside of the program, to which the commands of the pipeline write.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from calls import ORCHESTRA, Terminal, call, environment, only_session

PIPELINE = """digraph stops {
  start [shape=Mdiamond] exit [shape=Msquare]
  node [shape=parallelogram]
  before [tool_command="echo before >> effects"]
  plan   [tool_command="echo begin >> effects; sleep SECONDS; echo end >> effects"]
  after  [tool_command="echo after >> effects"]
  start -> before -> plan -> after -> exit
}
"""
Process = subprocess.Popen[bytes]


def effects(folder: Path) -> list[str]:
    file = folder / "effects"
    return file.read_text().split() if file.exists() else []


def until_at_work(folder: Path) -> None:
    limit = time.monotonic() + 20
    while "begin" not in effects(folder):
        assert time.monotonic() < limit
        time.sleep(0.01)


def written(folder: Path, seconds: str) -> None:
    (folder / "stops.dot").write_text(PIPELINE.replace("SECONDS", seconds))


def working(folder: Path, seconds: str, *args: str) -> Process:
    """A run whose command ``plan`` has begun."""
    written(folder, seconds)
    process = subprocess.Popen(
        [*ORCHESTRA, "run", "stops.dot", *args],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until_at_work(folder)
    return process


def signals(*numbers: signal.Signals) -> Callable[[Path, Process], None]:
    """Signals one after another: an interrupt that is followed by another signal has been heard of before that."""

    def send(_folder: Path, process: Process) -> None:
        for place, number in enumerate(numbers):
            process.send_signal(number)
            if number is signal.SIGINT and place + 1 < len(numbers):
                heard(process)

    return send


def heard(process: Process) -> None:
    assert process.stderr is not None
    if process.stderr.closed:
        time.sleep(1.0)
        return
    for line in process.stderr:
        if b"Ctrl-C again" in line:
            return


def unread(_folder: Path, process: Process) -> None:
    """Nobody reads what it writes any more."""
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()


def unread_and_interrupted(folder: Path, process: Process) -> None:
    unread(folder, process)
    signals(signal.SIGINT, signal.SIGINT)(folder, process)


def without_input(_folder: Path, process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()


def suspended(folder: Path, process: Process) -> None:
    """Nobody else can take what is only suspended."""
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    assert call(folder, "resume", "last").returncode == 8
    assert only_session(folder)["phase"] == "running"
    process.send_signal(signal.SIGCONT)


@dataclass(frozen=True)
class Stop:
    """A way to stop a run: how long its command takes, how it ends, and how often the command is begun in all."""

    how: Callable[[Path, Process], None]
    seconds: str
    codes: frozenset[int]
    phases: frozenset[str]
    begun: int
    args: tuple[str, ...] = ()


def stop(how: Callable[[Path, Process], None], seconds: str, code: int, phase: str, begun: int, *args: str) -> Stop:
    return Stop(how, seconds, frozenset({code}), frozenset({phase}), begun, args)


STOPS = {
    "one interrupt": stop(signals(signal.SIGINT), "0.7", 130, "paused", 1),
    "two interrupts": stop(signals(signal.SIGINT, signal.SIGINT), "30", 130, "paused", 2),
    "three interrupts": Stop(
        signals(signal.SIGINT, signal.SIGINT, signal.SIGINT),
        "30",
        frozenset({130}),
        frozenset({"paused", "crashed"}),
        2,
    ),
    "terminated": stop(signals(signal.SIGTERM), "30", 130, "paused", 2),
    "terminated twice": stop(signals(signal.SIGTERM, signal.SIGTERM), "30", 130, "paused", 2),
    "hung up": stop(signals(signal.SIGHUP), "30", 130, "paused", 2),
    "interrupted, then hung up": stop(signals(signal.SIGINT, signal.SIGHUP), "30", 130, "paused", 2),
    "quit": stop(signals(signal.SIGQUIT), "30", -signal.SIGQUIT, "crashed", 2),
    "killed": stop(signals(signal.SIGKILL), "30", -signal.SIGKILL, "crashed", 2),
    "suspended": stop(suspended, "0.7", 0, "completed", 1),
    "unread": stop(unread, "0.7", 0, "completed", 1),
    "unread lines": stop(unread, "0.7", 0, "completed", 1, "--json-stream"),
    "unread and interrupted": stop(unread_and_interrupted, "30", 130, "paused", 2),
    "without input": stop(without_input, "0.7", 0, "completed", 1),
}


def goes_on(folder: Path, begun: int) -> None:
    """A resume comes to the end, and the commands say what was done."""
    written(folder, "0.01")
    if only_session(folder)["phase"] != "completed":
        done = call(folder, "resume", "last", "--graph", "stops.dot")
        assert done.returncode == 0, done.stdout + done.stderr
    assert only_session(folder)["phase"] == "completed"
    assert Counter(effects(folder)) == {"before": 1, "begin": begun, "end": 1, "after": 1}


@pytest.mark.parametrize("name", STOPS)
def test_a_run_that_is_stopped_continues_and_nothing_is_done_twice(name: str, tmp_path: Path) -> None:
    wanted = STOPS[name]
    with working(tmp_path, wanted.seconds, *wanted.args) as process:
        wanted.how(tmp_path, process)
        code = process.wait(timeout=30)
    session = only_session(tmp_path)
    assert (code in wanted.codes, session["phase"] in wanted.phases) == (True, True), (code, session)
    goes_on(tmp_path, wanted.begun)


def test_a_closed_terminal_leaves_a_session_that_continues(tmp_path: Path) -> None:
    written(tmp_path, "30")
    terminal = Terminal(tmp_path, 80, "run", "stops.dot")
    until_at_work(tmp_path)
    terminal.close()
    assert terminal.exit_code() == 130
    session = only_session(tmp_path)
    assert (session["phase"], session["node"]) == ("paused", "plan")
    assert "SIGHUP" in json.loads(call(tmp_path, "status", "--json").stdout)["sessions"][0]["detail"]
    goes_on(tmp_path, 2)


WAITING = """digraph waits {
  start [shape=Mdiamond] exit [shape=Msquare]
  plan [shape=parallelogram, max_retries=1, retry_policy=patient,
        tool_command="echo try >> effects; test -e again || { touch again; exit 1; }"]
  start -> plan -> exit
}
"""


@pytest.mark.parametrize(
    ("number", "code", "phase"),
    [
        (signal.SIGTERM, 130, "paused"),
        (signal.SIGHUP, 130, "paused"),
        (signal.SIGKILL, -signal.SIGKILL, "crashed"),
    ],
)
def test_a_run_that_is_stopped_while_it_waits_for_another_attempt_makes_that_one_and_no_other(
    number: signal.Signals, code: int, phase: str, tmp_path: Path
) -> None:
    (tmp_path / "waits.dot").write_text(WAITING)
    process = subprocess.Popen(
        [*ORCHESTRA, "run", "waits.dot", "--json-stream"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    while json.loads(process.stdout.readline())["event"] != "StageRetrying":
        pass
    process.send_signal(number)
    process.communicate(timeout=20)
    session = only_session(tmp_path)
    assert (process.returncode, session["phase"], session["node"]) == (code, phase, "plan")
    assert call(tmp_path, "resume", "last").returncode == 0
    assert effects(tmp_path) == ["try", "try"]
