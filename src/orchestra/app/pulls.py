"""Pull requests from sessions: the branch pushed, the text made from the record."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestra.app.code import code_of
from orchestra.app.comparing import side_of
from orchestra.app.workspaces import own_environment
from orchestra.config.settings import Settings
from orchestra.errors import ConfigError, WorkspaceError
from orchestra.ports import Store
from orchestra.run.secrets import Redactor
from orchestra.run.state import RunState
from orchestra.workspace import remote
from orchestra.workspace.ending import SessionBranches, diffstat

TITLE = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """A pull request: pushed or not, created (its address) or to be created by hand."""

    repo: str
    branch: str
    into: str
    remote: str
    title: str
    body: str
    pushed: bool = False
    created: str = ""
    note: str = ""


async def pulls(store: Store, settings: Settings, name: str, *, push: bool) -> list[Pull]:
    """One pull request per repository that the session changed. Raises ``ConfigError`` and ``WorkspaceError``."""
    code = await code_of(store, settings, name)
    redactor = Redactor(settings.secrets)
    found = []
    for repo in code.repos:
        if not repo.tip or repo.tip == repo.base:
            continue
        body = redactor.text(await _body(code.state, repo))
        title = redactor.text(_title(code.state))
        url = await _remote_of(repo)
        into = repo.base_branch or "main"
        pull = Pull(repo=repo.repo, branch=repo.own, into=into, remote=url, title=title, body=body)
        found.append(await _made(repo, pull) if push else pull)
    if not found:
        raise ConfigError(f"session {code.row.session} changed nothing that could be pulled")
    return found


async def _remote_of(repo: SessionBranches) -> str:
    url = repo.remote or (await repo.git.run("config", "--get", "remote.origin.url", check=False)).text
    if not url:
        raise ConfigError(
            f"{repo.repo} has no remote to push to", fix=f"add `remote: URL` to workspace.repos.{repo.repo}"
        )
    return url


async def _made(repo: SessionBranches, pull: Pull) -> Pull:
    await remote.push(repo.git, pull.remote, pull.branch)
    fields = {"repo": pull.repo, "branch": pull.branch, "into": pull.into, "remote": pull.remote}
    made = Pull(**fields, title=pull.title, body=pull.body, pushed=True)
    if shutil.which("gh") is None:
        return made
    code, out = await _gh(repo.path, pull)
    if code:
        return Pull(**fields, title=pull.title, body=pull.body, pushed=True, note=f"gh could not create it: {out}")
    return Pull(**fields, title=pull.title, body=pull.body, pushed=True, created=out)


async def _gh(folder: Path, pull: Pull) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *("gh", "pr", "create", "--head", pull.branch, "--base", pull.into, "--title", pull.title),
        *("--body-file", "-"),
        cwd=folder,
        env=own_environment() | {"GH_PROMPT_DISABLED": "1"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(pull.body.encode())
    code = process.returncode or 0
    said = (err if code else out).decode("utf-8", "replace").strip()
    if code and not said:
        raise WorkspaceError(f"gh failed with exit code {code}")
    return code, said.splitlines()[-1] if said else ""


def _title(state: RunState) -> str:
    title = " ".join((state.label or state.goal or state.pipeline).split())
    return title if len(title) <= TITLE else title[: TITLE - 1].rstrip() + "…"


async def _body(state: RunState, repo: SessionBranches) -> str:
    """The text: goal, what was changed, each node with its verdict, cost."""
    side = side_of(state)
    stat = await diffstat(repo.git, repo.base, repo.tip)
    log = await repo.git.run("log", "--reverse", "--no-merges", "--format=- %s", f"{repo.base}..{repo.tip}", "--")
    nodes = "\n".join(f"| {name} | {status} |" for name, status in side.nodes.items())
    goal = f"{state.goal}\n\n" if state.goal else ""
    cost = f", ${side.cost_micros / 1_000_000:.4f}, {side.tokens} tokens" if side.tokens else ""
    return (
        f"{goal}Made by the pipeline `{state.pipeline}` in session `{state.session}`: {side.outcome},"
        f" {side.steps} steps{cost}.\n\n{stat}\n\n### Commits\n\n{log.text}\n\n"
        f"### Nodes\n\n| node | outcome |\n|---|---|\n{nodes}\n"
    )
