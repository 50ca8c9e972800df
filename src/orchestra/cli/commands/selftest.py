"""``orchestra selftest`` and ``orchestra demo``: the shipped examples, each in a scratch folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import version
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec import Struct

from orchestra.cli.errors import FAILED
from orchestra.cli.options import AsJson
from orchestra.cli.terminal import lay_out, one_line, room, say, say_json
from orchestra.errors import ConfigError
from orchestra.graph.nearest import nearest
from orchestra.graph.report import duration_words, plural
from orchestra.processes.sandbox import unavailable


def selftest(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these checks.", show_default=False)
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep", metavar="DIR", help="Work in this new folder and leave everything there.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Run the shipped examples on scratch data and say what works on this machine.

    Every check runs a few commands in its own folder, store and repository. No key and no network are needed.
    A check that needs something missing is skipped, and the report says how to install it.
    Exit code 1 if a check fails.
    """
    chosen = _choose(names or [])
    place = _place(keep)
    began = time.monotonic()
    if not as_json:
        say(f"Orchestra {version('orchestra-dot')}, Python {sys.version.split()[0]}, in {place}")
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        reports = []
        for report in pool.map(lambda check: _report(check, place / check.name), chosen):
            reports.append(report)
            if not as_json:
                _say(report)
    failed = sum(report.result is CheckResult.FAILED for report in reports)
    if as_json:
        say_json({"folder": str(place), "failed": failed, "checks": [asdict(one) for one in reports]}, indent=2)
    else:
        _say_sum(reports, time.monotonic() - began)
    if keep is None and not failed:
        shutil.rmtree(place, ignore_errors=True)
    elif not as_json:
        say(f"  everything is in {place}")
    return FAILED if failed else 0


AGENTS = ("langgraph", "langchain_anthropic")
"""The packages that real agents need."""


class Step(Struct, frozen=True, kw_only=True):
    """A command of a check, of orchestra or of the shell, and the exit code that it has to end with."""

    run: str = ""
    sh: str = ""
    env: dict[str, str] = {}
    code: int = 0
    folder: str = "."

    @property
    def words(self) -> list[str]:
        """The command as it is shown."""
        return ["sh", "-euc", self.sh] if self.sh else ["orchestra", *self.run.split()]

    @property
    def command(self) -> list[str]:
        """The command as it is started."""
        program = [sys.executable, "-m", "orchestra"]
        return [part for word in self.words for part in (program if word == "orchestra" else [word])]


class Check(Struct, frozen=True, kw_only=True):
    """One line of the report: a name, what works if it passes, what it needs, its commands."""

    name: str
    shows: str
    steps: tuple[Step, ...]
    needs: tuple[str, ...] = ()


def checks() -> tuple[Check, ...]:
    """The checks of ``checks.yaml``."""
    text = (files("orchestra.cli") / "commands" / "checks.yaml").read_bytes()
    return msgspec.yaml.decode(text, type=tuple[Check, ...])


LONGEST = 120.0
"""Seconds after which a command of a check counts as stuck."""

LAST_LINES = 6
"""Lines of a failed command's output that are shown."""


class CheckResult(StrEnum):
    """How a check ended."""

    WORKS = "works"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """A check's result: why and at which command it failed, or what is missing and how to install it."""

    name: str
    shows: str
    result: CheckResult
    why: str = ""
    again: str = ""
    fix: str = ""
    duration_ms: int = 0


_PACKAGES = {
    "git": "apt install git",
    "python3": "apt install python3",
    "dot": "apt install graphviz",
    "bwrap": "apt install bubblewrap",
    **dict.fromkeys(AGENTS, "pip install 'orchestra-dot[anthropic]'"),
}
"""What checks may need, programs and modules, and the command that installs it."""


def _choose(names: Sequence[str]) -> list[Check]:
    known = {check.name: check for check in checks()}
    for name in names:
        if name not in known:
            near = nearest(name, known)
            fix = f"did you mean {near!r}?" if near else f"there are: {', '.join(known)}"
            raise ConfigError(f"no check {name!r}", fix=fix)
    return [check for check in known.values() if not names or check.name in names]


def _place(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="orchestra-selftest-"))
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise ConfigError(f"{keep} is not an empty folder", fix="name a new folder")
    return keep.absolute()


def _report(check: Check, folder: Path) -> CheckReport:
    missing = next(_missing(check), None)
    if missing is not None:
        return CheckReport(
            name=check.name,
            shows=check.shows,
            result=CheckResult.SKIPPED,
            why=f"needs {missing.replace('_', '-')}",
            fix=_PACKAGES[missing],
        )
    began = time.monotonic()
    with as_file(files("orchestra") / "examples") as examples:
        shutil.copytree(examples, folder, ignore=shutil.ignore_patterns("__pycache__", ".orchestra"))
    why, again = next((trouble for step in check.steps if (trouble := _trouble(step, folder))), ("", ""))
    return CheckReport(
        name=check.name,
        shows=check.shows,
        result=CheckResult.FAILED if why else CheckResult.WORKS,
        why=why,
        again=again,
        duration_ms=round((time.monotonic() - began) * 1000),
    )


def _missing(check: Check) -> Iterator[str]:
    """What the check needs and is missing, or does not work."""
    for need in check.needs:
        if need in AGENTS:
            if find_spec(need) is None:
                yield need
        elif need == "bwrap":
            if unavailable():
                yield need
        elif shutil.which(need) is None:
            yield need


def _trouble(step: Step, folder: Path) -> tuple[str, str] | None:
    """What went wrong with a command, and how to run it again; None if it ended as expected."""
    shown = " ".join(step.sh.splitlines() if step.sh else step.words)
    again = f"cd {folder / step.folder} && {shown}"
    try:
        done = subprocess.run(
            step.command,
            cwd=folder / step.folder,
            env=_environment(folder) | step.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{shown}: not finished after {LONGEST:.0f} s", again
    if done.returncode == step.code:
        return None
    wanted = f", not {step.code}" if step.code else ""
    last = "\n".join(done.stdout.strip().splitlines()[-LAST_LINES:])
    return f"{shown}: exit code {done.returncode}{wanted}\n{last}", again


def _environment(folder: Path) -> dict[str, str]:
    """The user's environment without settings of Orchestra's and git's; the store is the check's own."""
    own = {
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "ORCHESTRA": sys.executable,
        "NO_COLOR": "1",
    }
    return clean_environment() | own


_SIGNS = {CheckResult.WORKS: "✓", CheckResult.FAILED: "✗", CheckResult.SKIPPED: "·"}


def _say(report: CheckReport) -> None:
    name = f"{report.name:9}"
    first, *more = report.why.splitlines() or [""]
    skipped = f"{report.shows}: {report.why}" if report.result is CheckResult.SKIPPED else report.shows
    words = skipped if report.result is CheckResult.SKIPPED else f"{skipped}  {duration_words(report.duration_ms)}"
    say("\n".join(lay_out(_SIGNS[report.result], name, words, room())))
    if report.result is CheckResult.FAILED:
        for line in (first, *more):
            say(f"    {one_line(line, 400)}")
        say(f"    again: {one_line(report.again, 1000)}")
    elif report.fix:
        say(f"    fix: {report.fix}")


def _say_sum(reports: Sequence[CheckReport], seconds: float) -> None:
    count = {result: sum(report.result is result for report in reports) for result in CheckResult}
    told = [f"{count[CheckResult.WORKS]} of {plural(len(reports), 'check')} passed"]
    told += [f"{count[CheckResult.FAILED]} failed"] if count[CheckResult.FAILED] else []
    told += [f"{count[CheckResult.SKIPPED]} skipped"] if count[CheckResult.SKIPPED] else []
    say(f"{', '.join(told)}  in {duration_words(seconds * 1000)}")


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="A new or empty folder (default: a temporary one).", show_default=False
        ),
    ] = None,
) -> int:
    """Show a team of simulated agents on a scratch repository.

    Two agents work side by side, the runner is killed on purpose and the run is resumed, a person is asked, and the
    merged work is on a branch of its own. No key and no network are needed; git is.
    """
    if shutil.which("git") is None:
        raise ConfigError("the demo needs git", fix="install git")
    place = folder.absolute() if folder is not None else Path(tempfile.mkdtemp(prefix="orchestra-demo-"))
    if place.exists() and any(place.iterdir()):
        raise ConfigError(f"{place} is not empty", fix="name a new folder")
    return _Demo(place).run()


KILLED_AFTER = 60.0
"""Seconds after which a run that does not come as far as its branches counts as stuck."""

IDENTITY = {
    "GIT_AUTHOR_NAME": "You",
    "GIT_AUTHOR_EMAIL": "you@localhost",
    "GIT_COMMITTER_NAME": "You",
    "GIT_COMMITTER_EMAIL": "you@localhost",
}


def clean_environment() -> dict[str, str]:
    """The user's environment without settings of Orchestra's and git's, with a name for commits."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "ORCHESTRA_"))}
    return kept | IDENTITY


class _Demo:
    """The story, step by step; every step is a command of its own process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = clean_environment()

    def run(self) -> int:
        """Run the demo; return 0 if it succeeded."""
        say("== A repository whose test fails. Nothing here needs a key or a network.")
        say(f"in {self._folder}")
        self._repository()
        before = self._state()
        say("\n== Two simulated agents work side by side. Their runner is killed on purpose.")
        self._kill_runner()
        say("\n== Resume: what had finished is not run again. The run then waits for a person.")
        if self._orchestra("resume", "last") != 5:
            return self._fail("the run did not reach its question")
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
        say(f"the demo failed: {why}; see {self._folder}")
        return 1
