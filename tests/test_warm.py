"""A warm start of the program is like a cold one in all that a test can see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import warm

COLD = [sys.executable, "-s", "-m", "orchestra"]
PIPELINE = """digraph p { start [shape=Mdiamond] exit [shape=Msquare]
look [shape=parallelogram, tool_command="sh look.sh >seen"] start -> look -> exit }"""
LOOK = """env | grep -v ^ORCHESTRA_ | sort; pwd; date +%Z; ulimit -a; umask
ls /proc/self/fd; grep -E '^Sig(Blk|Ign)' /proc/self/status"""

pytestmark = pytest.mark.skipif(not warm.WARM.used, reason="this system has no warm starts")


def ran(program: list[str], folder: Path, *args: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "TZ": "Asia/Tokyo", "COLUMNS": "70"}
    return subprocess.run([*program, *args], cwd=folder, env=variables, capture_output=True, **more)


def seen(program: list[str], folder: Path) -> list[str]:
    """What a command of a node sees around it."""
    (folder / "look.sh").write_text(LOOK)
    (folder / "p.dot").write_text(PIPELINE)
    done = ran(program, folder, "run", "p.dot", "--store", str(folder / "store"), input=b"")
    assert done.returncode == 0, done.stderr
    return (folder / "seen").read_text().splitlines()


@pytest.mark.parametrize(
    "args",
    [
        ("--version",),
        ("run", "--help"),
        ("status", "--store", "here"),
        ("run", "missing.dot"),
        ("nonsense",),
        (),
        ("explain", "no_start"),
        ("compile", "-"),
    ],
    ids=" ".join,
)
def test_it_writes_the_same_and_ends_the_same(args: tuple[str, ...], tmp_path: Path) -> None:
    (cold, hot) = (ran(program, tmp_path, *args, input=b"digraph { a -> b }") for program in (COLD, warm.PROGRAM))
    assert (hot.returncode, hot.stdout, hot.stderr) == (cold.returncode, cold.stdout, cold.stderr)


def test_what_it_starts_has_the_same_around_it(tmp_path: Path) -> None:
    assert seen(warm.PROGRAM, tmp_path) == seen(COLD, tmp_path)


@pytest.mark.parametrize("program", [COLD, warm.PROGRAM], ids=["cold", "warm"])
def test_it_is_our_child_and_receives_signals(program: list[str], tmp_path: Path) -> None:
    command = [*program, "model-server", "-"]
    variables = {"PATH": os.environ["PATH"]}
    with subprocess.Popen(
        command, cwd=tmp_path, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        assert int(stat[1]) == os.getpid()
        assert Path(f"/proc/{process.pid}/cwd").readlink() == tmp_path
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=20) == -signal.SIGKILL


def test_a_fork_of_this_process_starts_it_as_always(tmp_path: Path) -> None:
    assert ran(warm.PROGRAM, tmp_path, "--version").returncode == 0
    pid = os.fork()
    if not pid:
        os._exit(ran(warm.PROGRAM, tmp_path, "--version").returncode)
    assert os.waitpid(pid, 0)[1] == 0
