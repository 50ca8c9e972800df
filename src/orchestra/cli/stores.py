"""Settings and the store of a command."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from stat import S_ISDIR
from typing import Annotated, TypeVar

import typer

from orchestra.app.stores import OnServer, open_store
from orchestra.cli.options import AsJson, Config, StoreOption
from orchestra.cli.terminal import clock_time, complain, one_line, progress
from orchestra.config.environment import folders_of
from orchestra.config.settings import Overrides, Settings, settle
from orchestra.cxdb.embedded.files import trouble
from orchestra.engine.loading import load
from orchestra.engine.sessions import find, rows
from orchestra.errors import ConfigError, Damaged, OrchestraError, SessionNotFound, StoreError, StoreUnreachable
from orchestra.graph.report import duration_words
from orchestra.ports import Store
from orchestra.run.events import StoreSilent

_T = TypeVar("_T")


def settings_for(
    store: str | None, config: Path | None, pipeline: str = "-", max_cost: float | None = None
) -> Settings:
    """Return the settings in force for a command, with or without a pipeline; ``max_cost`` is in dollars."""
    overrides: Overrides = {} if max_cost is None else {("limits", "run", "cost"): (max_cost, "--max-cost")}
    return settle(
        folders=folders_of(pipeline), environment=os.environ, store=store, config=config, overrides=overrides
    )


def exists(settings: Settings) -> bool:
    """Whether there may be a store to read. Raises ``StoreError`` if its path is not a readable folder."""
    if settings.server is not None:
        return True
    if settings.store is None:
        return False
    try:
        mode = settings.store.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise trouble(error, str(settings.store)) from error
    if not S_ISDIR(mode):
        raise StoreUnreachable(
            f"{settings.store} is not a folder", fix="name the folder of the store with --store DIR"
        )
    return True


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """A command's settings, and the store that its command line names."""

    settings: Settings
    flag: str | None = None
    from_file: bool = False
    """Whether variables were read from a file that no other command reads (``--env-file``)."""

    @property
    def aim(self) -> str:
        """The options that a suggested command needs to find the same store and repositories from here."""
        return hint(self.settings, self.flag, from_file=self.from_file)

    @contextmanager
    def aiming(self) -> Iterator[None]:
        """Add these options to the commands that a store's error suggests."""
        try:
            yield
        except StoreError as error:
            error.fix = aim_commands(error.fix, self.aim)
            raise

    def check(self, session: str) -> None:
        """Raise ``SessionNotFound`` if there is no store that could have the session."""
        with self.aiming():
            there(self.settings, session)

    def say_origin(self, session: str, file: str) -> None:
        """Name the session that ``last`` is, where its file is of another folder: stores are shared (S14)."""
        path = Path(file)
        if path.is_absolute() and not any(map(path.is_relative_to, (self.settings.folder, Path.cwd()))):
            complain(f"note: 'last' is session {session}, started from {one_line(file, 300)}")

    def read(self, act: Callable[[Store], Awaitable[_T]], session: str = "") -> _T:
        """Run ``act`` with the store opened for reading; ``session`` is the one to be read."""
        return asyncio.run(self._opened(act, session, read_only=True, create=False))

    def write(self, act: Callable[[Store], Awaitable[_T]], session: str = "", *, create: bool = False) -> _T:
        """Run ``act`` with the store opened for writing; only with ``create`` it may be a new one."""
        return asyncio.run(self._opened(act, session, read_only=False, create=create))

    async def _opened(
        self, act: Callable[[Store], Awaitable[_T]], session: str, *, read_only: bool, create: bool
    ) -> _T:
        with self.aiming():
            if not create:
                there(self.settings, session)
            with progress() as tell:
                store = open_store(self.settings, read_only=read_only, progress=tell)
            on_silence(self.settings, store, lambda silent: complain(silence(silent)))
            try:
                if session == "last" and not read_only:
                    row = await find(store, session)
                    with suppress(Damaged):  # `act` may need none of what cannot be read
                        self.say_origin(row.session, (await load(store, row.context_id)).state.file)
                return await act(store)
            finally:
                await store.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Which store a command uses."""

    store: StoreOption = None
    config: Config = None

    def access(
        self, pipeline: str = "-", max_cost: float | None = None, env_file: Path | None = None
    ) -> StoreAccess:
        """Load the settings; the variables of ``env_file`` were read before. Raises ``ConfigError``."""
        settings = settings_for(self.store, self.config, pipeline, max_cost)
        return StoreAccess(settings, self.store, env_file is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions(StoreOptions):
    """Which store a command uses, and whether it prints JSON."""

    as_json: AsJson = False


def on_silence(settings: Settings, store: Store, tell: Callable[[StoreSilent], None]) -> None:
    """Call a function when the store's server is silent for seconds, and when it is back (S20)."""

    def told(silent: float, left: float) -> None:
        until = time.time_ns() // 1_000_000 + round(left * 1000) if left else 0
        place = f"the CXDB server at {settings.place}"
        tell(StoreSilent(store=place, silent_ms=round(silent * 1000), until=until))

    if isinstance(store, OnServer):
        store.on_silence(told)


def silence(event: StoreSilent) -> str:
    """A server's silence, and its end, in words."""
    if not event.until:
        return f"{event.store} answers again after {duration_words(event.silent_ms)}"
    until = clock_time(event.until)
    return f"{event.store} has not answered for {duration_words(event.silent_ms)}; waiting for it until {until} UTC"


def there(settings: Settings, wanted: str) -> None:
    """Raise ``SessionNotFound`` if there is no store that could have the session."""
    if not exists(settings):
        place = f"no store in {settings.store}" if settings.store else "a store in memory saves nothing"
        what = f"no session {wanted!r}" if wanted else "no sessions"
        raise SessionNotFound(f"{what}: {place}", fix="start a run first, or name a store with --store")


def hint(settings: Settings, flag: str | None, *, from_file: bool = False) -> str:
    """Return the options that a suggested command needs to find the same store and repositories from here.

    A server whose binary protocol has an unusual address needs the settings file that names it, and so
    do repositories. What was read ``from_file`` is not known there: the store is named.
    """
    place = flag if flag is not None else settings.place
    ways: list[tuple[str | None, Path | None]] = [(place, None), (None, settings.file), (place, settings.file)]
    if flag is None and not from_file:
        ways.insert(0, (None, None))
    leading = (way for way in ways if _leads(way, settings))
    store, config = next(leading, (place, None))
    options = {"store": store, "config": str(config) if config is not None else None}
    return "".join(f" --{name} {one_line(shlex.quote(text), 1000)}" for name, text in options.items() if text)


def _leads(way: tuple[str | None, Path | None], settings: Settings) -> bool:
    try:
        found = settings_for(*way)
    except ConfigError:
        return False
    if settings.workspace is not None and _repositories(found) != _repositories(settings):
        return False
    here, there = settings.server, found.server
    if here is None or there is None:
        return found.place == settings.place
    return (str(here), here.address, here.token) == (str(there), there.address, there.token)


def _repositories(settings: Settings) -> list[tuple[str, str]]:
    repos = settings.workspace.repos if settings.workspace is not None else ()
    return [(repo.name, os.path.realpath(repo.path)) for repo in repos]


_COMMANDS = re.compile(
    r"\borchestra (?:status|log|show|doctor|resume|replay|attach|pause|cancel|steer|answer|inbox)\b"
)


def aim_commands(fix: str, hint: str) -> str:
    """Add the options that find the store to the commands in a suggestion."""
    return _COMMANDS.sub(lambda command: command[0] + hint, fix)


MOST = 50
"""More than anybody reads."""

_ACTIVE = re.compile(r"[^\w .,/-]+")
"""What a shell that evaluates the offer could take for more than text: a title is anybody's words."""


def complete_session(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the sessions whose id starts with ``incomplete``, with titles, newest first (C3).

    None if the store cannot be read.
    """
    try:
        at = StoreOptions(store=ctx.params.get("store"), config=ctx.params.get("config")).access()
        found = at.read(rows) if exists(at.settings) else []
    except OrchestraError:
        return []
    offered = (row for row in found if row.session.startswith(incomplete))
    return [(row.session, _ACTIVE.sub(" ", row.title)[:60]) for row in islice(offered, MOST)]


Session = Annotated[
    str,
    typer.Argument(
        metavar="SESSION",
        help="Session id or unique prefix, 'last' for the newest, or '#42' for a CXDB context.",
        autocompletion=complete_session,
    ),
]
