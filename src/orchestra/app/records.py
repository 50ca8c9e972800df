"""Records of sessions that ended long ago: listed, and taken out of a folder's store into files (W11).

A session goes together with what it restarted as and with its children. Each is written to a file first, from which
``orchestra import`` brings it back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestra.app.archives import export_session
from orchestra.app.workspaces import own_environment
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.cxdb.embedded.pruning import PruneResult
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.engine.archives import COMING_ALONG
from orchestra.engine.gaps import own_branches
from orchestra.engine.sessions import Row, rows, summarize
from orchestra.errors import ConfigError, Damaged
from orchestra.graph.report import duration_words
from orchestra.ports import Store
from orchestra.run.views import ENDED, Phase
from orchestra.workspace import cleanup
from orchestra.workspace.ending import TRASH_DAYS
from orchestra.workspace.repos import locate

FOLDER = Path("orchestra", "removed")
"""Where the files are, below the store's folder."""

SUFFIX = ".orchestra"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """A session with its children and predecessors; ``kept`` says why it stays, ``file`` is where it went."""

    session: str
    pipeline: str
    rows: tuple[Row, ...]
    age_ms: int
    kept: str = ""
    file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What was found, what became free, and the files that were deleted because they were old."""

    records: Sequence[SessionRecord]
    pruned: PruneResult | None = None
    expired: Sequence[Path] = ()


async def clean_records(settings: Settings, *, older_ms: int, remove: bool) -> Removal:
    """List the records of ended sessions, and take out what may go where ``remove`` is set.

    Raises ``ConfigError`` for a store that is no folder, ``SessionTaken`` while any session is running.
    """
    if settings.store is None or settings.server is not None:
        raise ConfigError(
            "records can only be removed from a store in a folder", fix="name one: --store DIR, without cxdb.url"
        )
    if not settings.store.exists():
        return Removal(records=())
    store = EmbeddedStore.open(settings.store, read_only=not remove)
    try:
        found = await _find_records(store, settings, older_ms)
        going = [record for record in found if not record.kept]
        if not remove or not going:
            return Removal(records=found, expired=_delete_expired(settings.store) if remove else ())
        exported = {record.session: await _export(store, settings.store, record) for record in going}
        found = [exported.get(record.session, record) for record in found]
        gone = [record for record in exported.values() if not record.kept]
        contexts: set[int] = set()
        for record in gone:
            for row in record.rows:
                contexts |= {row.context_id, row.mailbox, *await own_branches(store, row.context_id)}
        pruned = await store.prune(contexts) if gone else None
    finally:
        await store.close()
    return Removal(records=found, pruned=pruned, expired=_delete_expired(settings.store))


async def _find_records(store: Store, settings: Settings, older_ms: int) -> list[SessionRecord]:
    listed = await rows(store)
    known = {row.context_id: row for row in listed}
    families: dict[int, list[Row]] = {}
    for row in listed:
        families.setdefault(_first(row, known).context_id, []).append(row)
    left = await _sessions_in_git(settings)
    now = SystemClock().now_ms()
    found = []
    for context, family in families.items():
        record = SessionRecord(
            session=known[context].session, pipeline=known[context].pipeline, rows=tuple(family), age_ms=0
        )
        try:
            ends = [await summarize(store, row, now) for row in family]
        except Damaged as error:
            found.append(replace(record, kept=_unreadable(error)))
            continue
        age = now - max(one.last_ms for one in ends)
        going_on = next((one.phase for one in ends if one.phase not in ENDED | {Phase.RESTARTED}), None)
        if going_on is not None:
            kept = f"the session is {going_on}"
        elif age < older_ms:
            kept = f"it ended {duration_words(age)} ago"
        else:
            kept = _reason_to_keep(family, listed, left)
        found.append(replace(record, age_ms=age, kept=kept))
    return found


def _unreadable(error: Damaged) -> str:
    return f"its record is damaged: {error.message}"


def _first(row: Row, known: Mapping[int, Row]) -> Row:
    """The session that a row belongs to: what it restarted from, or its parent."""
    seen = {row.context_id}
    while row.why in COMING_ALONG and row.parent in known and row.parent not in seen:
        row = known[row.parent]
        seen.add(row.context_id)
    return row


def _reason_to_keep(family: Sequence[Row], listed: Sequence[Row], left: Mapping[str, str]) -> str:
    """Why the record of an ended session has to stay: something else needs it."""
    own = {row.context_id for row in family}
    if any(row.mirror_of for row in family):
        return "it is a mirror's"
    replayed = next((row for row in listed if row.parent in own and row.context_id not in own), None)
    if replayed is not None:
        return f"session {replayed.session} was replayed from it"
    return next((left[row.session] for row in family if row.session in left), "")


async def _sessions_in_git(settings: Settings) -> dict[str, str]:
    """The sessions that have branches or worktrees, with what is said of them."""
    found: dict[str, str] = {}
    for repo in settings.workspace.repos if settings.workspace is not None else ():
        try:
            git = await locate(repo, own_environment())
        except ConfigError:
            continue
        assert settings.workspace is not None
        for left in await cleanup.find_left(git, repo.name, repo.branch_prefix, settings.workspace.home):
            found[left.session] = (
                f"it has branches or worktrees in {repo.name}; remove them first: orchestra cleanup"
            )
    return found


async def _export(store: Store, place: Path, record: SessionRecord) -> SessionRecord:
    """The record in a file, durably, before anything is taken out of the store; a damaged one is kept."""
    folder = place / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{record.session}{SUFFIX}"
    try:
        await export_session(store, record.session, file)
    except Damaged as error:
        return replace(record, kept=_unreadable(error))
    for path in (file, folder):
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    return replace(record, file=file)


def _delete_expired(place: Path) -> list[Path]:
    """Delete the files of what was removed long ago."""
    oldest = time.time() - TRASH_DAYS * 86400
    gone = [file for file in sorted((place / FOLDER).glob(f"*{SUFFIX}")) if file.stat().st_mtime < oldest]
    for file in gone:
        file.unlink(missing_ok=True)
    return gone
