"""What fits: lines on narrow terminals lose nothing that matters, and lines in a pipe are never cut (C1, C4)."""

from __future__ import annotations

import fcntl
import json
import pty
import re
import struct
import termios
from pathlib import Path

import pytest
from calls import call, on_terminal

from orchestra.cli.terminal import width
from orchestra.graph.report import columns

LONG = "implement_the_whole_thing_carefully"
REASON = "tests are missing for the third module and 漢字漢字漢字漢字漢字漢字 for the fourth one as well"
PIPELINE = f"""digraph a_pipeline_with_a_rather_long_name {{
    graph [goal="Ship the 日本語 feature with a goal that is longer than any line of a narrow terminal"]
    start [shape=Mdiamond]
    exit [shape=Msquare]
    judge [shape=diamond]
    {LONG} [prompt="x"]
    start -> {LONG} -> judge
    judge -> exit [condition="outcome=success"]
    judge -> report [condition="outcome!=success", label="Not yet, there is more to be done"]
    report [prompt="y"]
    report -> exit
}}
"""
SCRIPT = (
    f"nodes: {{{LONG}: [{{status: fail, reason: {json.dumps(REASON)}, failure_class: terminal, delay: 900ms}}]}}"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.dot").write_text(PIPELINE)
    (tmp_path / "s.yaml").write_text(SCRIPT)
    return tmp_path


def joined(text: str) -> str:
    """The words of what was shown, however it was broken into lines."""
    return "".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).split())


@pytest.mark.parametrize("width", [80, 40])
def test_a_run_says_the_whole_reason_on_any_terminal(width: int, folder: Path) -> None:
    shown = on_terminal(folder, width, "run", "p.dot", "--simulate", "s.yaml", NO_COLOR="1")
    assert joined(REASON) in joined(shown)
    assert re.search(r"0\.[4-9] s  \(1 done\)", shown)
    assert joined("→ report by 'Not yet, there is more to be done'") in joined(shown)


@pytest.mark.parametrize("width", [100, 80, 64, 40])
@pytest.mark.parametrize(
    "command", [("status",), ("status", "last", "--detail"), ("log", "last"), ("explain", "unbounded_loop")]
)
def test_no_line_is_wider_than_the_terminal(command: tuple[str, ...], width: int, folder: Path) -> None:
    call(folder, "run", "p.dot", "--simulate", "s.yaml", "-q")
    for line in call(folder, *command, COLUMNS=str(width)).stdout.partition("Wrong:")[0].splitlines():
        assert columns(line) <= width or "orchestra " in line  # a command is for copying: never broken


def test_a_narrow_list_still_names_session_state_and_age(folder: Path) -> None:
    call(folder, "run", "p.dot", "--simulate", "s.yaml", "-q")
    head, line = call(folder, "status", COLUMNS="40").stdout.splitlines()[:2]
    assert head.split() == ["SESSION", "STATUS", "PIPELINE", "AGE"]
    assert re.search(r"✓ completed  a_pipel…?", line)


def test_a_pipe_gets_every_word(folder: Path) -> None:
    call(folder, "run", "p.dot", "--simulate", "s.yaml", "-q")
    assert "a_pipeline_with_a_rather_long_name" in call(folder, "status").stdout
    detail = call(folder, "status", "last", "--detail").stdout
    assert REASON in detail
    log = call(folder, "log", "last").stdout
    assert any(REASON in line for line in log.splitlines())


def test_a_long_list_on_a_terminal_keeps_what_needs_attention_on_the_screen(folder: Path) -> None:
    for number in range(30):
        call(folder, "run", "p.dot", "-q", "--label", str(number))
    shown = on_terminal(folder, 80, "status", NO_COLOR="1", LINES="24")
    assert len(shown.splitlines()) <= 24
    assert "more: orchestra status | less" in shown
    assert len(call(folder, "status").stdout.splitlines()) == 32


def test_counts_are_right_in_words(folder: Path) -> None:
    call(folder, "run", "p.dot", "--simulate", "s.yaml", "-q")
    everything = call(folder, "status", "last", "--detail").stdout + call(folder, "log", "last").stdout
    assert not re.search(r"\b1 (nodes|turns|visits|executions)\b", everything)


def test_detail_counts_retries(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        "digraph g { start [shape=Mdiamond] exit [shape=Msquare]"
        ' work [prompt="x", max_retries=3] start -> work -> exit }'
    )
    (tmp_path / "s.yaml").write_text("nodes: {work: [{status: retry}, {status: retry}, {text: done}]}")
    call(tmp_path, "run", "p.dot", "--simulate", "s.yaml", "-q")
    nodes = json.loads(call(tmp_path, "status", "last", "--detail", "--json").stdout)["nodes"]
    work = next(node for node in nodes if node["node"] == "work")
    assert (work["visits"], work["executions"], work["retries"]) == (1, 3, 2)
    assert "2 retries" in call(tmp_path, "status", "last", "--detail").stdout


def test_the_width_is_that_of_the_stream_that_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 57, 0, 0))
    with open(ours, "w"), open(theirs, "w") as terminal:
        assert width(terminal) == 57
        monkeypatch.setenv("COLUMNS", "44")
        assert width(terminal) == 44
