"""The ``workspace`` section of ``orchestra.yaml``: the repositories of a run (workspace.md)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from orchestra.config.model import RepoSection, WorkspaceSection
from orchestra.config.yaml import Document
from orchestra.config.yaml import Path as Keys
from orchestra.errors import ConfigError

BRANCH_PREFIX = "orchestra/"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoSettings:
    """One repository.

    ``path`` is absolute; ``push`` is never, on_completion or on_checkpoint; depth 0 is the whole history.

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
    """All repositories; commands run in the first. ``home`` is the ``.orchestra`` folder of worktrees.

    ``folder`` is where they run without repositories; None for the pipeline's folder.
    """

    home: Path
    folder: Path | None = None
    repos: tuple[RepoSettings, ...] = ()
    commit_messages: str = "template"


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def workspace_of(section: WorkspaceSection, document: Document, folder: Path) -> WorkspaceSettings:
    """The workspace that a settings file describes, checked further; ``folder`` holds the file.

    Paths are relative to it. Raises ``ConfigError`` with the place of the fault.
    """
    folder = folder.absolute()
    repos = tuple(_repo(document, name, repo, folder) for name, repo in section.repos.items())
    return WorkspaceSettings(
        home=project_folder(folder) / ".orchestra",
        folder=_folder(section, document, folder) if section.folder else None,
        repos=repos,
        commit_messages=section.commit_messages,
    )


def project_folder(folder: Path) -> Path:
    """Return the folder of the project: for one in a session's worktree, the folder whose worktree it is."""
    homes = [
        above.parent for above in folder.parents if above.name == "worktrees" and above.parent.name == ".orchestra"
    ]
    return homes[-1].parent if homes else folder


def _folder(section: WorkspaceSection, document: Document, folder: Path) -> Path:
    found = Path(os.path.normpath(folder / Path(section.folder).expanduser()))
    problem = "" if os.path.isdir(found) else f"{found} is not a folder"  # noqa: PTH112
    if section.repos:
        problem = "a run with repositories works in their worktrees, not in a folder"
    if problem:
        path = ("workspace", "folder")
        raise ConfigError(f"workspace.folder: {problem}", span=document.span(path), fix="name another or remove it")
    return found


def _repo(document: Document, name: str, repo: RepoSection, folder: Path) -> RepoSettings:
    here = ("workspace", "repos", name)
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a valid repository name",
            span=document.key_span(here),
            fix="use letters, digits and _ . -",
        )
    push = repo.push or ("on_completion" if repo.remote else "never")
    if push != "never" and not repo.remote:
        raise ConfigError(
            f"{'.'.join(here)}: push needs a remote",
            span=document.span((*here, "push")),
            fix="add `remote: URL`, or write `push: never`",
        )
    for key in ("setup_key", "copy", "link"):
        for index, item in enumerate(getattr(repo, key)):
            _inside(document, item, (*here, key, index))
    return RepoSettings(
        name=name,
        path=Path(os.path.normpath(folder / Path(repo.path).expanduser())),
        branch_prefix=f"{repo.branch_prefix.strip('/')}/" if repo.branch_prefix.strip("/") else "",
        remote=repo.remote,
        push=push,
        clone_depth=repo.clone_depth or 0,
        in_place=repo.in_place,
        setup=repo.setup,
        setup_key=repo.setup_key,
        copy=repo.copy,
        link=repo.link,
        filters=repo.filters,
    )


def _inside(document: Document, item: str, path: Keys) -> None:
    """Refuse a path that leads out of the repository."""
    if Path(item).is_absolute() or ".." in Path(item).parts or Path(item).parts[:1] == (".git",):
        where = ".".join(map(str, path[:-1]))
        raise ConfigError(f"{where}: {item} is not a path inside the repository", span=document.span(path))
