"""``orchestra demo``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from orchestra.cli.terminal import say
from orchestra.errors import ConfigError


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="A new or empty folder; else a temporary one.", show_default=False),
    ] = None,
) -> None:
    """Show a team of simulated agents at work on a scratch repository.

    Two agents work side by side, the runner is killed on purpose and the run is resumed, a person is asked, and the
    merged work is on a branch of its own. No key and no network are needed; git is.
    """
    raise typer.Exit(show(folder))


KILLED_AFTER = 60.0
"""Seconds after which a run that does not come as far as its branches counts as stuck."""

IDENTITY = {
    "GIT_AUTHOR_NAME": "You",
    "GIT_AUTHOR_EMAIL": "you@localhost",
    "GIT_COMMITTER_NAME": "You",
    "GIT_COMMITTER_EMAIL": "you@localhost",
}


def show(folder: Path | None) -> int:
    """Run the demo in a folder; the exit code. Raises ``ConfigError``."""
    if shutil.which("git") is None:
        raise ConfigError("the demo needs git", fix="install git")
    place = folder.absolute() if folder is not None else Path(tempfile.mkdtemp(prefix="orchestra-demo-"))
    if place.exists() and any(place.iterdir()):
        raise ConfigError(f"{place} is not empty", fix="name a new folder")
    return _Demo(place).run()


class _Demo:
    """The story, step by step; every step is a command of its own process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "ORCHESTRA_"))}
        self._environment = {**kept, **IDENTITY}

    def run(self) -> int:
        """Tell the story; 0 where it came to its good end."""
        say("== A repository whose test fails. Nothing here needs a key or a network.")
        say(f"in {self._folder}")
        self._repository()
        before = self._state()
        say("\n== Two simulated agents work side by side. Their runner is killed on purpose.")
        self._kill_runner()
        say("\n== Resume: what had finished is not run again. The run then waits for a person.")
        if self._orchestra("resume", "last") != 5:
            return self._fail("the run did not come to its question")
        say("\n== The answer may come from any terminal, minutes or days later.")
        if self._orchestra("answer", "last", "Y") or self._orchestra("resume", "last"):
            return self._fail("the run did not complete")
        say("\n== Every change is a commit that names its node and session; your checkout is as it was.")
        self._git("log", "--graph", "--oneline", "--branches", "--format=%h %an: %s")
        if self._state() != before:
            return self._fail("the checkout changed")
        self._git("status", "--short")
        say("\n== Look around, or take the work over:")
        say(f"  cd {self._folder}")
        say("  orchestra status last --detail")
        say("  orchestra log last")
        say("  orchestra export last --html run.html")
        say("  orchestra merge last")
        return 0

    def _repository(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with as_file(files("orchestra") / "templates" / "demo") as template:
            for file in sorted(template.iterdir()):
                if file.is_file():
                    shutil.copy(file, self._folder / file.name)
        (self._folder / ".gitignore").write_text("__pycache__/\n.orchestra/\n")
        for arguments in (
            ["init", "-q", "-b", "main"],
            ["add", "-A"],
            ["commit", "-qm", "A shop, and a wrong price"],
        ):
            subprocess.run(["git", *arguments], cwd=self._folder, env=self._environment, check=True)

    def _kill_runner(self) -> None:
        """Start the run, and kill its runner while both agents work."""
        command = ["run", "team.dot", "--simulate", "team.yaml"]
        say(f"$ orchestra {' '.join(command)}")
        with subprocess.Popen(
            [sys.executable, "-m", "orchestra", *command, "--json-stream"],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        ) as running:
            assert running.stdout is not None
            until, begun = time.monotonic() + KILLED_AFTER, 0
            for line in running.stdout:
                begun += '"StageStarted"' in line and '"branch"' in line
                if begun == 2 or time.monotonic() > until:
                    running.send_signal(signal.SIGKILL)
                    break
        say("killed: kill -9, while two agents were working")
        self._orchestra("status")

    def _orchestra(self, *arguments: str) -> int:
        say(f"$ orchestra {' '.join(arguments)}")
        sys.stdout.flush()
        return subprocess.run(
            [sys.executable, "-m", "orchestra", *arguments],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
        ).returncode

    def _git(self, *arguments: str) -> None:
        shown = [argument for argument in arguments if not argument.startswith("--format")]
        say(f"$ git {' '.join(shown)}")
        sys.stdout.flush()
        subprocess.run(["git", "--no-pager", *arguments], cwd=self._folder, env=self._environment, check=True)

    def _state(self) -> dict[str, bytes]:
        """Every file of the checkout but Orchestra's own folder."""
        return {
            path.name: path.read_bytes()
            for path in self._folder.iterdir()
            if path.is_file() and path.name != ".git"
        }

    def _fail(self, why: str) -> int:
        say(f"the demo failed: {why}; look at it in {self._folder}")
        return 1
