"""A command's view of the machine, by bubblewrap: what it may write, read and reach (A36).

The folders of the work are writable, their ``.git`` and the rest of the machine are read-only, the home folders,
``/tmp`` and ``/run`` are empty and private, and no process outside is seen. ``sandbox_command`` turns a command
line into one that runs so; who starts processes calls it and needs to know nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from orchestra.errors import ConfigError

HIDDEN = ("/home", "/root", "/run", "/tmp", "/var/tmp", "/mnt", "/media")
"""Folders that are empty inside, besides the user's home."""

PROTECTED = (".git", ".orchestra")
"""What is not writable in a folder of the work: its history, and what Orchestra records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A policy. ``mode`` is ``none`` or ``bwrap``; ``network`` is ``none`` or ``full``.

    ``write`` are folders that may be written to, ``read`` are files and folders that are shown where they would be
    hidden.
    """

    mode: str = "none"
    network: str = "none"
    write: tuple[Path, ...] = ()
    read: tuple[Path, ...] = ()

    def also(self, *, write: Sequence[Path] = (), read: Sequence[Path] = ()) -> Sandbox:
        """The same with more folders: a call's temporary files, a CLI agent's own settings."""
        return replace(self, write=(*self.write, *write), read=(*self.read, *read))


NO_SANDBOX = Sandbox()
"""Commands run as they are."""


Policy = Callable[[Sequence[Path]], Sandbox]
"""The policy in force for folders that may be written to."""


def no_sandbox(_folders: Sequence[Path]) -> Sandbox:
    """Commands run as they are, whatever their folders."""
    return NO_SANDBOX


def policy(mode: str, network: str, folders: Sequence[Path], read: Sequence[Path] = ()) -> Sandbox:
    """Return the policy for a setting.

    Raises ``ConfigError`` if ``bwrap`` is required and does not work.
    """
    if mode == "none":
        return Sandbox(network="full")
    problem = unavailable()
    if problem and mode == "bwrap":
        raise ConfigError(f"sandbox: bwrap does not work here: {problem}", fix="apt install bubblewrap")
    if problem:
        return Sandbox(network="full")
    return Sandbox(mode="bwrap", network=network, write=tuple(folders), read=tuple(read))


def sandbox_command(argv: Sequence[str], sandbox: Sandbox, folder: Path) -> tuple[str, ...]:
    """The command line that runs ``argv`` in ``folder`` as the policy says."""
    if sandbox.mode == "none":
        return tuple(argv)
    return (
        *("bwrap", "--unshare-all", "--die-with-parent", "--new-session"),
        *(("--share-net",) if sandbox.network == "full" else ()),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *_hide_args(),
        *_bind_args(sandbox),
        *("--chdir", str(folder), "--", *argv),
    )


def _hide_args() -> Iterator[str]:
    """Yield empty folders over private places, also where links lead to them."""
    for place in _private_places():
        if Path(place).is_dir():
            yield from ("--tmpfs", place)


def _private_places() -> list[str]:
    homes = [os.environ.get("HOME", ""), str(Path("~").expanduser())]
    return sorted({os.path.realpath(place) for place in (*HIDDEN, *homes) if place and place != "/"})


def _bind_args(sandbox: Sandbox) -> Iterator[str]:
    """What may be read and written: outer folders first, as a later mount covers what is below it."""
    around = [top for place in sandbox.write for top in _repository_around(place.resolve())]
    for place in (*_runtime(sandbox), *around, *sandbox.read):
        if place.exists():
            yield from ("--ro-bind", str(place.resolve()), str(place.resolve()))
    for place in sorted({one.resolve() for one in sandbox.write}):
        yield from ("--bind", str(place), str(place))
    for place in sorted({one.resolve() for one in sandbox.write}):
        yield from _protect_history(place)


def _runtime(sandbox: Sandbox) -> Iterator[Path]:
    """What names are resolved with, where that is under a hidden folder and there is a network."""
    if sandbox.network == "full":
        resolver = Path("/etc/resolv.conf").resolve()
        if any(resolver.is_relative_to(os.path.realpath(place)) for place in HIDDEN):
            yield resolver


def _repository_around(folder: Path) -> list[Path]:
    """The repository that a folder is inside of, so that git works there; never a home folder."""
    home = Path("~").expanduser()
    tops = [place for place in folder.parents if (place / ".git").exists() and place not in (home, Path("/"))]
    return tops[:1]


def _protect_history(folder: Path) -> Iterator[str]:
    """Read-only binds over the history of a folder, also where ``.git`` only points to it."""
    for name in PROTECTED:
        place = folder / name
        if place.is_dir() or (place.is_file() and not place.is_symlink()):
            yield from ("--ro-bind", str(place), str(place))
    for place in git_folders(folder):
        yield from ("--ro-bind", str(place), str(place))


def git_folders(folder: Path) -> list[Path]:
    """Return where a worktree's history is: the folder that its ``.git`` file names, and the repository's."""
    try:
        text = (folder / ".git").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    if not text.startswith("gitdir:"):
        return []
    own = (folder / text.removeprefix("gitdir:").strip()).resolve()
    if not (own / "HEAD").is_file() or own.is_relative_to(folder):
        return []
    try:
        common = (own / (own / "commondir").read_text(encoding="utf-8").strip()).resolve()
    except (OSError, UnicodeDecodeError):
        common = own
    # a .git file that an agent wrote could name any folder: only what is a repository is shown, and read-only
    return [place for place in dict.fromkeys((common, own)) if (place / "HEAD").is_file()]


def program_files(command: str, path: str | None) -> Iterator[Path]:
    """Return what a sandbox has to show so that a program in a hidden folder can run.

    Its own folder, its virtual environment or package, and the libraries beside it.
    """
    found = shutil.which(command, path=path)
    if found is None:
        return
    for place in dict.fromkeys((Path(found), Path(found).resolve())):
        yield place if str(place.parent.resolve()) in _private_places() else place.parent
        yield from (parent for parent in place.parents if parent.name == "node_modules")
        if (place.parent.parent / "pyvenv.cfg").is_file():
            yield place.parent.parent
        elif place.parent.name == "bin" and (place.parent.parent / "lib").is_dir():
            yield place.parent.parent / "lib"


@cache
def unavailable() -> str:
    """Why bubblewrap does not work here, empty where it does: it is tried, not only looked for."""
    program = shutil.which("bwrap")
    if program is None:
        return "no bwrap found"
    try:
        tried = subprocess.run(
            [program, "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "true"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if tried.returncode == 0 else (tried.stderr.strip() or f"exit code {tried.returncode}")


@dataclass(frozen=True, slots=True)
class Proof:
    """One thing that was tried inside: what, and whether the sandbox held."""

    what: str
    held: bool


def prove(network: str = "none") -> list[Proof]:
    """Try what the policy forbids and what it allows; each with whether the result is right."""
    with tempfile.TemporaryDirectory(prefix="orchestra-sandbox-") as name:
        base = Path(name).resolve()
        inside, outside = base / "inside", base / "outside"
        (inside / ".git").mkdir(parents=True)
        outside.mkdir()
        (outside / "secret").write_text("x", encoding="utf-8")
        sandbox = Sandbox(mode="bwrap", network=network, write=(inside,))
        trials = [
            ("the working folder can be written", "echo x > allowed", True),
            (".git cannot be written", "echo x > .git/config", False),
            ("files outside cannot be read from temporary folders", f"cat '{outside}/secret'", False),
            ("the system cannot be written", "echo x > /usr/orchestra-sandbox-test", False),
            ("the home folder is hidden", 'test -n "$(ls -A "$HOME")"', False),
            ("other processes are hidden", f"kill -0 {os.getpid()}", False),
        ]
        if network == "none":
            trials.append(("no network", 'test -n "$(grep -v lo: /proc/net/dev | grep : )"', False))
        return [Proof(what, _try(script, sandbox, inside) is allowed) for what, script, allowed in trials]


def _try(script: str, sandbox: Sandbox, folder: Path) -> bool:
    argv = sandbox_command(("/bin/sh", "-c", script), sandbox, folder)
    done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=20, check=False)
    return done.returncode == 0
