"""Tool nodes as users meet them: what reaches a command, and that nothing of it outlives the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from calls import ORCHESTRA, call, environment, on_terminal, only_session, shell

TREE = "(setsid sleep 70 &) ; setsid sleep 71 & sleep 72 & echo > ready; sleep 73; echo woken"


def pipeline(folder: Path, command: str, more: str = "") -> Path:
    file = folder / "p.dot"
    written = command.replace("\\", "\\\\").replace('"', '\\"')
    file.write_text(
        "digraph p { start [shape=Mdiamond] exit [shape=Msquare]"
        f' work [shape=parallelogram, tool_command="{written}" {more}] start -> work -> exit }}'
    )
    return file


def begin(folder: Path, command: str = TREE) -> subprocess.Popen[str]:
    """A run whose command has started all of its tree when this returns."""
    pipeline(folder, command)
    return running(folder, folder)


def running(folder: Path, work: Path) -> subprocess.Popen[str]:
    """A run of the pipeline in a folder, which has started all of its tree in another when this returns."""
    process = subprocess.Popen(
        [*ORCHESTRA, "run", "p.dot"],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: (work / "ready").exists())
    return process


def eventually(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.02)


def running_in(folder: Path) -> list[str]:
    """The commands of the processes that work in a folder."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdecimal() and os.readlink(f"/proc/{name}/cwd") == str(folder):
                found.append(Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip())
        except OSError:
            continue
    return [command for command in found if "orchestra" not in command and command]


def events(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(call(folder, "log", "last", "--json").stdout)["events"]
    return found


def test_a_tool_node_runs_in_the_folder_of_its_pipeline_without_provider_keys(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    pipeline(folder, "pwd; env; cat")
    done = call(tmp_path, "run", "elsewhere/p.dot", ANTHROPIC_API_KEY="sk-ant-0123456789abcdefghij", OTHER="seen")
    assert done.returncode == 0
    (executed,) = [event for event in events(tmp_path) if event["event"] == "ToolExecuted"]
    output = str(executed["output"])
    assert output.startswith(f"{folder}\n")
    assert "OTHER=seen" in output
    assert "ANTHROPIC" not in output
    assert "sk-ant" not in output


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM]], ids=["twice", "terminated"])
def test_an_interrupted_run_leaves_nothing_running(signals: list[signal.Signals], tmp_path: Path) -> None:
    process = begin(tmp_path)
    assert len(running_in(tmp_path)) >= 4
    assert process.stderr is not None
    for number in signals:
        process.send_signal(number)
        if number is signal.SIGINT:
            assert "Ctrl-C again" in process.stderr.readline()  # two at once would be heard as one
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert running_in(tmp_path) == []


def test_a_third_interrupt_leaves_nothing_running_either(tmp_path: Path) -> None:
    process = begin(tmp_path, "trap '' TERM; " + TREE)
    assert process.stderr is not None
    for _twice in range(2):
        process.send_signal(signal.SIGINT)
        assert "Ctrl-C again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, _said = process.communicate(timeout=20)
    assert process.returncode == 130
    eventually(lambda: running_in(tmp_path) == [])
    assert only_session(tmp_path)["phase"] == "paused"
    assert "resume: orchestra resume" in out


def test_a_cancelled_run_leaves_nothing_running(tmp_path: Path) -> None:
    process = begin(tmp_path)
    assert call(tmp_path, "cancel", "last").returncode == 0
    process.communicate(timeout=20)
    assert running_in(tmp_path) == []


def test_a_command_that_a_killed_runner_left_is_ended_and_named_when_the_session_is_taken_up(
    tmp_path: Path,
) -> None:
    process = begin(tmp_path)
    process.kill()
    process.communicate(timeout=20)
    left = running_in(tmp_path)
    assert len(left) >= 4
    pipeline(tmp_path, "echo again")
    done = call(tmp_path, "resume", "last", "--graph", "p.dot")
    assert done.returncode == 0
    assert running_in(tmp_path) == []
    (warning,) = [event for event in events(tmp_path) if event["event"] == "Warning"]
    assert warning["rule"] == "orphaned_tool"
    assert warning["node"] == "work"
    assert str(warning["message"]) in done.stdout.replace("\n", " ") or "still running" in done.stdout


def test_a_stopped_command_of_a_branch_is_named_before_the_branch_continues(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        "digraph p { start [shape=Mdiamond] exit [shape=Msquare] fan [shape=component] meet [shape=tripleoctagon]"
        ' a [shape=parallelogram, tool_command="true"]'
        ' b [shape=parallelogram, tool_command="test -e ready || { echo > ready; sleep 70; }"]'
        " start -> fan -> { a b } -> meet -> exit }"
    )
    process = running(tmp_path, tmp_path)
    process.kill()
    process.communicate(timeout=20)
    done = call(tmp_path, "resume", "last")
    assert done.returncode == 0
    assert 0 <= done.stdout.find("the command of b was still running") < done.stdout.find("✓ fan/b")


def test_a_cancel_ends_what_a_killed_runner_left_and_says_so(tmp_path: Path) -> None:
    process = begin(tmp_path)
    process.kill()
    process.communicate(timeout=20)
    assert len(running_in(tmp_path)) >= 4
    asked = call(tmp_path, "cancel", "last")
    assert asked.returncode == 0
    assert running_in(tmp_path) == []
    assert "still running" in asked.stdout
    assert [event["rule"] for event in events(tmp_path) if event["event"] == "Warning"] == ["orphaned_tool"]


def test_a_variable_of_the_run_reaches_a_command_and_the_linter(tmp_path: Path) -> None:
    pipeline(tmp_path, "printf %s {{ who }} > out")
    assert call(tmp_path, "run", "p.dot", "who=it's $(me)\n").returncode == 0
    assert (tmp_path / "out").read_text() == "it's $(me)\n"
    pipeline(tmp_path, "echo $(cat {{ who }})")
    done = call(tmp_path, "run", "p.dot", "who=x")
    assert done.returncode == 3
    assert "untrusted_shell" in done.stderr


def test_the_output_of_a_command_is_shown_line_by_line_to_those_who_want_it(tmp_path: Path) -> None:
    pipeline(tmp_path, "printf 'one\\ntwo\\033[2Jx\\n'; echo three >&2; exit 3")
    plain = call(tmp_path, "run", "p.dot", "--plain").stdout
    assert "| one" not in plain
    verbose = call(tmp_path, "run", "p.dot", "--plain", "--verbose").stdout
    assert "  | one\n" in verbose
    assert "\x1b" not in verbose
    lines = [json.loads(line) for line in call(tmp_path, "run", "p.dot", "--json-stream").stdout.splitlines()]
    shown = [line for line in lines if line["event"] == "ToolOutput"]
    assert {line["stream"] for line in shown} == {"stdout", "stderr"}
    assert "turn" not in shown[0]


def test_a_terminal_shows_the_last_words_of_the_running_command(tmp_path: Path) -> None:
    pipeline(tmp_path, "echo compiling; sleep 0.6; echo linking; sleep 0.4")
    shown = on_terminal(tmp_path, 80, "run", "p.dot")
    assert "| compiling" in shown
    assert "| linking" in shown


def test_a_failure_of_many_lines_is_reported_by_its_beginning_and_its_end(tmp_path: Path) -> None:
    pipeline(tmp_path, "seq 5; echo '2 tests failed'; false")
    line = next(line for line in call(tmp_path, "run", "p.dot", "--plain").stdout.splitlines() if "✗ work" in line)
    assert line.endswith("exit code 1: … 2 tests failed")


def test_a_text_is_written_whole_byte_for_byte(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "data").write_bytes(data)
    pipeline(tmp_path, "cat data; echo short >&2")
    assert call(tmp_path, "run", "p.dot").returncode == 0
    (depth,) = [event["depth"] for event in events(tmp_path) if event["event"] == "ToolExecuted"]
    done = shell(
        tmp_path, f"orchestra show last:{depth} --whole output > out; orchestra show last:{depth} --whole stderr"
    )
    assert (done.returncode, done.stdout) == (0, "short\n")
    assert (tmp_path / "out").read_bytes() == data
    assert len(call(tmp_path, "show", f"last:{depth}").stdout) < 200_000
    refused = call(tmp_path, "show", f"last:{depth}", "--whole", "ouput")
    assert refused.returncode == 2
    assert "output, stderr" in refused.stderr


def test_what_a_killed_runner_left_of_a_child_pipeline_is_ended_too(tmp_path: Path) -> None:
    child = tmp_path / "child"
    child.mkdir()
    pipeline(child, f"test -f done || {{ {TREE}; }}")
    (tmp_path / "p.dot").write_text(
        "digraph p { start [shape=Mdiamond] exit [shape=Msquare]"
        ' sub [type="pipeline", "stack.child_dotfile"="child/p.dot"] start -> sub -> exit }'
    )
    process = running(tmp_path, child)
    process.kill()
    process.communicate(timeout=20)
    assert len(running_in(child)) >= 4
    (child / "done").touch()
    assert call(tmp_path, "resume", "last").returncode == 0
    assert running_in(child) == []


def test_commands_work_in_the_folder_that_the_settings_name(tmp_path: Path) -> None:
    (tmp_path / "pipelines").mkdir()
    pipeline(tmp_path / "pipelines", "cat project.txt")
    (tmp_path / "project.txt").write_text("here")
    (tmp_path / "orchestra.yaml").write_text("workspace: {folder: .}\n")
    assert call(tmp_path, "run", "pipelines/p.dot").returncode == 0
    (tmp_path / "orchestra.yaml").write_text("workspace: {folder: none}\n")
    refused = call(tmp_path, "compile", "pipelines/p.dot")
    assert "orchestra.yaml:1:21" in refused.stdout + refused.stderr
