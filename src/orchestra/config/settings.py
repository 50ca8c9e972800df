"""Which settings are in force and where each came from: flag, environment, file, default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from orchestra.config.durations import seconds
from orchestra.config.environment import find, known_secrets
from orchestra.config.server import PATIENCE, Server, server_at
from orchestra.config.workspace import WorkspaceSettings, workspace_of
from orchestra.config.yaml import Document, load
from orchestra.errors import ConfigError, Source

KEYS: Mapping[tuple[str, ...], tuple[type, str]] = {
    ("backend",): (str, "which backend runs codergen nodes: simulation"),
    ("cxdb", "path"): (str, "folder of the embedded store, relative to this file; or 'memory'"),
    ("cxdb", "url"): (str, "a CXDB server instead of a folder, by its HTTP address: http://host:9010"),
    ("cxdb", "mirror"): (str, "a CXDB server that gets a copy of what the folder holds: http://host:9010"),
    ("cxdb", "address"): (str, "the server's binary protocol's address: host:9009"),
    ("cxdb", "patience"): (object, "how long a lost server is waited for, as in 60s or 5m"),
    ("cxdb", "token_file"): (str, "a file that holds the server's token, relative to this file"),
    ("workspace",): (dict, "the git repositories that a run works on"),
    ("secrets",): (list, "names of environment variables whose values are never recorded"),
}
"""Every key of ``orchestra.yaml``: its type and what it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is in force. The store is ``server``, else the folder ``store``, else in memory; ``secrets`` are names
    with values, ``declared`` those among them that the file names; ``origins`` says per key where its value came
    from. ``mirror`` is the server to which a folder's turns are sent on (S22)."""

    store: Path | None
    server: Server | None = None
    mirror: Server | None = None
    backend: str = "simulation"
    secrets: Mapping[str, str] = field(default_factory=dict)
    declared: tuple[str, ...] = ()
    file: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    workspace: WorkspaceSettings | None = None

    @property
    def place(self) -> str:
        """Where runs are kept, as it is named with ``--store``."""
        return str(self.server or self.store or "memory")


def settle(
    *,
    folders: tuple[Path, ...],
    environment: Mapping[str, str],
    store: str | None = None,
    config: Path | None = None,
) -> Settings:
    """The settings in force. Raises ``ConfigError``."""
    file = config if config is not None else find(folders)
    document = _read(file) if file is not None else None
    data = _checked(document) if document is not None else {}
    place, origin = _store(data, file, environment, store)
    server: Server | None = None
    if isinstance(place, str):
        server, place = _server(place, data, document, environment), None
    mirror, mirror_origin = _mirror(data, document, environment, folder=place is not None, flag=store is not None)
    backend, backend_origin = data.get("backend", "simulation"), f"{file}" if "backend" in data else "default"
    if backend != "simulation":
        raise ConfigError(
            f"backend: {backend!r} is not known; this version has: simulation",
            span=document.span(("backend",)) if document is not None else None,
        )
    named = tuple(data.get("secrets") or ())
    return Settings(
        store=place,
        server=server,
        mirror=mirror,
        backend=backend,
        secrets=known_secrets(environment, named),
        declared=tuple(name for name in named if environment.get(name)),
        file=file,
        workspace=workspace_of(document, file.parent) if file is not None else None,
        origins={
            "cxdb.url" if server is not None else "cxdb.path": origin,
            "backend": backend_origin,
            **({"cxdb.mirror": mirror_origin} if mirror is not None else {}),
        },
    )


def _read(file: Path) -> Document:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror or error}") from error
    return load(Source(str(file), text))


def _checked(document: Document) -> dict[str, Any]:
    if document.data is None:
        return {}
    if not isinstance(document.data, dict):
        raise ConfigError("the file has to hold keys and values", span=document.span(()))
    _check(document, document.data, ())
    return document.data


def _check(document: Document, data: dict[str, Any], path: tuple[str, ...]) -> None:
    for key, value in data.items():
        here = (*path, key)
        if here in KEYS:
            kind, _meaning = KEYS[here]
            if not isinstance(value, kind):
                wanted = "a list" if kind is list else "a mapping" if kind is dict else "a text"
                raise ConfigError(f"{'.'.join(here)}: {wanted} is wanted here", span=document.span(here))
        elif any(known[: len(here)] == here for known in KEYS):
            if not isinstance(value, dict):
                raise ConfigError(f"{'.'.join(here)}: keys and values are wanted here", span=document.span(here))
            _check(document, value, here)
        else:
            raise _unknown(document, here)
    for index, item in enumerate(data.get("secrets") or []) if not path else ():
        if not isinstance(item, str):
            raise ConfigError(
                "secrets: a name of an environment variable is wanted", span=document.span(("secrets", index))
            )


def _unknown(document: Document, path: tuple[str, ...]) -> ConfigError:
    siblings = sorted({known[len(path) - 1] for known in KEYS if known[: len(path) - 1] == path[:-1]})
    near = get_close_matches(path[-1], siblings, n=1)
    fix = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(siblings)}"
    return ConfigError(f"unknown key {'.'.join(path)!r}", span=document.key_span(path), fix=fix)


def _store(
    data: dict[str, Any], file: Path | None, environment: Mapping[str, str], flag: str | None
) -> tuple[Path | str | None, str]:
    """A folder, None for memory, or a server's address; and where that was said."""
    cxdb = data.get("cxdb", {})
    named, url = cxdb.get("path"), cxdb.get("url")
    if flag is not None:
        return flag if "://" in flag else _place(flag, Path.cwd()), "--store"
    by_path, by_url = (environment.get(f"ORCHESTRA_CXDB_{name}") for name in ("PATH", "URL"))
    if by_path and by_url:
        raise ConfigError("ORCHESTRA_CXDB_PATH and ORCHESTRA_CXDB_URL are both set", fix="unset one of them")
    if by_path:
        return _place(by_path, Path.cwd()), "ORCHESTRA_CXDB_PATH"
    if by_url:
        return by_url, "ORCHESTRA_CXDB_URL"
    if url is not None and named is not None:
        raise ConfigError(f"{file}: cxdb.path and cxdb.url name two stores", fix="take one of them away")
    if url is not None:
        return str(url), str(file)
    if named is not None and file is not None:
        return _place(named, file.parent), str(file)
    if file is not None:
        return file.parent.absolute() / ".orchestra" / "cxdb", "default, beside orchestra.yaml"
    return state_directory(environment) / "cxdb", "default, the state directory"


def _mirror(
    data: dict[str, Any],
    document: Document | None,
    environment: Mapping[str, str],
    *,
    folder: bool,
    flag: bool,
) -> tuple[Server | None, str]:
    """The server that mirrors the store's ``folder``, and where that was said; none where another store was named
    for this command. Raises ``ConfigError`` where the same voice names a store that cannot be mirrored."""
    cxdb = data.get("cxdb", {})
    url, origin = environment.get("ORCHESTRA_CXDB_MIRROR"), "ORCHESTRA_CXDB_MIRROR"
    if url and environment.get("ORCHESTRA_CXDB_URL"):
        raise ConfigError("ORCHESTRA_CXDB_MIRROR and ORCHESTRA_CXDB_URL are both set", fix="unset one of them")
    if not url and "mirror" in cxdb and document is not None:
        url, origin = str(cxdb["mirror"]), document.source.name
    other = "url" if "url" in cxdb else "path" if cxdb.get("path") == "memory" else ""
    if url and other and not folder and not flag and document is not None:
        key = "mirror" if "mirror" in cxdb else other
        what = "a server needs no mirror" if other == "url" else "a store in memory cannot be mirrored"
        name = "cxdb.mirror" if "mirror" in cxdb else origin
        raise ConfigError(
            f"{name} is for a store in a folder, and cxdb.{other} names another: {what}",
            span=document.span(("cxdb", key)),
            fix="take one of them away",
        )
    if not url or not folder:
        return None, ""
    return _server(url, data, document, environment, key="mirror"), origin


def _server(
    url: str,
    data: dict[str, Any],
    document: Document | None,
    environment: Mapping[str, str],
    *,
    key: str = "url",
) -> Server:
    """The server at an address; the file's other words about it hold for the file's address only."""
    cxdb = data.get("cxdb", {})
    patience = _patience(cxdb.get("patience"), document)
    named = cxdb.get("url", cxdb.get("mirror"))
    address = cxdb.get("address") if named in (url, None) else None
    span = document.span(("cxdb", key)) if document is not None and url == cxdb.get(key) else None
    try:
        return server_at(
            url, address, patience=patience, token=_token(cxdb.get("token_file"), document, environment)
        )
    except ValueError as error:
        raise ConfigError(str(error), span=span) from None


def _patience(value: object, document: Document | None) -> float:
    if value is None:
        return PATIENCE
    found = seconds(str(value))
    if found is None:
        span = document.span(("cxdb", "patience")) if document is not None else None
        raise ConfigError(f"cxdb.patience: {value} is no length of time", span=span, fix="write it as 60s or 5m")
    return found


def _token(name: str | None, document: Document | None, environment: Mapping[str, str]) -> str | None:
    given = environment.get("ORCHESTRA_CXDB_TOKEN")
    if given or name is None or document is None:
        return given or None
    file = Path(document.source.name).parent / Path(name).expanduser()
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cxdb.token_file: cannot read {file}: {getattr(error, 'strerror', None) or error}",
            span=document.span(("cxdb", "token_file")),
        ) from error


def _place(text: str, base: Path) -> Path | None:
    if not text or "\0" in text:
        raise ConfigError(f"{text!r} is no name of a folder for the store")
    try:
        return None if text == "memory" else base.absolute() / Path(text).expanduser()
    except RuntimeError as error:  # a home folder of nobody
        raise ConfigError(f"the store's folder {text}: {error}") from error


def state_directory(environment: Mapping[str, str]) -> Path:
    """Orchestra's folder in the XDG state directory."""
    home = environment.get("XDG_STATE_HOME")
    base = (
        Path(home)
        if home and Path(home).is_absolute()
        else Path(environment.get("HOME") or "~").expanduser() / ".local" / "state"
    )
    return base / "orchestra"
