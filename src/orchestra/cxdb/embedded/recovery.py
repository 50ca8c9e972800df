"""Bring a folder to the state that its log records, and take over what other programs wrote (S5, S6).

All of it runs under the store's lock, except ``look``, which changes nothing.
"""

from __future__ import annotations

from orchestra.cxdb.embedded.adopt import Progress, adopt
from orchestra.cxdb.embedded.directory import EMPTY, Directory
from orchestra.cxdb.embedded.reader import damage_at
from orchestra.cxdb.embedded.wal import (
    CUTTING,
    HEADER_SIZE,
    NOTHING,
    PATH,
    SETTLED,
    SLOT,
    START,
    LogHeader,
    LogRecord,
    State,
    generation_at,
    header_of,
    read_header,
    read_log,
)
from orchestra.cxdb.format.layout import HEADS, LOG, PATHS, STRIDES, intact
from orchestra.errors import StoreUnreachable

_PIECE = 16 * 1024
"""Bytes of the log that are written at a time when it is made. Linux keeps what is written at once as one piece of
its cache, and counts all of a piece as written whenever a part of it changes."""


def recover(directory: Directory, progress: Progress, *, salvage: bool = False) -> None:
    """Make the files agree with the log, and publish the store's state.

    Raises ``StoreUnreachable`` where another program wrote while the log was live, and ``Damaged`` where
    a file has lost bytes that were synced.
    """
    data = _log_bytes(directory)
    header = read_header(data)
    if header is None:
        start_log(directory, progress)
        return
    state, records = read_log(data, header)
    known = directory.read_state()
    if known is not None and known.generation >= state.generation and known.sequence > state.sequence:
        _continue_without_log(directory, known)
        return
    sizes = directory.sizes()
    lost = [number for number in range(len(PATHS)) if sizes[number] < header.base[number]]
    if lost and salvage:
        set_aside(directory)
        start_log(directory, progress)
        return
    if lost:
        gone = header.base[lost[0]] - sizes[lost[0]]
        raise damage_at(lost[0], sizes[lost[0]], f"{gone} bytes that were synced are missing")
    if records:
        _refuse_foreign(directory, header, state, records)
        _dirty_again(directory, data, records[-1], state)
        directory.files.fdatasync(directory.wal_fd)
        redo(directory, header, records)
        directory.publish(state)
        return
    _dirty_again(directory, data, None, state)
    if sizes != header.base:
        directory.state = state
        start_generation(directory, adopt(directory, state, progress))
        return
    settled = not directory.files.exists(directory.at("orchestra/UNSETTLED"))
    directory.publish(state._replace(flags=SETTLED if settled else 0))


def _dirty_again(directory: Directory, data: bytes, last: LogRecord | None, state: State) -> None:
    """Write the log's header and last record once more: their own sync may have failed, or not have come.

    The system may take such pages for clean; then no later sync would write them. Batches before the last
    were acknowledged, so their sync was good.
    """
    slot = max((0, SLOT), key=lambda at: generation_at(data, at))
    directory.files.pwrite(directory.wal_fd, data[slot : slot + HEADER_SIZE], slot)
    if last is not None:
        start = state.position - last.size
        directory.files.pwrite(directory.wal_fd, data[start : state.position], start)


def _log_bytes(directory: Directory) -> bytes:
    return directory.files.pread(directory.wal_fd, directory.files.size(directory.wal_fd), 0)


def _continue_without_log(directory: Directory, known: State) -> None:
    """The log has lost a batch that the lock file tells of: the files must have it, or something is lost."""
    if known.lengths != directory.sizes():
        raise StoreUnreachable(
            f"{directory.at(PATH)}: the log is damaged, and the files do not have all of its data",
            fix="run: orchestra doctor --deep",
        )
    directory.state = known._replace(base=NOTHING)
    start_generation(directory, known)


def _refuse_foreign(directory: Directory, header: LogHeader, state: State, records: list[LogRecord]) -> None:
    """Refuse to redo the log if lengths or records show that another program wrote (S6)."""
    foreign = any(size > after for size, after in zip(directory.sizes(), state.lengths, strict=True))
    if not foreign:
        foreign = any(_foreign_records(directory, number, header, records) for number in (LOG, HEADS))
    if foreign:
        set_aside(directory)
        raise StoreUnreachable(
            f"{directory.path}: another program wrote to the store while batches were in the log; "
            "the log is now in orchestra/lost",
            fix="inspect both, then run again: the data in CXDB's files will be used",
        )


def _foreign_records(directory: Directory, number: int, header: LogHeader, records: list[LogRecord]) -> bool:
    stride = STRIDES[number]
    start = header.base[number]
    wanted = b"".join(record.parts[number] for record in records)
    there = directory.read_all(number, start, start + len(wanted))
    if wanted.startswith(there):
        return False
    return any(
        there[at : at + stride] != wanted[at : at + stride] and intact(there[at : at + stride])
        for at in range(0, len(there) - stride + 1, stride)
    )


def redo(directory: Directory, header: LogHeader, records: list[LogRecord], *, force: bool = False) -> None:
    """Write the synced log into the files wherever they differ; everywhere when forced."""
    for number in range(len(PATHS)):
        wanted = b"".join(record.parts[number] for record in records)
        start = header.base[number]
        if not force and directory.read_all(number, start, start + len(wanted)) == wanted:
            continue
        if wanted:
            directory.files.pwrite(directory.fds[number], wanted, start)


def start_log(directory: Directory, progress: Progress) -> None:
    """Make a log for a folder that has none: an empty one, or one that CXDB wrote.

    The header comes last: as long as there is none, all of this is done once more.
    """
    files = directory.files
    directory.state = EMPTY
    state = EMPTY
    known = directory.read_state()
    if known is not None and known.lengths == directory.sizes():
        state = known
    elif any(directory.sizes()):
        state = adopt(directory, EMPTY, progress)
    directory.sync([number for number, size in enumerate(directory.sizes()) if size])
    for offset in range(0, directory.capacity, _PIECE):
        files.pwrite(directory.wal_fd, bytes(min(_PIECE, directory.capacity - offset)), offset)
    files.fdatasync(directory.wal_fd)
    directory.sync_folders()
    _write_header(directory, state, 1)
    _begin(directory, state, flags=SETTLED)


def start_generation(directory: Directory, state: State) -> None:
    """Start the next generation of the log at ``state``, whose files are synced here first (S6)."""
    base = directory.state.base
    changed = [number for number in range(len(PATHS)) if state.lengths[number] != base[number]]
    try:
        directory.sync(changed)
    except OSError:
        _write_again(directory)
        raise
    directory.publish(directory.state._replace(flags=directory.state.flags | CUTTING))
    _write_header(directory, state, state.generation + 1)
    if directory.files.size(directory.wal_fd) > directory.capacity:
        directory.files.truncate(directory.wal_fd, directory.capacity)
    _begin(directory, state, flags=state.flags & ~CUTTING)


def _write_again(directory: Directory) -> None:
    """Dirty the pages again after a failed sync, which may have marked them clean."""
    data = _log_bytes(directory)
    header = read_header(data)
    if header is not None:
        redo(directory, header, read_log(data, header)[1], force=True)


def _write_header(directory: Directory, state: State, generation: int) -> None:
    """Both copies, one after the other, so that one of them is whole at any time."""
    header = header_of(state, generation)
    slot = SLOT * (generation % 2)
    directory.files.pwrite(directory.wal_fd, header, slot)
    directory.files.fdatasync(directory.wal_fd)
    directory.files.pwrite(directory.wal_fd, header, SLOT - slot)


def _begin(directory: Directory, state: State, flags: int) -> None:
    header = read_header(directory.files.pread(directory.wal_fd, START, 0))
    if header is None:
        raise StoreUnreachable(f"{directory.at(PATH)}: the written data cannot be read back")
    directory.publish(header.state()._replace(flags=flags))


def set_aside(directory: Directory) -> None:
    """Move the log, and all of ours that goes with it, to ``lost/``: the next opening starts a new log."""
    data = _log_bytes(directory)
    directory.write_lost("wal", data)
    checks = len(PATHS) - 1
    directory.keep_aside(checks, 0, directory.files.size(directory.fds[checks]))
    files = directory.files
    for name in files.listdir(directory.at("orchestra")):
        if name in {"contexts", "titles"} or name.startswith("hashes."):
            files.unlink(directory.at(f"orchestra/{name}"))
    files.truncate(directory.lock_fd, 0)
    files.truncate(directory.wal_fd, 0)
    directory.mark_settled()


def look(directory: Directory, progress: Progress) -> None:
    """Find the state of a folder that is open for reading, and keep in memory what its files lack."""
    directory.overlay.clear()
    data = b"" if directory.wal_fd < 0 else _log_bytes(directory)
    header = read_header(data)
    if header is None:
        directory.state = EMPTY
        directory.state = adopt(directory, EMPTY, progress)
        return
    state, records = read_log(data, header)
    known = directory.read_state()
    if known is not None and known.generation == state.generation and known.sequence > state.sequence:
        state = known
    elif records:
        _lay_over(directory, header, records)
    elif directory.sizes() != header.base:
        state = _look_beyond(directory, state, progress)
    directory.state = state


def _look_beyond(directory: Directory, state: State, progress: Progress) -> State:
    """Others wrote after the log was settled; a file that lost bytes shows when it is read."""
    if any(size < base for size, base in zip(directory.sizes(), state.base, strict=True)):
        return state
    directory.state = state
    return adopt(directory, state, progress)


def _lay_over(directory: Directory, header: LogHeader, records: list[LogRecord]) -> None:
    for number in range(len(PATHS)):
        wanted = b"".join(record.parts[number] for record in records)
        start = header.base[number]
        if directory.read_all(number, start, start + len(wanted)) != wanted:
            directory.overlay[number] = (start, wanted)
