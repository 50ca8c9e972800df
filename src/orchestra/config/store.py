"""Which store a command uses, and what mirrors it: a flag, a variable, the file, or the default (S1, S22)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from orchestra.config.environment import state_directory
from orchestra.config.model import Cxdb
from orchestra.config.server import PATIENCE, Server, server_at
from orchestra.config.workspace import project_folder
from orchestra.config.yaml import Document
from orchestra.errors import ConfigError, Span


class StoreSources(NamedTuple):
    """Where a store may be named: the file's section, with its document, the environment, and ``--store``."""

    cxdb: Cxdb
    document: Document | None
    environment: Mapping[str, str]
    flag: str | None

    @property
    def file(self) -> Path | None:
        """The settings file."""
        return None if self.document is None else Path(self.document.source.name)

    def span(self, key: str) -> Span | None:
        """The place of a key's value in the file."""
        return None if self.document is None else self.document.span(("cxdb", key))


class StorePlace(NamedTuple):
    """Where runs are kept, and where that was said."""

    folder: Path | None
    server: Server | None
    mirror: Server | None
    origins: Mapping[str, str]


def store_place(sources: StoreSources) -> StorePlace:
    """The store that is meant. Raises ``ConfigError`` for one that cannot be."""
    found, origin = _store(sources)
    server = _server(found, "url", sources) if isinstance(found, str) else None
    folder = None if isinstance(found, str) else found
    mirror, said = _mirror(folder, sources)
    origins = {"cxdb.url" if server is not None else "cxdb.path": origin}
    return StorePlace(folder, server, mirror, origins | ({"cxdb.mirror": said} if mirror is not None else {}))


def _store(sources: StoreSources) -> tuple[Path | str | None, str]:
    """A folder, None for memory, or a server's address; and where that was said."""
    cxdb, _document, environment, flag = sources
    file = sources.file
    if flag is not None:
        return flag if "://" in flag else _folder(flag, Path.cwd()), "--store"
    by_path, by_url = (environment.get(f"ORCHESTRA_CXDB_{name}") for name in ("PATH", "URL"))
    if by_path and by_url:
        raise ConfigError("ORCHESTRA_CXDB_PATH and ORCHESTRA_CXDB_URL are both set", fix="unset one of them")
    if by_path:
        return _folder(by_path, Path.cwd()), "ORCHESTRA_CXDB_PATH"
    if by_url:
        return by_url, "ORCHESTRA_CXDB_URL"
    if cxdb.url is not None and cxdb.path is not None:
        raise ConfigError(f"{file}: cxdb.path and cxdb.url name two stores", fix="remove one of them")
    if cxdb.url is not None:
        return cxdb.url, str(file)
    if file is None:
        return state_directory(environment) / "cxdb", "default, the state directory"
    project = project_folder(file.parent.absolute())
    if cxdb.path is not None:
        return _folder(cxdb.path, project), str(file)
    return project / ".orchestra" / "cxdb", "default, next to orchestra.yaml"


def _folder(text: str, base: Path) -> Path | None:
    if not text or "\0" in text:
        raise ConfigError(f"{text!r} is not a valid folder for the store")
    try:
        return None if text == "memory" else base.absolute() / Path(text).expanduser()
    except RuntimeError as error:  # no home folder
        raise ConfigError(f"the store's folder {text}: {error}") from error


def _mirror(folder: Path | None, sources: StoreSources) -> tuple[Server | None, str]:
    """Return the server that mirrors the store's ``folder``, and where that was set.

    None if the command names another store. Raises ``ConfigError`` for a mirror of a store that cannot be mirrored.
    """
    cxdb, _document, environment, flag = sources
    url, origin = environment.get("ORCHESTRA_CXDB_MIRROR"), "ORCHESTRA_CXDB_MIRROR"
    if url and environment.get("ORCHESTRA_CXDB_URL"):
        raise ConfigError("ORCHESTRA_CXDB_MIRROR and ORCHESTRA_CXDB_URL are both set", fix="unset one of them")
    if not url and cxdb.mirror is not None:
        url, origin = cxdb.mirror, str(sources.file)
    other = "url" if cxdb.url is not None else "path" if cxdb.path == "memory" else ""
    if url and other and folder is None and flag is None:
        what = "a server needs no mirror" if other == "url" else "a store in memory cannot be mirrored"
        name = "cxdb.mirror" if cxdb.mirror is not None else origin
        raise ConfigError(
            f"{name} needs a store in a folder, but cxdb.{other} names another kind: {what}",
            span=sources.span("mirror" if cxdb.mirror is not None else other),
            fix="remove one of them",
        )
    if not url or folder is None:
        return None, ""
    return _server(url, "mirror", sources), origin


def _server(url: str, key: str, sources: StoreSources) -> Server:
    """Return the server at a URL; the file's binary address counts for the file's URL only.

    ``ORCHESTRA_CXDB_ADDRESS`` belongs to ``ORCHESTRA_CXDB_URL`` where that is set.
    """
    cxdb, environment = sources.cxdb, sources.environment
    named = cxdb.mirror if cxdb.url is None else cxdb.url
    address = cxdb.address if named in (url, None) else None
    if environment.get("ORCHESTRA_CXDB_URL") in (url, None, ""):
        address = environment.get("ORCHESTRA_CXDB_ADDRESS") or address
    patience = PATIENCE if cxdb.patience is None else cxdb.patience
    try:
        return server_at(url, address, patience=patience, token=_token(sources))
    except ValueError as error:
        span = sources.span(key) if url == getattr(cxdb, key) else None
        raise ConfigError(str(error), span=span) from None


def _token(sources: StoreSources) -> str | None:
    name, file = sources.cxdb.token_file, sources.file
    given, place, span = sources.environment.get("ORCHESTRA_CXDB_TOKEN", "").strip(), "ORCHESTRA_CXDB_TOKEN", None
    if not given and name is not None and file is not None:
        token = file.parent / Path(name).expanduser()
        place, span = f"cxdb.token_file: {token}", sources.span("token_file")
        try:
            given = token.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(f"cxdb.token_file: cannot read {token}: {why}", span=span) from error
    if re.search("[^ -~]", given):
        raise ConfigError(f"{place}: a token must be one line of ASCII characters", span=span)
    return given or None
