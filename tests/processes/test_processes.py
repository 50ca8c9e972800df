"""Commands as processes: what they see of the process that runs them (A36)."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import asyncio, os, sys
from pathlib import Path
from orchestra.processes import process, tree

async def heard(_name, data):
    sys.stdout.write(data.decode())

async def silent():
    pass

command = process.Command(
    argv=("sh", "-c", "cat /proc/$PPID/environ; cat /proc/$PPID/stat"), folder=Path("/"),
    environment={"PATH": os.environ["PATH"]}, marker=tree.new_marker(), quiet=60,
)
asyncio.run(process.run(command, heard, silent))
import ctypes
print("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "prctl"), reason="only Linux has it")
@pytest.mark.parametrize(("marker", "dumpable"), [("", 0), ("outer", 1)])
def test_a_command_cannot_read_the_environment_of_its_runner(marker: str, dumpable: int, tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if name != "ORCHESTRA_TOOL"}
    around = {**own, "SOME_API_KEY": "sk-secret", **({"ORCHESTRA_TOOL": marker} if marker else {})}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=tmp_path, env=around, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"dumpable {dumpable}" in done.stdout
    assert f"{Path(sys.executable).name[:6]}" in done.stdout, "its state can be read by anybody"
    if not marker and os.geteuid():  # root may read everything
        assert "sk-secret" not in done.stdout
