"""What a turn's commit, worktrees and a restore cost, beside the plain git commands, in one run.

python benchmarks/git_commit.py [FILES ...]      (default: 2000 50000)
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestra.config.workspace import RepoSettings, WorkspaceSettings
from orchestra.ports import NewCommit
from orchestra.workspace.preparing import prepare
from orchestra.workspace.session import GitWorkspace

ROUNDS = 9
BRANCHES = 16
PLAIN = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsync=committed,reference", "-c", "gc.auto=0")


def environment(folder: Path) -> dict[str, str]:
    names = {f"GIT_{role}_{part}": "bench@local" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **names}


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", *PLAIN, *arguments], cwd=folder, env=environment(folder), check=True, capture_output=True
    )


def repository(folder: Path, files: int) -> Path:
    code = folder / "code"
    code.mkdir()
    git(code, "init", "-q", "-b", "main")
    for number in range(files):
        place = code / f"d{number // 100}"
        if number % 100 == 0:
            place.mkdir()
        (place / f"f{number}.txt").write_text(f"{number}\n" * 10)
    git(code, "add", "-A")
    git(code, "commit", "-q", "-m", "first")
    return code


async def workspace(folder: Path) -> tuple[GitWorkspace, Callable[[], Awaitable[GitWorkspace]]]:
    settings = WorkspaceSettings(
        home=folder / ".orchestra", repos=(RepoSettings(name="code", path=folder / "code"),)
    )

    async def shell(_command: str, _folder: Path) -> tuple[int, str]:
        return 0, ""

    async def settle() -> None:
        return None

    maker = await prepare(settings, environment(folder), shell, fresh=True)
    known: dict[str, object] = {}

    async def again() -> GitWorkspace:
        return await maker.open(
            session="b12345",
            pipeline="b",
            known=known,
            keep=False,
            record=lambda _e: None,
            settle=settle,  # type: ignore[arg-type]
        )

    opened = await again()
    known.update(await opened.snapshot())
    return opened, again


def median(times: list[float]) -> float:
    return statistics.median(times)


async def commits(opened: GitWorkspace, plain: Path) -> tuple[float, float]:
    ours, theirs = [], []
    for number in range(ROUNDS):
        names = [f"d0/f{number}.txt", f"new{number}.txt"]
        for folder in (opened.folder(), plain):
            for name in names:
                (folder / name).write_text(f"changed {number}\n")
        began = time.perf_counter()
        await opened.commit(NewCommit(node="n", turn=f"n.1.1.{number}", files=tuple(names)))
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        git(plain, "add", "--", *names)
        git(plain, "commit", "-q", "-m", f"turn {number}")
        theirs.append(time.perf_counter() - began)
    return median(ours[1:]), median(theirs[1:])


async def worktrees(opened: GitWorkspace, folder: Path) -> tuple[float, float]:
    began = time.perf_counter()
    await asyncio.gather(*(opened.branch(f"fan.1.1.b{number}", lambda _e: None) for number in range(BRANCHES)))
    ours = time.perf_counter() - began
    began = time.perf_counter()
    for number in range(BRANCHES):
        git(folder / "code", "worktree", "add", "--no-track", "-b", f"bare{number}", str(folder / f"bare{number}"))
    return ours, time.perf_counter() - began


async def restore(opened: GitWorkspace, again: Callable[[], Awaitable[GitWorkspace]]) -> tuple[float, int]:
    """Seconds of a restore after 10 files changed, and how many files it wrote."""
    folder = opened.folder()
    for number in range(10):
        (folder / f"d0/f{number}.txt").write_text("lost\n")
    stamps = {file: file.stat().st_mtime_ns for file in folder.rglob("*.txt")}
    began = time.perf_counter()
    await again()
    took = time.perf_counter() - began
    written = sum(1 for file, stamp in stamps.items() if not file.exists() or file.stat().st_mtime_ns != stamp)
    return took, written


async def measure(files: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository(folder, files)
        opened, again = await workspace(folder)
        plain = folder / "plain"
        git(folder / "code", "worktree", "add", "-q", "-b", "plain", str(plain))
        ours, theirs = await commits(opened, plain)
        ratio = f"{ours * 1e3:.0f} ms, add+commit {theirs * 1e3:.0f} ms: {ours / theirs:.2f}"
        print(f"{files} files: commit of a turn {ratio}")
        if files <= 2000:
            ours, theirs = await worktrees(opened, folder)
            print(
                f"{files} files: {BRANCHES} worktrees {ours:.2f} s, git alone {theirs:.2f} s: {ours / theirs:.2f}"
            )
        took, written = await restore(opened, again)
        print(f"{files} files: restore {took * 1e3:.0f} ms, {written} files written")


if __name__ == "__main__":
    for wanted in [int(text) for text in sys.argv[1:]] or [2000, 50000]:
        asyncio.run(measure(wanted))
