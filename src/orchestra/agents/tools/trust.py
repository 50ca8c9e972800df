"""What of a repository's own the operator has allowed to be run or read: MCP servers, skills.

A repository from elsewhere could name any program. So what it names is used only after ``orchestra trust`` has
shown it, and only as long as it is the same: the command line, and the files of the repository that the command
names.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from orchestra.agents.tools.mcp_client import command_line, repository_servers
from orchestra.agents.tools.settings import ServerSpec
from orchestra.agents.tools.skills import REPOSITORY_FOLDER
from orchestra.errors import ConfigError
from orchestra.processes.sandbox import git_folders

FILE = "trust.json"
_LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RepositoryUse:
    """Something that a repository wants to use: its key, what it would do, and a hash of both.

    The key is ``mcp:name`` or ``skills``.
    """

    key: str
    what: str
    digest: str


def uses_of(folder: Path) -> list[RepositoryUse]:
    """Everything that a repository's own files name. Raises ``ConfigError`` where they cannot be read."""
    found = [
        RepositoryUse(f"mcp:{spec.name}", _describe(spec), _server_digest(spec, folder))
        for spec in repository_servers(folder).values()
    ]
    skills = folder / REPOSITORY_FOLDER
    if skills.is_dir():
        names = ", ".join(sorted(one.parent.name for one in skills.glob("*/SKILL.md"))) or "none"
        found.append(RepositoryUse("skills", f"{skills}: {names}", _folder_digest(skills)))
    return found


def _describe(spec: ServerSpec) -> str:
    variables = "".join(f" {name}={value}" for name, value in spec.environment.items())
    return command_line(spec) + (f" with{variables}" if variables else "")


def _server_digest(spec: ServerSpec, folder: Path) -> str:
    hashed = sha256()
    hashed.update(
        json.dumps(
            [spec.command, spec.arguments, sorted(spec.environment.items()), spec.url, sorted(spec.headers.items())]
        ).encode()
    )
    for word in (spec.command, *spec.arguments):
        file = folder / word
        if word and file.is_file() and file.resolve().is_relative_to(folder.resolve()):
            hashed.update(_content(file))
    return hashed.hexdigest()


def _folder_digest(folder: Path) -> str:
    hashed = sha256()
    for file in sorted(_files(folder)):
        hashed.update(json.dumps(str(file.relative_to(folder))).encode())
        hashed.update(_content(file))
    return hashed.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for here, _folders, names in os.walk(folder):
        yield from (Path(here) / name for name in names)


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > _LARGEST:
            raise ConfigError(f"{file} is too large to be trusted")
        return sha256(file.read_bytes()).digest()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Trust:
    """What was allowed, kept in a file of the user's state folder that no sandbox shows."""

    state: Path

    def _all(self) -> dict[str, dict[str, str]]:
        file = self.state / FILE
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file} cannot be read: {error}", fix=f"rm {file}") from error
        return said if isinstance(said, dict) else {}

    def allows(self, folder: Path, wanted: RepositoryUse) -> bool:
        """Whether it was allowed, as it is now; a worktree has what its repository was allowed."""
        repository = [place.parent for place in git_folders(folder)[:1] if place.name == ".git"]
        known = self._all()
        allowed = (known.get(str(place), {}) for place in (folder.resolve(), *repository))
        return any(one.get(wanted.key) == wanted.digest for one in allowed)

    def allow(self, folder: Path, wanted: list[RepositoryUse]) -> None:
        """Allow exactly this of a repository, and nothing else of it."""
        everything = self._all()
        everything[str(folder.resolve())] = {one.key: one.digest for one in wanted}
        self._store(everything)

    def revoke(self, folder: Path) -> bool:
        """Revoke everything that was allowed of a repository; return whether anything was."""
        everything = self._all()
        had = everything.pop(str(folder.resolve()), None) is not None
        if had:
            self._store(everything)
        return had

    def _store(self, everything: dict[str, dict[str, str]]) -> None:
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self.state / f".{FILE}-{secrets.token_hex(6)}"
        new.write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
        new.chmod(0o600)
        new.replace(self.state / FILE)
