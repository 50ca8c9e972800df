"""Scratch repositories and runs on them, by the command line, as users have them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calls import call

IDENTITY = {
    "GIT_AUTHOR_NAME": "A User",
    "GIT_AUTHOR_EMAIL": "user@example.org",
    "GIT_COMMITTER_NAME": "A User",
    "GIT_COMMITTER_EMAIL": "user@example.org",
}


def environment(folder: Path, **more: str) -> dict[str, str]:
    """What a user's shell has: nothing of the git that runs these tests."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", **more}


def git(folder: Path, *arguments: str, check: bool = True, **more: str) -> str:
    """The output of a git command in a folder."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**environment(folder.parent), **IDENTITY, **more},
        capture_output=True,
        text=True,
    )
    if check and done.returncode:
        raise AssertionError(f"git {' '.join(arguments)}: {done.stderr}")
    return done.stdout.rstrip("\n")


def repository(folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """A repository with one commit on main."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    for name, text in (files or {"a.txt": "one\n", "b.txt": "two\n"}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def project(folder: Path, nodes: str, more: str = "", *, repo: str = "code") -> Path:
    """A folder with settings that name the repository, and a pipeline ``p.dot`` of these nodes in a row."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orchestra.yaml").write_text(f"workspace:\n  repos:\n    code:\n      path: {repo}\n{more}")
    (folder / "p.dot").write_text(
        f"digraph p {{ start [shape=Mdiamond] exit [shape=Msquare]\n{nodes}\n}}", encoding="utf-8"
    )
    return folder


def tool(name: str, command: str, more: str = "") -> str:
    """A tool node."""
    written = command.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name} [shape=parallelogram, tool_command="{written}" {more}]\n'


def row(*nodes: tuple[str, str]) -> str:
    """Tool nodes one after the other, from the start to the exit."""
    names = ["start", *(name for name, _command in nodes), "exit"]
    return "".join(tool(name, command) for name, command in nodes) + " -> ".join(names)


def everything(folder: Path) -> dict[str, str]:
    """A checkout byte for byte, its git directory included except for objects, refs and what a worktree adds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.startswith((".git/objects", ".git/refs", ".git/worktrees", ".git/logs/refs")):
            continue
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() + oct(path.stat().st_mode)
    return found


def run(folder: Path, *more: str, **variables: str) -> dict[str, Any]:
    """Run the project's pipeline; what the command says of it as JSON."""
    done = call(folder, "run", str(folder / "p.dot"), "--json", *more, **variables)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def branch_of(folder: Path) -> str:
    """The one session branch of the repository."""
    return git(folder / "code", "for-each-ref", "--format=%(refname:short)", "refs/heads/orchestra/")
