"""Sessions as one file: a zip archive with their turns, their mailboxes and all blobs (S28).

``manifest.json`` says what is in it; ``N.turns`` and ``N.mailbox`` hold a session's turns, ``N.branch.K`` those of
a parallel branch, ``blobs`` the blobs: one record after another, each a msgpack array after its length as four
bytes, big-endian.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from orchestra.app.runs import this_process
from orchestra.clock import SystemClock
from orchestra.cxdb.format.registry import bundle
from orchestra.engine.archives import ArchivedSession, TakenBranch, all_turns, blobs_of, put_in, take_out
from orchestra.engine.sessions import Row
from orchestra.errors import ConfigError
from orchestra.ports import Store, Turn

FORMAT = "orchestra.sessions.v1"
MOST = 256 * 1024 * 1024
"""Bytes above which a record is not believed."""

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,
    KeyError,
    TypeError,
    ValueError,
    EOFError,
    msgspec.MsgspecError,
)
"""What reading a damaged archive raises; ``RuntimeError`` is how zipfile refuses an unknown method or flag."""

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[int, int, int, str, int, int, bytes]).decode


async def export_session(store: Store, name: str, file: Path) -> list[Row]:
    """Write a session and its children and predecessors to a new file. Raises ``ConfigError``."""
    taken = await take_out(store, name, SystemClock().now_ms())
    part = file.with_name(f"{file.name}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("manifest.json", json.dumps(_manifest(taken), indent=2))
            for number, one in enumerate(taken):
                _write(archive, f"{number}.turns", map(_record, one.turns))
                _write(archive, f"{number}.mailbox", map(_record, one.mailbox))
                for place, branch in enumerate(one.branches):
                    _write(archive, f"{number}.branch.{place}", map(_record, branch.turns))
            with archive.open("blobs", "w", force_zip64=True) as out:
                async for data in blobs_of(store, all_turns(taken)):
                    _put(out, _pack(data))
        part.replace(file)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it is not there, or nothing can be written there
            part.unlink()
    return [one.row for one in taken]


async def import_sessions(store: Store, file: Path) -> list[Row]:
    """Import the sessions of a file into a store. Raises ``ConfigError`` for a damaged or foreign file."""
    try:
        with zipfile.ZipFile(file) as archive:
            taken = _read_sessions(archive, file)
            await store.publish_types(*bundle())
            with archive.open("blobs") as blobs:
                for data in _records(blobs):
                    await store.put_blob(msgspec.msgpack.decode(data, type=bytes))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror or error}") from error
    except DAMAGE as error:
        raise ConfigError(f"{file} is damaged or contains no sessions: {error}") from error
    return await put_in(store, taken, SystemClock(), this_process())


def _manifest(taken: list[ArchivedSession]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": this_process().version,
        "sessions": [
            {
                "session": one.row.session,
                "pipeline": one.row.pipeline,
                "title": one.row.title,
                "context": one.row.context_id,
                "mailbox": one.row.mailbox,
                "parent": one.row.parent,
                "why": one.row.why,
                "turns": len(one.turns),
                "holder": one.holder,
                "branches": [
                    {
                        "context": branch.context_id,
                        "parent": branch.parent,
                        "depth": branch.depth,
                        "turns": len(branch.turns),
                    }
                    for branch in one.branches
                ],
            }
            for one in taken
        ],
    }


def _read_sessions(archive: zipfile.ZipFile, file: Path) -> list[ArchivedSession]:
    """Every session in an archive; all of it is read, so that a damaged one leaves nothing behind."""
    manifest = json.loads(archive.read("manifest.json"))
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ConfigError(f"{file} was not written by `orchestra export`, or by a newer version")
    damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} has a wrong checksum")
    found = []
    for number, one in enumerate(manifest["sessions"]):
        turns, mailbox = _turns(archive, f"{number}.turns", one), _turns(archive, f"{number}.mailbox")
        row = Row(
            session=str(one["session"]),
            context_id=int(one["context"]),
            mailbox=int(one["mailbox"]),
            pipeline=str(one["pipeline"]),
            title=str(one["title"]),
            created_ms=0,
            parent=int(one["parent"]),
            why=str(one["why"]),
        )
        found.append(
            ArchivedSession(
                row=row,
                turns=turns,
                mailbox=mailbox,
                holder=str(one.get("holder", "")),
                branches=_branches(archive, number, one),
            )
        )
    return found


def _branches(archive: zipfile.ZipFile, number: int, one: Mapping[str, Any]) -> tuple[TakenBranch, ...]:
    found = []
    for place, branch in enumerate(one.get("branches", ())):
        parent = int(branch["parent"])
        if not -1 <= parent < place:
            raise ValueError("a branch continues a branch that comes later in the file")
        found.append(
            TakenBranch(
                context_id=int(branch["context"]),
                parent=parent,
                depth=int(branch["depth"]),
                turns=_turns(archive, f"{number}.branch.{place}", branch),
            )
        )
    return tuple(found)


def _turns(archive: zipfile.ZipFile, name: str, said: Mapping[str, Any] | None = None) -> tuple[Turn, ...]:
    with archive.open(name) as records:
        turns = tuple(_turn(data) for data in _records(records))
    if said is not None and len(turns) != said["turns"]:
        raise ValueError(f"it has only {len(turns)} of {said['turns']} turns")
    return turns


def _record(turn: Turn) -> bytes:
    return _pack(
        (
            turn.turn_id,
            turn.parent,
            turn.depth,
            turn.type_id,
            turn.type_version,
            turn.created_ms,
            turn.payload,
        )
    )


def _turn(data: bytes) -> Turn:
    turn_id, parent, depth, type_id, version, created, payload = _unpack(data)
    return Turn(
        turn_id=turn_id,
        parent=parent,
        depth=depth,
        type_id=type_id,
        type_version=version,
        payload=payload,
        created_ms=created,
    )


def _write(archive: zipfile.ZipFile, name: str, records: Iterable[bytes]) -> None:
    with archive.open(name, "w", force_zip64=True) as out:
        for data in records:
            _put(out, data)


def _put(out: IO[bytes], data: bytes) -> None:
    out.write(len(data).to_bytes(4, "big") + data)


def _records(source: IO[bytes]) -> Iterator[bytes]:
    while head := source.read(4):
        length = int.from_bytes(head, "big")
        if len(head) < 4 or length > MOST:
            raise ValueError("a record has an invalid length")
        data = source.read(length)
        if len(data) < length:
            raise EOFError("it ends in the middle of a record")
        yield data
