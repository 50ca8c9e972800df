"""Run the ``git`` program on one repository, safe from its surroundings (W12).

Git directory and work tree are named in every call, so that neither a ``.git`` pointer that an agent wrote nor
``GIT_DIR`` in the user's shell leads elsewhere. Hooks, fsmonitor, pager, editor, signing and prompts are off.
Filters and merge drivers count only where the user's own or the system's configuration defines them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestra.errors import WorkspaceError
from orchestra.processes.git import SETTINGS, surroundings

OLDEST = (2, 38)
"""The oldest git that has ``merge-tree --write-tree``."""

TEXT_MERGE = "git merge-file --marker-size=%L %A %O %B"
"""The replacement of an untrusted merge driver: git's own text merge."""

LFS: Mapping[str, str] = {
    "filter.lfs.clean": "git-lfs clean -- %f",
    "filter.lfs.smudge": "git-lfs smudge -- %f",
    "filter.lfs.process": "git-lfs filter-process",
    "filter.lfs.required": "true",
}
"""What ``git lfs install --local`` writes into a repository's own configuration: trusted as it is."""

_NAMED = re.compile(
    r"(filter|merge|diff)\.(.+)\.(clean|smudge|process|required|driver|textconv|command)", re.DOTALL
)
_PLAIN = ("core.sshcommand", "core.gitproxy", "core.askpass", "credential.helper", "gpg.program")
_OWN = ("local", "worktree")


@dataclass(frozen=True, slots=True)
class GitResult:
    """How a call ended: exit code, standard output, standard error."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text, without the line break at its end."""
        return os.fsdecode(self.out).removesuffix("\n")

    @property
    def items(self) -> list[str]:
        """The fields of an output that ``-z`` separated."""
        return [os.fsdecode(item) for item in self.out.split(b"\0") if item]


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """How git is called on one work tree, or on a git directory alone.

    ``environment`` is the process's without provider keys; ``trusted`` names filters and drivers of the
    repository's own configuration that the operator allows. ``calls`` counts the processes started.
    """

    git_dir: Path
    common: Path
    work_tree: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    trusted: tuple[str, ...] = ()
    calls: list[str] = field(default_factory=list)

    def at(self, git_dir: Path, work_tree: Path) -> Git:
        """The same repository from another of its work trees."""
        return replace(self, git_dir=git_dir, work_tree=work_tree)

    async def run(
        self,
        *arguments: str | Path,
        given: bytes = b"",
        check: bool = True,
        more: Mapping[str, str] | None = None,
        guarded: bool = True,
        network: bool = False,
    ) -> GitResult:
        """Run git to its end. Raises ``WorkspaceError`` with what it said where it fails and ``check`` is set."""
        settings = dict(SETTINGS)
        if guarded:
            settings.update(await self.overrides())
        environment = surroundings(self.environment, settings, network=network)
        environment["GIT_DIR"] = str(self.git_dir)
        if self.work_tree is not None:
            environment["GIT_WORK_TREE"] = str(self.work_tree)
        environment.update(more or {})
        self.calls.append(str(arguments[0]))
        folder = self.work_tree if self.work_tree is not None and self.work_tree.is_dir() else self.common
        done = await call(arguments, environment=environment, folder=folder, given=given, kill=network)
        if check and done.code:
            raise WorkspaceError(failure(arguments, done))
        return done

    async def ok(self, *arguments: str | Path) -> bool:
        """Whether git exits with 0."""
        return (await self.run(*arguments, check=False)).code == 0

    async def has_commit(self, commit: str) -> bool:
        """Whether a commit is in the repository."""
        return await self.ok("cat-file", "-e", f"{commit}^{{commit}}")

    async def overrides(self) -> dict[str, str]:
        """Settings that keep commands of the repository's own configuration from being run."""
        files = (self.common / "config", self.git_dir / "config.worktree")
        key = (str(self.common), str(self.git_dir), *map(_stamp, files))
        known = _OVERRIDES.get(key)
        if known is None:
            own, others = await self.own_configuration()
            known = _guard(own, others, self.trusted)
            if not any(name.startswith(("include.", "includeif.")) for name in own):
                _OVERRIDES[key] = known
        return known

    async def own_configuration(self) -> tuple[dict[str, str], dict[str, str]]:
        """What the repository's own files set, and what the user's and the system's do."""
        environment = surroundings(self.environment, SETTINGS)
        environment["GIT_DIR"] = str(self.git_dir)
        self.calls.append("config")
        done = await call(
            ("config", "--list", "--show-scope", "--includes", "-z"), environment=environment, folder=self.common
        )
        if done.code:
            raise WorkspaceError(failure(("config", "--list"), done))
        own: dict[str, str] = {}
        others: dict[str, str] = {}
        fields = os.fsdecode(done.out).split("\0")
        for scope, entry in zip(fields[::2], fields[1::2], strict=False):
            name, _, value = entry.partition("\n")
            if scope in _OWN:
                own[name] = value
            elif scope != "command":
                others[name] = value
        return own, others


_OVERRIDES: dict[tuple[object, ...], dict[str, str]] = {}
"""What was found for a configuration, by where it is and how its files stand: a cache, not state."""


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _guard(own: Mapping[str, str], others: Mapping[str, str], trusted: tuple[str, ...]) -> dict[str, str]:
    """Return settings that override the repository's own commands by the user's, or by nothing."""
    found: dict[str, str] = {}
    for name, value in own.items():
        match = _NAMED.fullmatch(name)
        if match is None:
            if name in _PLAIN:
                found[name] = others.get(name, "")
            continue
        kind, driver, what = match.groups()
        if driver in trusted or LFS.get(name) == value:
            continue
        prefix = f"{kind}.{driver}"
        if kind == "filter":
            for part in ("clean", "smudge", "process"):
                found[f"{prefix}.{part}"] = others.get(f"{prefix}.{part}", "")
            found[f"{prefix}.required"] = others.get(f"{prefix}.required", "false")
        elif what == "driver":
            found[name] = others.get(name, TEXT_MERGE)
        else:
            found[name] = others.get(name, "")
    return found


def untrusted_filters(own: Mapping[str, str], trusted: tuple[str, ...]) -> list[str]:
    """Return filters that only the repository's own configuration defines and that were not allowed."""
    found = []
    for name, value in own.items():
        match = _NAMED.fullmatch(name)
        if match is None or match[1] != "filter" or match[3] == "required":
            continue
        if value and match[2] not in trusted and LFS.get(name) != value:
            found.append(match[2])
    return sorted(set(found))


async def call(
    arguments: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    folder: Path,
    given: bytes = b"",
    kill: bool = False,
) -> GitResult:
    """Run git to its end, also if this task is cancelled: an aborted call would leave a lock.

    With ``kill`` it ends with the task: it waits for a remote.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            "git",
            *map(str, arguments),
            cwd=folder,
            env=dict(environment),
            stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise WorkspaceError("no git found: a workspace needs the git program, version 2.38 or newer") from error
    ending = asyncio.ensure_future(process.communicate(given or None))
    try:
        out, err = await asyncio.shield(ending)
    except asyncio.CancelledError:
        if kill:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(asyncio.CancelledError):
            await ending
        raise
    return GitResult(process.returncode or 0, out, err.decode("utf-8", "replace"))


def failure(arguments: Sequence[str | Path], done: GitResult) -> str:
    """What a failed call is reported as: the command, and what git said last."""
    lines = [line.strip() for line in done.err.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines[-1:]
    words = "; ".join(line.removeprefix("fatal: ").removeprefix("error: ") for line in said[:3])
    return f"git {arguments[0]} failed: {words or f'exit code {done.code}'}"


async def version(environment: Mapping[str, str]) -> tuple[int, ...]:
    """The version of the git program. Raises ``WorkspaceError`` where it is missing or too old."""
    done = await call(("version",), environment=surroundings(environment, {}), folder=Path("/"))
    found = re.search(r"(\d+)\.(\d+)", done.text)
    number = tuple(map(int, found.groups())) if found else (0, 0)
    if number < OLDEST:
        raise WorkspaceError(f"git {done.text.removeprefix('git version ')} is too old: 2.38 or newer is needed")
    return number


_NO_COMMIT = re.compile(r"error: '(.*?)/?' does not have a commit checked out")
_GITLINK = "160000"


async def stage_all(git: Git) -> tuple[list[str], str]:
    """Stage all changes; the nested repositories without a commit, which are left out, and any other error."""
    arguments = ("add", "--all", "--sparse", "--ignore-errors", "--", ".")
    done = await git.run(*arguments, check=False)
    errors = [line for line in done.err.splitlines() if line.startswith("error:")]
    nested = [found[1] for line in errors if (found := _NO_COMMIT.match(line))]
    return nested, failure(arguments, done) if done.code and len(nested) < max(1, len(errors)) else ""


def changes_of(items: Sequence[str]) -> list[tuple[str, str]]:
    """The paths of a raw difference, with the mode of new ones, else empty."""
    return [
        (path, head.split(" ")[1] if head.startswith(":000000") else "")
        for head, path in zip(items[::2], items[1::2], strict=True)
    ]


def new_repositories(changes: Sequence[tuple[str, str]]) -> list[str]:
    """Nested repositories that were staged: a commit would not contain their files."""
    return [name for name, mode in changes if mode == _GITLINK]


async def unstage(git: Git, names: Sequence[str]) -> None:
    """Put paths of the index back to what the commit has."""
    given = list_bytes(names)
    await git.run("reset", "--quiet", "--pathspec-from-file=-", "--pathspec-file-nul", given=given)


def list_bytes(names: Sequence[str]) -> bytes:
    """Paths as git reads them from its input."""
    return b"".join(os.fsencode(name) + b"\0" for name in names)
