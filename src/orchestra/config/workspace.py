"""The ``workspace`` section of ``orchestra.yaml``: the repositories that a run works on (workspace.md)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from orchestra.config.yaml import Document
from orchestra.config.yaml import Path as Keys
from orchestra.errors import ConfigError

BRANCH_PREFIX = "orchestra/"
PUSHES = ("never", "on_completion", "on_checkpoint")
MESSAGES = ("template", "auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoSettings:
    """One repository. ``path`` is absolute; ``push`` is one of ``PUSHES``; ``clone_depth`` 0 clones all of it.

    ``filters`` names filters and merge drivers of the repository's own configuration that may be run (W12).
    """

    name: str
    path: Path
    branch_prefix: str = BRANCH_PREFIX
    remote: str = ""
    push: str = "never"
    clone_depth: int = 0
    in_place: bool = False
    setup: str = ""
    setup_key: tuple[str, ...] = ()
    copy: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceSettings:
    """All repositories, the first of which is the one that commands run in; ``home`` is the ``.orchestra`` folder
    that holds the worktrees."""

    home: Path
    repos: tuple[RepoSettings, ...] = ()
    commit_messages: str = "template"


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SECTION = ("repos", "tools", "commit_messages")
_KINDS: Mapping[str, tuple[type, str]] = {
    "path": (str, "a text"),
    "branch_prefix": (str, "a text"),
    "remote": (str, "a text"),
    "push": (str, "a text"),
    "clone_depth": (int, "a number"),
    "in_place": (bool, "true or false"),
    "setup": (str, "a text"),
    "setup_key": (list, "a list of files"),
    "copy": (list, "a list of files and folders"),
    "link": (list, "a list of files and folders"),
    "filters": (list, "a list of names"),
}


def workspace_of(document: Document | None, folder: Path) -> WorkspaceSettings:
    """The workspace that a settings file describes; without repositories where it has no such section.

    ``folder`` holds the file, and paths are relative to it. Raises ``ConfigError`` with the place of the fault.
    """
    data = document.data if document is not None else None
    section = data.get("workspace") if isinstance(data, dict) else None
    home = folder.absolute() / ".orchestra"
    if document is None or section is None:
        return WorkspaceSettings(home=home)
    found = _mapping(document, section, ("workspace",), _SECTION)
    repos = _mapping(document, found.get("repos") or {}, ("workspace", "repos"), None)
    messages = found.get("commit_messages", "template")
    _one_of(document, messages, MESSAGES, ("workspace", "commit_messages"))
    made = tuple(_repo(document, name, repos[name], folder.absolute()) for name in repos)
    return WorkspaceSettings(home=home, repos=made, commit_messages=messages)


def _repo(document: Document, name: str, data: Any, folder: Path) -> RepoSettings:
    here = ("workspace", "repos", name)
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a name for a repository",
            span=document.key_span(here),
            fix="use letters, digits and _ . -",
        )
    found = _mapping(document, data, here, tuple(_KINDS))
    for key, value in found.items():
        kind, wanted = _KINDS[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ConfigError(f"{'.'.join((*here, key))}: expected {wanted}", span=document.span((*here, key)))
        for index, item in enumerate(value if isinstance(value, list) else ()):
            _inside(document, item, (*here, key, index), names=key == "filters")
    if not found.get("path"):
        raise ConfigError(f"{'.'.join(here)} has no path", span=document.key_span(here), fix="add `path: FOLDER`")
    remote = found.get("remote", "")
    push = found.get("push", "on_completion" if remote else "never")
    _one_of(document, push, PUSHES, (*here, "push"))
    if push != "never" and not remote:
        raise ConfigError(
            f"{'.'.join(here)}: push needs a remote",
            span=document.span((*here, "push")),
            fix="add `remote: URL`, or write `push: never`",
        )
    return RepoSettings(
        name=name,
        path=Path(os.path.normpath(folder / Path(found["path"]).expanduser())),
        branch_prefix=found.get("branch_prefix", BRANCH_PREFIX),
        remote=remote,
        push=push,
        clone_depth=max(0, found.get("clone_depth", 0)),
        in_place=found.get("in_place", False),
        setup=found.get("setup", ""),
        **{key: tuple(found.get(key, ())) for key in ("setup_key", "copy", "link", "filters")},
    )


def _inside(document: Document, item: Any, path: Keys, *, names: bool) -> None:
    """Refuse an item that is not a text, or a path that leads out of the repository."""
    where = ".".join(map(str, path[:-1]))
    if not isinstance(item, str) or not item:
        raise ConfigError(f"{where}: expected a text", span=document.span(path))
    if not names and (Path(item).is_absolute() or ".." in Path(item).parts or Path(item).parts[:1] == (".git",)):
        raise ConfigError(f"{where}: {item} is not a path inside the repository", span=document.span(path))


def _mapping(document: Document, data: Any, path: Keys, known: tuple[str, ...] | None) -> dict[str, Any]:
    where = ".".join(map(str, path))
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected keys and values", span=document.span(path))
    for key in data:
        if known is not None and key not in known:
            near = get_close_matches(key, known, n=1)
            fix = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
            raise ConfigError(f"unknown key '{where}.{key}'", span=document.key_span((*path, key)), fix=fix)
    return data


def _one_of(document: Document, value: Any, known: tuple[str, ...], path: Keys) -> None:
    if value not in known:
        where = ".".join(map(str, path))
        raise ConfigError(f"{where}: {value!r} is not one of {', '.join(known)}", span=document.span(path))
