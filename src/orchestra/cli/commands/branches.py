"""``orchestra merge``, ``discard``, ``cleanup``, ``compare`` and ``pr``: the branches that runs left."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, TypeAlias

import typer

from orchestra.app import git_branches
from orchestra.app.cleaning import Item, clean
from orchestra.app.comparing import SessionComparison, Side, compare_two
from orchestra.app.pulls import Pull, pulls
from orchestra.app.records import Removal, clean_records
from orchestra.cli.stores import OutputOptions, Session, StoreAccess, StoreOptions, exists
from orchestra.cli.terminal import many_lines, one_line, say, say_json, say_wrapped, table
from orchestra.config.settings import Settings
from orchestra.engine.sessions import find
from orchestra.errors import ConfigError
from orchestra.graph.report import dollars, duration_words, plural
from orchestra.ports import Store
from orchestra.workspace.ending import GitAction
from orchestra.workspace.repos import shell_path


def merge(
    session: Session,
    force: Annotated[bool, typer.Option("--force", help="Also merge a session that did not complete.")] = False,
    *,
    options: OutputOptions,
) -> int:
    """Merge a session's branch into the branch that is checked out in its repository.

    Refused, with nothing changed, for a session that did not complete, a checkout with uncommitted changes, and
    conflicts.
    """
    return _perform(partial(git_branches.merge, force=force), session, options)


def discard(session: Session, *, options: OutputOptions) -> int:
    """Remove a session's branches and worktrees; they can be brought back for 14 days."""
    return _perform(git_branches.discard, session, options)


def cleanup(
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than",
            metavar="TIME",
            help="Only sessions that ended longer ago than this: 12h, 7d, 0 (default: 7d; with --sessions 90d).",
            show_default=False,
        ),
    ] = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove; without it, only list what would be removed.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also remove branches that are not merged anywhere.")
    ] = False,
    sessions: Annotated[
        bool, typer.Option("--sessions", help="Remove session records instead of branches and worktrees.")
    ] = False,
    *,
    options: OutputOptions,
) -> int:
    """List the branches and worktrees of ended sessions, and remove them with --yes.

    Running, paused and waiting sessions and unmerged or uncommitted work are kept, each with its reason. What was
    removed can be brought back for 14 days. --sessions removes the records of sessions instead, if the store is a
    folder.
    """
    older_ms = _age(older_than or ("90d" if sessions else "7d"))
    again = f" --older-than {older_than}" if older_than else ""
    if not sessions:
        return _clean_branches(options, older_ms, again, yes=yes, force=force)
    if force:
        raise ConfigError("--force is for branches; no record is removed that something needs")
    return _clean_records(options, older_ms, again, yes=yes)


def compare(first: Session, second: Session, *, options: OutputOptions) -> int:
    """Compare two sessions: outcome, nodes, cost, and how their code differs."""
    at = options.access()
    found = at.read(lambda store: compare_two(store, at.settings, first, second), first)
    if options.as_json:
        say_json(found.plain(), indent=2)
        return 0
    for line in _side_by_side(found):
        say(line)
    return 0


def pr(
    session: Session,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the text; push nothing and create nothing.")
    ] = False,
    *,
    options: StoreOptions,
) -> int:
    """Push a session's branch and open a pull request with gh, or print its title and text.

    The text comes from the record: goal, nodes, verdicts, cost. Ends with 1 if gh fails.
    """
    at = options.access()
    found = at.write(lambda store: pulls(store, at.settings, session, push=not dry_run), session)
    for pull in found:
        for line in _pr_lines(pull):
            say(line)
    return int(any(pull.refused for pull in found))


Doing: TypeAlias = Callable[[Store, Settings, str], Awaitable[list[GitAction]]]
"""Changes the branches of a session."""


def _perform(act: Doing, session: str, options: OutputOptions) -> int:
    """Change the branches of a session, and say what was done and how to undo it."""
    at = options.access()

    async def perform(store: Store) -> tuple[str, list[GitAction]]:
        return (await find(store, session)).session, await act(store, at.settings, session)

    name, done = at.write(perform, session)
    if options.as_json:
        say_json({"session": name, "done": [asdict(one) for one in done]}, indent=2)
        return 0
    for one in done:
        say_wrapped(f"{one.repo}: {one.text}")
    for number, command in enumerate(command for one in done for command in one.undo):
        say(f"  {'     ' if number else 'undo:'} {command}")
    return 0


_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([dhm]?)")
_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "": 86_400_000}


def _age(older_than: str) -> int:
    match = _AGE.fullmatch(older_than)
    if match is None:
        raise ConfigError(f"{older_than!r} is not a length of time", fix="write it as 7d, 12h or 30m")
    return round(float(match[1]) * _MS[match[2]])


def _clean_branches(options: OutputOptions, older_ms: int, again: str, *, yes: bool, force: bool) -> int:
    """List what runs left, and with ``yes`` remove what may be removed."""
    at = options.access()
    open_ = partial(at.write, create=True) if yes or not exists(at.settings) else at.read
    items, expired = open_(lambda store: clean(store, at.settings, older_ms=older_ms, remove=yes, force=force))
    if options.as_json:
        say_json({"removed": yes, "items": [_plain(item) for item in items], "expired": expired}, indent=2)
        return 0
    for item in items:
        for line in _lines(item, yes):
            say_wrapped(line, " " * 10)
    removed = sum(not item.kept for item in items)
    _say_removed(removed, len(items) - removed, f"{again}{' --force' if force else ''}", yes=yes)
    return 0


def _clean_records(options: OutputOptions, older_ms: int, again: str, *, yes: bool) -> int:
    """List the records of ended sessions, and with ``yes`` remove those that may be removed."""
    at = options.access()
    done = _records(at, older_ms, yes)
    if options.as_json:
        say_json(_records_plain(done), indent=2)
        return 0
    for record in done.records:
        more = f" and {plural(len(record.rows) - 1, 'session')} of it" if len(record.rows) > 1 else ""
        name = f"{record.session}  {record.pipeline}{more}"
        if record.kept:
            say_wrapped(f"keep    {name}: {record.kept}")
        else:
            say_wrapped(f"{'removed' if yes else 'remove '} {name}: ended {duration_words(record.age_ms)} ago")
        if record.file is not None:
            say(f"          undo: orchestra import{at.aim} {shell_path(record.file)}")
    removed = sum(not record.kept for record in done.records)
    freed = f", {done.pruned.freed / 1_048_576:.1f} MiB freed" if done.pruned is not None else ""
    _say_removed(removed, len(done.records) - removed, f" --sessions{at.aim}{again}", yes=yes, more=freed)
    return 0


def _records(at: StoreAccess, older_ms: int, yes: bool) -> Removal:
    with at.aiming():
        return asyncio.run(clean_records(at.settings, older_ms=older_ms, remove=yes))


def _say_removed(removed: int, kept: int, options: str, *, yes: bool, more: str = "") -> None:
    say(f"{plural(removed, 'session')} {'removed' if yes else 'to remove'}, {kept} kept{more}")
    if removed and not yes:
        say(f"  remove: orchestra cleanup{options} --yes")


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


def _side_by_side(found: SessionComparison) -> list[str]:
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
    lines = table(rows)
    for repo, stat in found.differences.items():
        lines.append(f"difference in {repo}: {stat or 'none'}")
        if stat and repo in found.commands:
            lines.append(f"  see: {found.commands[repo]}")
    return lines


def _cost(side: Side) -> str:
    return dollars(side.cost_micros, 4) if side.cost_micros else "-"


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
