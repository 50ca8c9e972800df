"""Output never makes a run wait: pipes that nobody reads, stopped terminals, terminals of three columns."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest
from calls import ORCHESTRA, Terminal, call, environment, only_session

from orchestra.cli.outlet import LAST_SECONDS, ROOM, Outlet, drain, lost_lines, outlets

LINE = "x" * 1023 + "\n"
CHATTY = """digraph g {
  start [shape=Mdiamond]
  exit [shape=Msquare]
  talk [shape=parallelogram, tool_command="yes | head -c 400000"]
  wait [shape=parallelogram, tool_command="WAIT"]
  start -> talk -> wait -> exit
}"""


def pipeline(folder: Path, wait: str = "true") -> str:
    file = folder / "chatty.dot"
    file.write_text(CHATTY.replace("WAIT", wait))
    return str(file)


@contextmanager
def unread() -> Iterator[tuple[int, Outlet]]:
    """A pipe as standard output that nobody reads, unless by the descriptor given."""
    reader, writer = os.pipe()
    with open(writer, "w", encoding="utf-8", closefd=True) as stream, redirect_stdout(stream):
        with outlets() as found:
            yield reader, next(one for one in found if one.fileno() == writer)
        os.close(reader)


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


# --- streams -----------------------------------------------------------------------------------------


def test_a_pipe_without_a_reader_takes_any_amount_at_once_and_keeps_its_order() -> None:
    with unread() as (reader, out):
        began = time.monotonic()
        for number in range(3000):
            out.write(f"{number:1023}\n")
            out.flush()
        assert time.monotonic() - began < 60  # a blocked write would never end
        found = b""
        while len(found) < 3000 * 1024:
            found += os.read(reader, 1 << 20)
        assert [int(line) for line in found.split()] == list(range(3000))
        out.write("and now again\n")
        out.flush()
        assert os.read(reader, 100) == b"and now again\n"
        assert lost_lines(out) == 0


def test_a_terminal_that_is_stopped_loses_lines_and_they_are_counted() -> None:
    with unread() as (reader, out):
        out.pump._keep = False
        for _ in range(1000):
            out.write(LINE)
        assert out.pump.full
        assert lost_lines(out) == 0  # not while what says so would be lost too
        found = 0
        while out.pump.pending or select.select([reader], [], [], 0)[0]:
            if select.select([reader], [], [], 0.01)[0]:
                found += len(os.read(reader, 1 << 20))
        missed = lost_lines(out)
        assert found + missed * 1024 == 1000 * 1024
        assert 0 < missed <= 1000 - ROOM // 1024
        assert lost_lines(out) == 0


def test_a_writer_is_notified_once_that_the_reader_has_left() -> None:
    with unread() as (reader, out):
        os.dup2(os.open(os.devnull, os.O_RDONLY), reader)
        out.write(LINE)
        with pytest.raises(BrokenPipeError):
            out.flush()
        out.flush()


def test_a_reader_is_waited_for_until_a_signal_says_otherwise() -> None:
    async def scene() -> tuple[bool, float]:
        leaving = asyncio.Event()
        with unread() as (_, out):
            for _ in range(100):
                out.write(LINE)
            waits = asyncio.ensure_future(drain((out,), leaving))
            await asyncio.sleep(0.1)
            waited = not waits.done()
            leaving.set()
            began = time.monotonic()
            await waits
            return waited, time.monotonic() - began

    waited, left = asyncio.run(scene())
    assert waited
    assert left >= LAST_SECONDS * 0.8


def test_a_reader_that_takes_nothing_is_given_up_in_the_end_and_what_it_missed_is_counted() -> None:
    with unread() as (_, out):
        for _ in range(3000):
            out.write(LINE)
        assert 2500 < asyncio.run(drain((out,), asyncio.Event(), 0.1)) <= 3000


# --- runs --------------------------------------------------------------------------------------------


def test_a_run_whose_json_nobody_reads_completes_and_a_late_reader_misses_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*ORCHESTRA, "run", pipeline(tmp_path), "--json-stream"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    until((tmp_path / "store").exists)
    until(lambda: '"phase": "completed"' in call(tmp_path, "status", "--json").stdout)
    assert process.poll() is None
    with process.stdout as lines:
        events = [json.loads(line) for line in lines]
    assert process.wait(20) == 0
    assert sum(len(event["text"]) for event in events if event["event"] == "ToolOutput") == 400_000
    assert events[-1]["event"] == "PipelineCompleted"


@pytest.mark.parametrize("how", ["--json-stream", "-v"])
def test_a_signal_ends_a_run_that_nobody_reads(how: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*ORCHESTRA, "run", pipeline(tmp_path, "touch there; sleep 60"), how],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    until((tmp_path / "there").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 130
    assert only_session(tmp_path)["phase"] == "paused"
    assert process.stdout is not None
    process.stdout.close()


def test_a_stopped_terminal_lets_a_run_work_and_a_signal_end_it(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, 80, "run", pipeline(tmp_path, "touch there; sleep 60"), "-v")
    terminal.until("session")
    terminal.press("\x13")
    until((tmp_path / "there").exists)
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.exit_code(10) == 130
    assert only_session(tmp_path)["phase"] == "paused"


@pytest.mark.parametrize("columns", [1, 3])
def test_a_terminal_of_hardly_any_columns_shows_a_run_to_its_end(columns: int, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, columns, "run", pipeline(tmp_path, "echo one word; sleep 0.5"))
    assert terminal.ended() == 0
    assert len(terminal.shown) < 10_000


def test_a_terminal_that_shrinks_under_a_run_does_not_stop_it(tmp_path: Path) -> None:
    # COLUMNS, which would hide the new size, is not set here
    terminal = Terminal(tmp_path, 80, "run", pipeline(tmp_path, "touch there; sleep 0.6"), program=WITHOUT_COLUMNS)
    terminal.until("session")
    until((tmp_path / "there").exists)
    fcntl.ioctl(terminal._leader, termios.TIOCSWINSZ, struct.pack("HHHH", 2, 3, 0, 0))
    assert terminal.ended() == 0
    assert len(terminal.shown) < 10_000
    assert json.loads(call(tmp_path, "status", "--json").stdout)["sessions"][0]["phase"] == "completed"


WITHOUT_COLUMNS = ["env", "-u", "COLUMNS", *ORCHESTRA]
