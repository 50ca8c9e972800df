"""Stopping a run from outside (S15): each signal, at any moment, with a true record afterwards."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from calls import COLD, ORCHESTRA, PLAN, Terminal, begin, call, environment, only_session, slow

ENDLESS = """digraph loop {
    graph [max_steps=1000000]
    start [shape=Mdiamond]
    exit [shape=Msquare]
    work [prompt="x"]
    start -> work
    work -> work [condition="context.done!=1"]
    work -> exit [condition="context.done=1"]
}
"""


def run(folder: Path, *args: str, program: list[str] = ORCHESTRA) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*program, "run", *args],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


UNRAISED = """
import os, signal, sys

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)  # as when it arrives while the import system cleans up

class Finder:
    def find_spec(self, name, *rest):
        if name == MODULE:
            Dying()

sys.meta_path.insert(0, Finder())
from orchestra.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["orchestra.cli", "typer", "orchestra.cli.commands.run"])
def test_an_interrupt_counts_where_an_exception_would_be_dropped(module: str, tmp_path: Path) -> None:
    program = [sys.executable, "-c", UNRAISED.replace("MODULE", repr(module))]
    process = run(tmp_path, str(PLAN), "--simulate", str(slow(tmp_path, "1ms")), program=program)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")


def test_an_early_interrupt_is_never_passed_over(tmp_path: Path) -> None:
    script = str(slow(tmp_path, "800ms"))
    begun = []
    for moment in range(30):
        begun.append(run(tmp_path, str(PLAN), "--simulate", script, program=COLD))
        time.sleep(0.010 + moment * 0.013)
        begun[-1].send_signal(signal.SIGINT)
    for process in begun:
        out, err = process.communicate(timeout=30)
        python = not out and process.returncode in (1, -signal.SIGINT)  # it was interrupted before it ran us
        assert process.returncode == 130 or python, err
        assert not re.search("/src/orchestra/(?!__)", err)


@pytest.mark.parametrize("delay", [0.15, 0.4, 0.6])
def test_an_interrupt_at_any_moment_leaves_nothing_that_looks_crashed(delay: float, tmp_path: Path) -> None:
    process = run(tmp_path, str(PLAN), "--simulate", str(slow(tmp_path, "1s")), program=COLD)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGINT)  # the latter: Python itself was still starting
    listed = json.loads(call(tmp_path, "status", "--json").stdout)["sessions"]
    assert [session["phase"] for session in listed] in ([], ["paused"])
    if listed:
        assert "paused" in out
        assert "Traceback" not in err


ELSEWHERE = """
import signal, sys, threading

def strike():
    sys.stdin.readline()
    signal.pthread_kill(threading.get_ident(), signal.NUMBER)  # the thread that waits is not woken by it

threading.Thread(target=strike, daemon=True).start()
from orchestra.__main__ import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_does_not_wake_the_wait_is_heeded_at_once(number: signal.Signals, tmp_path: Path) -> None:
    program = [sys.executable, "-c", ELSEWHERE.replace("NUMBER", number.name)]
    told = begin(tmp_path, delay="60s", program=program)
    assert told.stdin is not None
    assert told.stdout is not None
    begun = time.monotonic()
    told.stdin.write("now\n")
    told.stdin.flush()
    if number == signal.SIGTERM:
        told.communicate(timeout=20)
    else:
        assert told.stderr is not None
        assert "Ctrl-C again" in told.stderr.readline()
        assert time.monotonic() - begun < 30, "it said so only when the node had ended"
        told.send_signal(number)
        told.communicate(timeout=20)
    assert told.returncode == 130
    assert only_session(tmp_path)["phase"] == "paused"


def test_a_run_that_never_waits_is_paused_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(ENDLESS)
    process = run(tmp_path, "p.dot")
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert only_session(tmp_path)["phase"] == "paused"


def test_an_interrupt_before_the_first_node_says_so(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, 80, "run", str(PLAN), "--simulate", str(slow(tmp_path, "2s")), NO_COLOR="1")
    terminal.until("session")
    terminal.press("\x03")
    assert terminal.ended() == 130
    assert re.search(r"paused  (before|at) \w+", terminal.shown)


def test_a_third_interrupt_leaves_at_once(tmp_path: Path) -> None:
    process = begin(tmp_path)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    process.communicate(timeout=20)
    assert process.returncode in (130, -signal.SIGINT)  # the latter: it had ended by the second
    assert only_session(tmp_path)["phase"] in {"paused", "crashed"}


def test_an_interrupt_ends_the_wait_before_another_attempt(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        "digraph g { start [shape=Mdiamond] exit [shape=Msquare]"
        ' work [prompt="x", max_retries=3] start -> work -> exit }'
    )
    (tmp_path / "s.yaml").write_text("nodes: {work: [{status: retry, reason: busy, retry_after: 60}]}")
    process = run(tmp_path, "p.dot", "--simulate", "s.yaml")
    assert process.stdout is not None
    while "attempt 1" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert (only_session(tmp_path)["phase"], only_session(tmp_path)["node"]) == ("paused", "work")


def test_what_was_ignored_at_the_start_stays_ignored(tmp_path: Path) -> None:
    process = run(tmp_path, str(PLAN), "--simulate", str(slow(tmp_path, "1s")), program=["nohup", *ORCHESTRA])
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert only_session(tmp_path)["phase"] == "completed"


# --- on a terminal -------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 40])
def test_ctrl_c_says_what_it_does_and_what_another_one_would_do(columns: int, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, columns, "run", str(PLAN), "--simulate", str(slow(tmp_path)), NO_COLOR="1")
    terminal.until("(1 done)")
    terminal.press("\x03")
    terminal.until("finishing")
    terminal.until("again to")
    terminal.press("\x03")
    assert terminal.ended() == 130
    session = only_session(tmp_path)
    assert (session["phase"], session["node"]) == ("paused", "plan")
    assert "paused" in terminal.shown
    assert f"{session['session']} --detail" in terminal.shown


def test_a_terminal_that_closes_pauses_the_run(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, 80, "run", str(PLAN), "--simulate", str(slow(tmp_path)))
    terminal.until("(1 done)")
    terminal.close()
    assert terminal.exit_code() == 130
    assert only_session(tmp_path)["phase"] == "paused"
    assert not list((tmp_path / "home").rglob("reports/*"))


def test_a_job_in_the_background_runs_on_and_writes_lines(tmp_path: Path) -> None:
    script = slow(tmp_path, "300ms")
    shell = Terminal(tmp_path, 80, program=["bash", "--norc", "--noprofile", "-i"], PS1="$ ")
    shell.press(f"{shlex.join([*ORCHESTRA, 'run', str(PLAN), '--simulate', str(script)])} &\n")
    shown = shell.until("completed")
    shell.press("exit\n")
    shell.ended()
    assert "\x1b[?25l" not in shown  # no live view over the shell's own line
    assert "Stopped" not in shown


def test_ctrl_z_leaves_the_shell_a_cursor_and_the_run_continues_in_fore_or_background(tmp_path: Path) -> None:
    shell = Terminal(tmp_path, 80, program=["bash", "--norc", "--noprofile", "-i"], PS1="$ ")
    shell.press(f"{shlex.join([*ORCHESTRA, 'run', str(PLAN), '--simulate', str(slow(tmp_path, '3s'))])}\n")
    shell.until("(1 done)")
    shell.press("\x1a")
    assert "\x1b[?25h" in shell.until("Stopped")
    shell.shown = ""
    shell.press("fg\n")
    shell.until("(1 done)")
    shell.press("\x1a")
    shell.until("Stopped")
    shell.shown = ""
    shell.press("bg\n")
    assert "\x1b[?25l" not in shell.until("completed")
    shell.press("exit\n")
    shell.ended()
    assert only_session(tmp_path)["phase"] == "completed"


def test_ctrl_c_before_anything_began_is_silent(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, 80, "run", "-")
    time.sleep(1.0)
    terminal.press("\x03")
    assert terminal.ended() in (130, -signal.SIGINT)
    assert "Traceback" not in terminal.shown
