"""Calls of the commands: in this process where only what comes out matters, else as a process of its own."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import warm
from orchestra.cli import main

ROOT = Path(__file__).resolve().parent.parent.parent
ORCHESTRA = [sys.executable, "-m", "orchestra"]
COLD = [sys.executable, "-s", "-m", "orchestra"]
"""The program with the start of its interpreter and all its imports (see warm.py)."""
PLAN = ROOT / "examples" / "plan-build-review.dot"
SCRIPT = """nodes:
  plan: [{text: a, delay: DELAY}]
  build: [{text: b}]
  review: [{status: fail, reason: no test}]
"""


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "ORCHESTRA_CXDB_PATH": str(folder / "store"),
        **more,
    }


@contextmanager
def elsewhere(folder: Path, variables: dict[str, str]) -> Iterator[None]:
    """Another working directory and other environment variables, for a while."""
    before, kept = Path.cwd(), dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(kept)


def call(
    folder: Path, *args: str, encoding: str = "utf-8", given: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """A command in this process; ``given`` is its standard input."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    argv, stdin, code = sys.argv, sys.stdin, 0
    sys.argv = ["orchestra", *args]
    sys.stdin = io.TextIOWrapper(io.BytesIO(given.encode()))
    try:
        with elsewhere(folder, environment(folder, **more)), redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    finally:
        sys.argv, sys.stdin = argv, stdin
    return subprocess.CompletedProcess(args, code, _text(out), _text(err))


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()


def shell(folder: Path, command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A line for bash, in which ``orchestra`` is the program."""
    line = f'orchestra() {{ "{sys.executable}" -m orchestra "$@"; }}; {command}'
    return subprocess.run(
        warm.plain(command) or ["bash", "-c", line],
        cwd=folder,
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def slow(folder: Path, delay: str = "30s") -> Path:
    script = folder / "slow.yaml"
    script.write_text(SCRIPT.replace("DELAY", delay))
    return script


def begin(
    folder: Path,
    *args: str,
    delay: str = "30s",
    program: list[str] = ORCHESTRA,
    pipeline: Path = PLAN,
    script: Path | None = None,
    **more: str,
) -> subprocess.Popen[str]:
    """A run that is at the node ``plan`` when this returns."""
    script = script or slow(folder, delay)
    process = subprocess.Popen(
        [*program, "run", str(pipeline), "--simulate", str(script), "--json-stream", *args],
        cwd=folder,
        env=environment(folder, **more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "StageStarted" and event["node"] == "plan":
            return process
    raise AssertionError("the run never reached its node")


def only_session(folder: Path) -> dict[str, object]:
    listed = json.loads(call(folder, "status", "--json").stdout)["sessions"]
    assert len(listed) == 1
    found: dict[str, object] = listed[0]
    return found


class Terminal:
    """A command on a terminal of its own, which is its controlling one; what it writes is kept in ``shown``."""

    def __init__(self, folder: Path, columns: int, *args: str, program: list[str] = ORCHESTRA, **more: str) -> None:
        self.shown = ""
        variables = environment(
            folder, **{"COLUMNS": str(columns), "TERM": "xterm-256color", "LANG": "C.UTF-8", **more}
        )
        self.pid, self._leader = warm.on_terminal([*program, *args], folder, variables)

    def until(self, words: str, seconds: float = 30) -> str:
        """Read until the words are shown; what has been shown so far."""
        limit = time.monotonic() + seconds
        while words not in self.shown:
            if time.monotonic() > limit or not self._read():
                raise AssertionError(f"{words!r} is not in {self.shown!r}")
        return self.shown

    def press(self, keys: str) -> None:
        os.write(self._leader, keys.encode())

    def close(self) -> None:
        """Close the terminal under the program."""
        os.close(self._leader)

    def ended(self) -> int:
        """Wait for the end of the program; its exit code."""
        while self._read():
            pass
        return self.exit_code()

    def exit_code(self, seconds: float = 30) -> int:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        raise AssertionError(f"it did not end; it showed {self.shown!r}")

    def _read(self) -> bool:
        ready, _, _ = select.select([self._leader], [], [], 30)
        try:
            data = os.read(self._leader, 65536) if ready else b""
        except OSError:  # the program has ended
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


def on_terminal(folder: Path, columns: int, *args: str, **more: str) -> str:
    """What a command writes on a terminal of that width."""
    terminal = Terminal(folder, columns, *args, **more)
    terminal.ended()
    return terminal.shown
