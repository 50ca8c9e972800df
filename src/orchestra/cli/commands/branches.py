"""``orchestra merge``, ``discard``, ``cleanup``, ``compare`` and ``pr``: the branches that runs left."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from orchestra.app import code
from orchestra.app.cleaning import Item, clean, days
from orchestra.app.comparing import SessionComparison, Side, compare_two
from orchestra.app.pulls import Pull, pulls
from orchestra.app.records import Removal, clean_records
from orchestra.app.stores import open_store
from orchestra.cli.options import AsJson, Config, Session, StoreOption
from orchestra.cli.stores import aim_commands, exists, hint, reading, settings_for, there
from orchestra.cli.terminal import duration_words, many_lines, one_line, say, say_json
from orchestra.config.settings import Settings
from orchestra.errors import ConfigError, StoreError
from orchestra.graph.report import dollars, plural
from orchestra.ports import Store
from orchestra.workspace.ending import GitAction
from orchestra.workspace.repos import shell_path


def merge(
    session: Session,
    force: Annotated[bool, typer.Option("--force", help="Also merge a session that did not complete.")] = False,
    store: StoreOption = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Merge a session's branch into the branch that is checked out in its repository.

    Refused, with nothing changed, for a session that did not complete, a checkout with uncommitted changes, and
    conflicts.
    """
    raise typer.Exit(merge_session(session, force=force, store=store, config=config, as_json=as_json))


def discard(
    session: Session,
    store: StoreOption = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Remove a session's branches and worktrees; they can be brought back for 14 days."""
    raise typer.Exit(discard_session(session, store=store, config=config, as_json=as_json))


def cleanup(
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="TIME", help="Only sessions that ended so long ago: 7d (default), 12h, 0."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove; without it, only list what would be removed.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also remove branches that are merged nowhere.")] = False,
    sessions: Annotated[
        bool, typer.Option("--sessions", help="Records of ended sessions instead (default: older than 90d).")
    ] = False,
    store: StoreOption = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the branches and worktrees of ended sessions, and remove them with --yes.

    What is running, paused, waiting, unmerged or uncommitted stays, each with its reason. What was removed can be
    brought back for 14 days. With --sessions the records themselves go, from a store in a folder.
    """
    if sessions:
        raise typer.Exit(
            clean_sessions(older_than or "90d", yes=yes, force=force, store=store, config=config, as_json=as_json)
        )
    older_than = older_than or "7d"
    raise typer.Exit(clean_up(older_than, yes=yes, force=force, store=store, config=config, as_json=as_json))


def compare(
    first: Session,
    second: Session,
    store: StoreOption = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Compare two sessions: outcome, nodes, cost, and how their code differs."""
    raise typer.Exit(compare_sessions(first, second, store=store, config=config, as_json=as_json))


def pr(
    session: Session,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the text; push nothing and create nothing.")
    ] = False,
    store: StoreOption = None,
    config: Config = None,
) -> None:
    """Push a session's branch and open a pull request with gh, or print its title and text.

    The text is made from the record: goal, nodes, verdicts, cost.
    """
    raise typer.Exit(pull_request(session, dry_run=dry_run, store=store, config=config))


Doing: TypeAlias = Callable[[Store, Settings, str], Awaitable[list[GitAction]]]


def merge_session(session: str, *, force: bool, store: str | None, config: Path | None, as_json: bool) -> int:
    """Merge, and say what was done and how to undo it."""
    return _perform(partial(code.merge, force=force), session, store=store, config=config, as_json=as_json)


def discard_session(session: str, *, store: str | None, config: Path | None, as_json: bool) -> int:
    """Discard, and say what was removed and how to bring it back."""
    return _perform(code.discard, session, store=store, config=config, as_json=as_json)


def _perform(doing: Doing, session: str, *, store: str | None, config: Path | None, as_json: bool) -> int:
    settings = settings_for(store, config)
    there(settings, session)
    try:
        done = asyncio.run(_with_store(settings, doing, session))
    except StoreError as error:
        error.fix = aim_commands(error.fix, hint(settings, store))
        raise
    if as_json:
        say_json({"session": session, "done": [asdict(one) for one in done]}, indent=2)
        return 0
    for one in done:
        say(f"{one.repo}: {one.text}")
    undo = [command for one in done for command in one.undo]
    for number, command in enumerate(undo):
        say(f"  {'undo:' if not number else '     '} {command}")
    return 0


async def _with_store(settings: Settings, doing: Doing, session: str) -> list[GitAction]:
    store = open_store(settings)
    try:
        return await doing(store, settings, session)
    finally:
        await store.close()


_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([dhm]?)")
_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "": 86_400_000}


def clean_up(
    older_than: str, *, yes: bool, force: bool, store: str | None, config: Path | None, as_json: bool
) -> int:
    """List what runs left, and remove what may go where that is wanted."""
    older_ms = _age(older_than)
    settings = settings_for(store, config)
    items, expired = asyncio.run(_clean(settings, older_ms, yes, force))
    if as_json:
        say_json({"removed": yes, "items": [_plain(item) for item in items], "expired": expired}, indent=2)
        return 0
    for item in items:
        for line in _lines(item, yes):
            say(line)
    going = sum(not item.kept for item in items)
    if yes:
        say(f"{plural(going, 'session')} removed, {len(items) - going} kept")
    else:
        say(f"{plural(going, 'session')} to remove, {len(items) - going} kept")
        if going:
            again = f" --older-than {older_than}" if older_than != "7d" else ""
            say(f"  remove: orchestra cleanup{again}{' --force' if force else ''} --yes")
    return 0


def _age(older_than: str) -> int:
    match = _AGE.fullmatch(older_than)
    if match is None:
        raise ConfigError(f"{older_than!r} is not a length of time", fix="write it as 7d, 12h or 30m")
    return round(float(match[1]) * _MS[match[2]])


def clean_sessions(
    older_than: str, *, yes: bool, force: bool, store: str | None, config: Path | None, as_json: bool
) -> int:
    """List the records of ended sessions, and take out what may go where that is wanted."""
    if force:
        raise ConfigError("--force is for branches; no record is removed that something needs")
    settings = settings_for(store, config)
    done = asyncio.run(clean_records(settings, older_ms=_age(older_than), remove=yes))
    if as_json:
        say_json(_records_plain(done), indent=2)
        return 0
    for record in done.records:
        more = f" and {plural(len(record.rows) - 1, 'session')} of it" if len(record.rows) > 1 else ""
        name = f"{record.session}  {record.pipeline}{more}"
        if record.kept:
            say(f"keep    {name}: {record.kept}")
        else:
            say(f"{'removed' if yes else 'remove '} {name}: ended {days(record.age_ms)} ago")
        if record.file is not None:
            say(f"          undo: orchestra import{hint(settings, store)} {shell_path(record.file)}")
    going = sum(not record.kept for record in done.records)
    if not yes:
        say(f"{plural(going, 'session')} to remove, {len(done.records) - going} kept")
        if going:
            again = f" --older-than {older_than}" if older_than != "90d" else ""
            say(f"  remove: orchestra cleanup --sessions{hint(settings, store)}{again} --yes")
        return 0
    freed = f", {done.pruned.freed / 1_048_576:.1f} MiB freed" if done.pruned is not None else ""
    say(f"{plural(going, 'session')} removed, {len(done.records) - going} kept{freed}")
    return 0


def _records_plain(done: Removal) -> dict[str, object]:
    return {
        "records": [
            {
                "session": record.session,
                "sessions": [row.session for row in record.rows],
                "pipeline": record.pipeline,
                "age_ms": record.age_ms,
                "kept": record.kept,
                "file": str(record.file) if record.file is not None else "",
            }
            for record in done.records
        ],
        "pruned": asdict(done.pruned) if done.pruned is not None else None,
        "expired": [str(file) for file in done.expired],
    }


async def _clean(settings: Settings, older_ms: int, yes: bool, force: bool) -> tuple[list[Item], list[str]]:
    missing = not exists(settings) and not yes
    opened = open_store(settings, read_only=not yes and not missing)
    try:
        return await clean(opened, settings, older_ms=older_ms, remove=yes, force=force)
    finally:
        await opened.close()


def _lines(item: Item, removed: bool) -> list[str]:
    left = item.left
    what = [plural(len(left.branches), "branch", "branches")] if left.branches else []
    what += [plural(len(left.worktrees), "worktree")] if left.worktrees else []
    name = f"{left.session}  {left.repo}  {item.pipeline or '(no record)'}  {', '.join(what)}"
    if item.kept:
        return [f"keep    {name}: {one_line(item.kept, 400)}"]
    undo = [f"          undo: {command}" for one in item.done for command in one.undo]
    return [f"{'removed' if removed else 'remove '} {name}", *undo]


def _plain(item: Item) -> dict[str, object]:
    return {
        "repo": item.left.repo,
        "session": item.left.session,
        "branches": item.left.branches,
        "worktrees": [str(place) for place in item.left.worktrees],
        "kept": item.kept,
        "done": [asdict(one) for one in item.done],
    }


def compare_sessions(first: str, second: str, *, store: str | None, config: Path | None, as_json: bool) -> int:
    """Print two sessions side by side."""
    settings = settings_for(store, config)

    async def look(opened: Store) -> SessionComparison:
        return await compare_two(opened, settings, first, second)

    found = asyncio.run(reading(settings, look, first, flag=store))
    if as_json:
        say_json(found.plain(), indent=2)
        return 0
    for line in _table(found):
        say(line)
    return 0


def _table(found: SessionComparison) -> list[str]:
    left, right = found.left, found.right
    rows = [
        ("", left.session, right.session),
        ("outcome", left.outcome, right.outcome),
        ("steps", str(left.steps), str(right.steps)),
        ("time", duration_words(left.duration_ms), duration_words(right.duration_ms)),
        ("cost", _cost(left), _cost(right)),
        ("tokens", str(left.tokens), str(right.tokens)),
    ]
    rows += [
        (node, left.nodes.get(node, "-"), right.nodes.get(node, "-"))
        for node in dict.fromkeys((*left.nodes, *right.nodes))
    ]
    rows += [
        (f"code: {repo}", left.commits.get(repo, "-")[:10], right.commits.get(repo, "-")[:10])
        for repo in dict.fromkeys((*left.commits, *right.commits))
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows]
    for repo, stat in found.differences.items():
        lines.append(f"difference in {repo}: {stat or 'none'}")
        if stat and repo in found.commands:
            lines.append(f"  see: {found.commands[repo]}")
    return lines


def _cost(side: Side) -> str:
    return dollars(side.cost_micros, 4) if side.cost_micros else "-"


def pull_request(session: str, *, dry_run: bool, store: str | None, config: Path | None) -> int:
    """Push and create, or print what to create."""
    settings = settings_for(store, config)
    there(settings, session)
    try:
        found = asyncio.run(_pulls(settings, session, dry_run))
    except StoreError as error:
        error.fix = aim_commands(error.fix, hint(settings, store))
        raise
    for pull in found:
        for line in _pr_lines(pull):
            say(line)
    return 0


async def _pulls(settings: Settings, session: str, dry_run: bool) -> list[Pull]:
    store = open_store(settings)
    try:
        return await pulls(store, settings, session, push=not dry_run)
    finally:
        await store.close()


def _pr_lines(pull: Pull) -> list[str]:
    note = [f"  {line}" for line in many_lines(pull.note).splitlines()]
    if pull.created:
        return [f"{pull.repo}: {pull.branch} pushed, pull request: {one_line(pull.created, 400)}", *note]
    into = f" into {pull.into}" if pull.into else ""
    did = f"pushed to {pull.remote}; open a pull request{into} with this text"
    would = f"nothing is pushed or created in a dry run; a pull request{into} would have this text"
    return [
        f"{pull.repo}: {pull.branch}{' ' if pull.pushed else ': '}{did if pull.pushed else would}:",
        *note,
        *([f"  open: {one_line(pull.hint, 400)}"] if pull.hint else []),
        "",
        pull.title,
        "",
        *many_lines(pull.body).splitlines(),
    ]
