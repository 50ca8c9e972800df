"""Commands of the program in a scratch project, with the environment that its agents are found in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def project(folder: Path) -> None:
    """The example whose test fails, without its pipeline."""
    for name in ("adder.py", "test_adder.py", "my_tools.py"):
        (folder / name).write_text((ROOT / "examples" / "fix-test" / name).read_text())


def call(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the program; it ends within a minute."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "ORCHESTRA_CXDB_PATH": str(folder / "store"),
        **more,
    }
    return subprocess.run(
        [sys.executable, "-m", "orchestra", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
