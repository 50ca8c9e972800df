"""How far something slow is, on a terminal only (C1, S9)."""

from __future__ import annotations

import io
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO

from calls import PLAN, call, shell

from orchestra.cli.outlet import at_once, outlets
from orchestra.cli.screen.live import LiveView
from orchestra.cli.terminal import progress
from orchestra.run.events import Meta, Recorded, StageStarted


@contextmanager
def terminal() -> Iterator[tuple[TextIO, int]]:
    leader, follower = os.openpty()
    with open(follower, "w", encoding="utf-8") as stream:
        yield stream, leader
    os.close(leader)


def shown(leader: int, end: str) -> str:
    """What a terminal was sent, which may come in pieces."""
    text = ""
    while not text.endswith(end):
        text += os.read(leader, 1000).decode()
    return text


def test_a_line_says_how_far_it_is_and_is_gone_afterwards() -> None:
    with terminal() as (stream, leader):
        with progress(stream, patience=0) as tell:
            tell("turns", 5, 10)
        stream.write("end")
        stream.flush()
        assert shown(leader, "end") == "\rreading turns: 50 %\r                   \rend"


def test_what_is_quick_shows_nothing() -> None:
    with terminal() as (stream, leader):
        with progress(stream, patience=60) as tell:
            tell("turns", 5, 10)
        os.write(leader, b"end\n")
        assert re.fullmatch(r"end\s*", os.read(leader, 1000).decode())


def test_nothing_is_shown_in_a_pipe() -> None:
    out = io.StringIO()
    with progress(out, patience=0) as tell:
        tell("turns", 5, 10)
    assert out.getvalue() == ""


def test_a_folder_that_cxdb_wrote_is_taken_over_without_a_word_in_a_pipe(tmp_path: Path) -> None:
    call(tmp_path, "run", str(PLAN), "-q")
    call(tmp_path, "doctor", "--settle")
    shutil.rmtree(tmp_path / "store" / "orchestra")
    done = shell(tmp_path, "orchestra status --store store")
    assert done.returncode == 0
    assert done.stderr == ""


async def test_a_run_that_ends_at_once_takes_its_live_lines_along() -> None:
    meta = Meta(session="abc", epoch=1, sequence=1, at=time.time_ns() // 1_000_000)
    with terminal() as (stream, leader), redirect_stdout(stream), outlets() as (out,):
        view = LiveView(colour=False, verbose=False)
        view.open("abc", "title")
        view.tell(Recorded(meta, StageStarted(node="work", handler="tool", visit=1, of=1)))
        text = ""
        while "work" not in text:
            text += os.read(leader, 1000).decode()
        view.abandon()
        out.write("a late frame")
        at_once(out, b"end")  # type: ignore[arg-type]
        text = shown(leader, "end")
        view.close()
    assert text.endswith("\r\x1b[2K\x1b[?25hend")
