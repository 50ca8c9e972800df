"""Pull requests from sessions: the branch pushed, the text made from the record."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestra.app.commits import events_of
from orchestra.app.comparing import side_of
from orchestra.app.git_branches import code_of
from orchestra.app.workspaces import own_environment
from orchestra.config.settings import Settings
from orchestra.errors import ConfigError
from orchestra.graph.report import dollars, plural
from orchestra.graph.substitution import with_values
from orchestra.ports import Store
from orchestra.run.events import (
    Event,
    Recorded,
    StageCompleted,
    StageFailed,
    ToolExecuted,
    ToolStarted,
)
from orchestra.run.secrets import Redactor
from orchestra.run.state import RunState
from orchestra.workspace import remote
from orchestra.workspace.ending import SessionBranches, diffstat

TITLE = 72
SAID = 160
"""Characters of a verdict or a command in the table of nodes."""

GH_SECONDS = 120.0
"""Seconds that gh is waited for."""

_PLACE = re.compile(r"(?:\w[\w+.-]*://)?(?:[^@/\s]+@)?([^/:\s]+)(?::\d+)?[:/]+([^/\s]+/[^/\s]+?)(?:\.git)?/*")
_ADDRESS = re.compile(r"https?://\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """A pull request: pushed or not, created (its address) or to be created by hand, where ``hint`` leads.

    ``into`` is empty where the session did not begin on a branch.
    """

    repo: str
    branch: str
    into: str
    remote: str
    title: str
    body: str
    pushed: bool = False
    created: str = ""
    note: str = ""
    hint: str = ""

    @property
    def refused(self) -> bool:
        """Whether gh was asked to create it and did not."""
        return bool(self.note and not self.created)


async def pulls(store: Store, settings: Settings, name: str, *, push: bool) -> list[Pull]:
    """Return one pull request per repository that the session changed.

    Raises ``ConfigError`` and ``WorkspaceError``.
    """
    code = await code_of(store, settings, name)
    redactor = Redactor(settings.secrets)
    events = [one for _path, one in await events_of(store, code.row.session)]
    found = []
    for repo in code.repos:
        if not repo.tip or repo.tip == await _common(repo):
            continue
        url = await _remote_of(repo)
        if push and not url:
            raise ConfigError(
                f"{repo.repo} has no remote to push to", fix=f"add `remote: URL` to workspace.repos.{repo.repo}"
            )
        pull = Pull(
            repo=repo.repo,
            branch=repo.own,
            into=repo.base_branch,
            remote=remote.without_credentials(url),
            title=redactor.text(_title(code.state)),
            body=redactor.text(await _body(code.state, repo, events)),
        )
        found.append(await _record_pull(repo, pull, url) if push else pull)
    if not found:
        for repo in code.repos:
            if repo.tip not in ("", repo.base):
                raise ConfigError(f"{repo.own} is in {repo.base_branch} already; no pull request is needed")
        raise ConfigError(f"session {code.row.session} changed nothing that could be pulled")
    return found


async def _remote_of(repo: SessionBranches) -> str:
    return repo.remote or (await repo.git.run("config", "--get", "remote.origin.url", check=False)).text


async def _record_pull(repo: SessionBranches, pull: Pull, url: str) -> Pull:
    said = await remote.push(repo.git, url, pull.branch)
    pull = replace(pull, pushed=True, hint=next(iter(_ADDRESS.findall(said)), ""))
    place = on_github(url)
    if not place or shutil.which("gh") is None:
        return pull
    code, out = await _gh(repo.path, pull, place)
    address = next(iter(_ADDRESS.findall(out)), "")
    if not code:
        return replace(pull, created=address or out)
    if "already exists" in out and address:
        return replace(pull, created=address, note="it existed already and has the new commits")
    return replace(pull, note=f"gh could not create it: {out or f'exit code {code}'}")


def on_github(url: str) -> str:
    """Return a remote as gh names it, HOST/OWNER/REPO; empty unless it is on GitHub or ``GH_HOST``."""
    match = _PLACE.fullmatch(url)
    host = match[1].lower().removeprefix("ssh.") if match is not None else ""
    if match is None or host not in ("github.com", os.environ.get("GH_HOST", "").lower()):
        return ""
    return f"{host}/{match[2]}"


async def _gh(folder: Path, pull: Pull, place: str) -> tuple[int, str]:
    base = ("--base", pull.into) if pull.into else ()  # without it gh takes the default branch
    process = await asyncio.create_subprocess_exec(
        *("gh", "pr", "create", "--repo", place, "--head", pull.branch, *base),
        *("--title", pull.title, "--body-file", "-"),
        cwd=folder,
        env=own_environment() | {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(GH_SECONDS):
            out, err = await process.communicate(pull.body.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        return 1, f"no answer in {GH_SECONDS:g} s"
    code = process.returncode or 0
    return code, (err if code else out).decode("utf-8", "replace").strip()


def _title(state: RunState) -> str:
    title = " ".join((state.label or state.goal or state.pipeline).split())
    return title if len(title) <= TITLE else title[: TITLE - 1].rstrip() + "…"


async def _body(state: RunState, repo: SessionBranches, events: Sequence[Recorded]) -> str:
    """The text: goal, what was changed, each node with its verdict or the command it ran, cost."""
    side = side_of(state)
    base = await _common(repo)
    stat = await diffstat(repo.git, base, repo.tip)
    log = await repo.git.run("log", "--reverse", "--no-merges", "--format=- %s", f"{base}..{repo.tip}", "--")
    rows = "\n".join(f"| {' | '.join(row)} |" for row in _nodes(one.event for one in events))
    goal = f"{state.goal}\n\n" if state.goal else ""
    cost = f", {dollars(side.cost_micros, 4)}, {plural(side.tokens, 'token')}" if side.tokens else ""
    cost = ", simulated: no model was asked" if state.simulated else cost
    return (
        f"{goal}Made by the pipeline `{state.pipeline}` in session `{state.session}`: {side.outcome},"
        f" {plural(side.steps, 'step')}{cost}.\n\n{stat}\n\n### Commits\n\n{log.text}\n\n"
        f"### Nodes\n\n| node | outcome | verdict or command |\n|---|---|---|\n{rows}\n"
    )


async def _common(repo: SessionBranches) -> str:
    """The commit where the branch left the one that it goes into: a replay brings earlier commits along."""
    into = f"refs/heads/{repo.base_branch}"
    found = await repo.git.run("merge-base", into, repo.tip, check=False) if repo.base_branch else None
    return found.text if found is not None and not found.code else repo.base


def _nodes(events: Iterable[Event]) -> list[tuple[str, str, str]]:
    """Each node that did something, as it ended last: name, outcome, and its verdict or its command; as cells."""
    commands: dict[str, str] = {}
    codes: dict[str, int] = {}
    found: dict[str, tuple[str, str]] = {}
    visits: dict[str, int] = {}
    for event in events:
        match event:
            case ToolStarted():
                command = event.command if isinstance(event.command, str) else event.command.preview
                commands[event.node] = with_values(command, event.values)
            case ToolExecuted():
                codes[event.node] = event.exit_code
            case StageCompleted() | StageFailed() if event.handler not in ("start", "exit", "conditional"):
                visits[event.node] = event.visit
                found[event.node] = _end_of(event, commands, codes)
            case _:
                continue
    return [
        (_cell(node), _cell(outcome + (f" ({visits[node]} visits)" if visits[node] > 1 else "")), said)
        for node, (outcome, said) in found.items()
    ]


def _end_of(
    event: StageCompleted | StageFailed, commands: dict[str, str], codes: dict[str, int]
) -> tuple[str, str]:
    if event.handler == "tool" and event.node in codes:
        outcome = "fail" if isinstance(event, StageFailed) else event.status
        return outcome, f"{_code_cell(commands.get(event.node, ''))}: exit code {codes[event.node]}"
    if isinstance(event, StageFailed):
        return "fail", _cell(event.failure_reason)
    response = event.response if isinstance(event.response, str) else event.response.preview
    return event.word or event.status, _cell(event.preferred_label or event.notes or response)


def _cell(text: str) -> str:
    """Text in one cell of a Markdown table."""
    return _cut(text).replace("\\", "\\\\").replace("|", "\\|")


def _code_cell(text: str) -> str:
    """A command in one cell of a Markdown table: only pipes are escaped in code."""
    line = _cut(text).replace("|", "\\|")
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    pad = " " if len(fence) > 1 else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SAID else line[: SAID - 1].rstrip() + "…"
