"""One process's access to a store's folder: lock, changes by other processes, commit (S6, S7)."""

from __future__ import annotations

import sys
import types
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from os import getpid
from threading import RLock
from typing import Any, TypeVar

from orchestra.cxdb.embedded import recovery
from orchestra.cxdb.embedded.adopt import Progress
from orchestra.cxdb.embedded.batch import Batch
from orchestra.cxdb.embedded.directory import Directory
from orchestra.cxdb.embedded.files import trouble
from orchestra.cxdb.embedded.tables import Tables
from orchestra.cxdb.embedded.wal import CUTTING, RECORD_HEAD, SETTLED, State, follows, record_of
from orchestra.cxdb.format.layout import HEAD_SIZE
from orchestra.cxdb.format.packing import packer
from orchestra.errors import Damaged, StoreError, StoreFull, StoreGone, StoreUnreachable

T = TypeVar("T")

MANY_BEHIND = 4096 * HEAD_SIZE
"""How many bytes of heads.tbl may not be in the table of contexts yet when a folder has been opened."""

SHARED = 1 << 20
"""Bytes of a batch above which no further change joins it."""


class _Change:
    """A change that waits for a sync, and then its result."""

    __slots__ = ("add", "answer", "done", "error")

    def __init__(self, add: Callable[[Batch], Any]) -> None:
        self.add = add
        self.answer: Any = None
        self.error: BaseException | None = None
        self.done = False

    def fail(self, error: BaseException) -> None:
        """Note that the change is not stored, and why."""
        self.error, self.done = error, True


@types.coroutine
def _one_turn() -> Generator[None, None, None]:
    """Let the other tasks that are ready run first."""
    yield


def _fill(batch: Batch, changes: deque[_Change]) -> list[_Change]:
    """Move changes into a batch, oldest first, up to its limit; return those that are in it."""
    taken = []
    while changes and batch.size < SHARED:
        change = changes.popleft()
        try:
            change.answer = change.add(batch)
        except StoreError as error:
            change.fail(error)
        else:
            taken.append(change)
    return taken


def _others_are_ready() -> bool:
    """Whether the event loop of this thread has other tasks to run now; true where it does not say."""
    asyncio = sys.modules.get("asyncio")
    loop = asyncio._get_running_loop() if asyncio is not None else None
    return loop is not None and bool(getattr(loop, "_ready", True))


class Handle:
    """An open folder that reads without a lock and writes batches under it."""

    def __init__(self, directory: Directory, *, now_ms: Callable[[], int], progress: Progress) -> None:
        self.directory = directory
        self.tables = Tables(directory)
        self._files = directory.files
        self._now_ms = now_ms
        self._progress = progress
        self._pack = packer()
        self._waiting: list[_Change] = []
        self._suspect = False
        self.refusal: StoreError | None = None
        self._behind: State | None = None
        self._wrote = False
        self.closed = False
        self._pid = getpid()
        self._mutex = RLock()

    def begin(self, *, salvage: bool) -> None:
        """Recover the folder and read the tables. Raises as ``EmbeddedStore.open`` does."""
        if self.directory.read_only:
            recovery.look(self.directory, self._progress)
            self._behind = self.directory.read_state()
            self.tables.load()
        else:
            self._files.lock(self.directory.lock_fd)
            try:
                if not self.directory.in_place():
                    raise self._replaced_store()
                recovery.recover(self.directory, self._progress, salvage=salvage)
                self.tables.load(keep=True)
                if self.tables.contexts.behind > MANY_BEHIND:
                    self.tables.contexts.save()
            finally:
                self._files.unlock(self.directory.lock_fd)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store's lock during the block, with the batches of other processes read."""
        directory = self.directory
        if directory.read_only:
            raise StoreFull(f"{directory.path} is open for reading only")
        self._check_open()
        try:
            with self._mutex:
                self._files.lock(directory.lock_fd)
                try:
                    self._catch_up_locked()
                    yield
                finally:
                    self._files.unlock(directory.lock_fd)
        except StoreError:
            raise
        except OSError as error:
            self._suspect = True
            raise trouble(error, directory.path) from error
        except BaseException:
            self._suspect = True
            raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read during the block, with the batches of other processes read."""
        self._check_open()
        try:
            with self._mutex:
                self._catch_up()
                yield
        except OSError as error:
            raise trouble(error, self.directory.path) from error

    def _check_open(self) -> None:
        if self._pid != getpid():
            raise StoreError(f"{self.directory.path} was opened before a fork; open it again")
        if self.closed:
            raise StoreError(f"{self.directory.path} was closed")
        if self.refusal is not None:
            raise self.refusal

    def _catch_up_locked(self) -> None:
        """Read the batches of other processes, and finish that of one that died. An error is permanent."""
        try:
            if not self.directory.in_place():
                raise StoreGone(
                    f"{self.directory.path} was removed, or replaced by another store, while it was in use",
                    fix="put the folder back and resume, or start the run again",
                )
            if not self._catch_up():
                if not self._files.size(self.directory.lock_fd):
                    raise self._replaced_store()
                self._suspect = True
            self._finish_what_was_begun()
        except (StoreUnreachable, Damaged) as error:
            self.refusal = error
            raise

    def _finish_what_was_begun(self) -> None:
        directory = self.directory
        state = directory.state
        if (
            self._suspect
            or state.flags & CUTTING
            or directory.has_grown()
            or follows(self._files.pread(directory.wal_fd, RECORD_HEAD, state.position), state)
        ):
            recovery.recover(directory, self._progress)
            self._suspect = False
            self.tables.reload()

    def _catch_up(self) -> bool:
        """Read what other processes appended; false if the lock file holds no whole state."""
        directory = self.directory
        written = directory.read_state()
        if written is None or written is directory.state or written == directory.state:
            return written is not None
        if directory.read_only and written.sequence <= directory.state.sequence:
            self._look_again(written)
            return True
        if written.sequence < directory.state.sequence:
            raise self._replaced_store()
        directory.overlay.clear()
        before, directory.state = directory.state, written
        if written.generation != before.generation:
            self.tables.reload()
        else:
            self.tables.catch_up(before, written)
        return True

    def _replaced_store(self) -> StoreUnreachable:
        return StoreUnreachable(
            f"{self.directory.path}: another process replaced the log",
            fix="resume from what the files hold: orchestra resume",
        )

    def _look_again(self, written: State) -> None:
        """Read the log again, unless the lock file only has the state that it had when the folder was opened."""
        if written != self._behind:
            self._behind = written
            recovery.look(self.directory, self._progress)
            self.tables.reload()

    async def change(self, add: Callable[[Batch], T]) -> T:
        """Make durable what ``add`` puts into a batch, and return what it returns.

        Changes of tasks of one event loop that are ready together share a batch and its sync (S6): the first one
        that comes back after the others had their turn stores all of them. ``add`` raises before it puts anything
        into the batch, or not at all: each change is all or nothing. What is canceled while it waits is not
        stored.
        """
        together = _others_are_ready()
        if not self._waiting and not together:
            with self.writing():
                batch = Batch(self.directory.state, self._now_ms(), self._pack)
                alone = add(batch)
                if batch.size:
                    self._commit(batch)
                return alone
        change = _Change(add)
        self._waiting.append(change)
        if together:
            try:
                await _one_turn()
            except BaseException:
                with self._mutex:
                    if not change.done:
                        self._waiting.remove(change)
                raise
        with self._mutex:
            if not change.done:
                self._store_waiting()
        if change.error is not None:
            raise change.error
        answer: T = change.answer
        return answer

    def _store_waiting(self) -> None:
        """Store the waiting changes in as few batches as possible; if one fails, so do all after it."""
        changes, self._waiting = self._waiting, []
        left = deque(changes)
        try:
            with self.writing():
                while left:
                    batch = Batch(self.directory.state, self._now_ms(), self._pack)
                    taken = _fill(batch, left)
                    if batch.size:
                        self._commit(batch)
                    for change in taken:
                        change.done = True
        except BaseException as error:  # noqa: BLE001  each of them raises it where it waits
            for change in changes:
                if not change.done:
                    change.fail(error)

    def _commit(self, batch: Batch) -> None:
        """Make a batch durable with one sync, then visible; or undo it."""
        directory, files = self.directory, self._files
        parts = batch.parts()
        if directory.state.position + RECORD_HEAD + sum(map(len, parts)) > directory.capacity:
            self.cut()
        if directory.state.settled:
            directory.mark_unsettled()
            directory.state = directory.state._replace(flags=0)
        state = directory.state
        record, chain = record_of(state, parts, batch.next_turn, batch.next_context)
        try:
            files.pwrite(directory.wal_fd, record, state.position)
            files.fdatasync(directory.wal_fd)
            directory.write_parts(state.lengths, parts)
            directory.publish(
                State(
                    state.generation,
                    state.sequence + 1,
                    state.position + len(record),
                    chain,
                    0,
                    batch.next_turn,
                    batch.next_context,
                    tuple([length + len(part) for length, part in zip(state.lengths, parts, strict=True)]),
                    state.base,
                )
            )
        except OSError:
            self._withdraw(state)
            raise
        self._wrote = True
        self.tables.add(batch)

    def _withdraw(self, state: State) -> None:
        """Undo a batch that could not be written whole; if that fails too, the next process recovers.

        The log forgets the batch last: as long as the log has it, the next process can complete it.
        """
        directory, files = self.directory, self._files
        directory.state = state
        try:
            for fd, length in zip(directory.fds, state.lengths, strict=True):
                if files.size(fd) > length:
                    files.truncate(fd, length)
                    files.fdatasync(fd)
            files.pwrite(directory.wal_fd, bytes(RECORD_HEAD), state.position)
            files.fdatasync(directory.wal_fd)
            directory.publish(state)
        except OSError:
            return

    def cut(self) -> None:
        """Sync the files, bring the tables up to date, and start a new log."""
        self.tables.save()
        recovery.start_generation(self.directory, self.directory.state)

    def settle(self) -> None:
        """Sync the files and empty the log, so that other programs may open the folder (S5)."""
        with self.writing():
            if not self.directory.state.settled:
                self.cut()
                self.directory.publish(self.directory.state._replace(flags=SETTLED))
                self.directory.mark_settled()
            self._wrote = False

    def close(self) -> None:
        """Store what waits, settle what this process wrote, and close the files. A second call does nothing."""
        if self.closed:
            return
        with self._mutex:
            self._store_waiting()
        try:
            if self._wrote and self.refusal is None:
                self.settle()
        finally:
            self.release()

    def release(self) -> None:
        """Close the files as they are; the locks go with them."""
        self.closed = True
        self.tables.close()
        self.directory.close()
