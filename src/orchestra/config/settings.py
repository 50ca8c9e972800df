"""Which settings are in force and where each came from: flag, environment, file, default."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from orchestra.config.durations import seconds
from orchestra.config.environment import PROVIDER_KEYS, find, home_of, known_secrets
from orchestra.config.model import Config
from orchestra.config.providers import KINDS
from orchestra.config.reading import read_config
from orchestra.config.server import PATIENCE, Server, server_at
from orchestra.config.variables import from_environment, unknown_variables
from orchestra.config.workspace import WorkspaceSettings, project_folder, workspace_of
from orchestra.config.yaml import Document, load_leniently
from orchestra.config.yaml import Path as Keys
from orchestra.errors import ConfigError, InvalidConfig, Source

if TYPE_CHECKING:
    from orchestra.processes.sandbox import Policy

COST: Keys = ("limits", "run", "cost")
"""The setting that bounds what a run costs."""

MAX_COST = "--max-cost"
_RECORDED = "--max-cost, as it was given before"


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is in force. The store is ``server``, else the folder ``store``, else in memory.

    ``secrets`` are names with values, ``declared`` those that the file names. ``mirror`` is the server to
    which a folder's turns are sent on (S22). ``config`` is the whole file, typed; ``given`` names the flag or
    variable of what does not come from the file, and ``origins`` says where the store and the mirror were named.
    ``key_names`` are the variables that hold providers' keys, which no command gets.
    """

    store: Path | None
    config: Config = field(default_factory=Config)
    document: Document | None = None
    given: Mapping[Keys, str] = field(default_factory=dict)
    server: Server | None = None
    mirror: Server | None = None
    backend: str = "simulation"
    secrets: Mapping[str, str] = field(default_factory=dict)
    declared: tuple[str, ...] = ()
    key_names: tuple[str, ...] = PROVIDER_KEYS
    file: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    workspace: WorkspaceSettings | None = None

    @property
    def place(self) -> str:
        """Where runs are kept, as it is named with ``--store``."""
        return str(self.server or self.store or "memory")

    @property
    def folder(self) -> Path:
        """The folder from which relative paths in the file lead."""
        return self.file.parent.absolute() if self.file is not None else Path.cwd()

    @property
    def readable(self) -> tuple[Path, ...]:
        """The folders that the sandbox may read."""
        return tuple(self.folder / Path(folder).expanduser() for folder in self.config.sandbox.read)

    @property
    def sandbox(self) -> Policy:
        """What commands may touch, for the folders that they work in (A36).

        Raises ``ConfigError`` where a sandbox is required that does not work here.
        """
        from orchestra.processes.sandbox import policy  # only what starts commands pays for it

        chosen, read = self.config.sandbox, self.readable
        if chosen.mode != "none":
            policy(chosen.mode, chosen.network, ())
        return lambda folders: policy(chosen.mode, chosen.network, folders, read)

    def tool_environment(self, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The environment of commands: ours without the providers' keys (A36)."""
        return {name: value for name, value in environment.items() if name not in self.key_names}

    @property
    def max_cost_micros(self) -> int:
        """The bound that the command line sets, in millionths of a dollar; 0 where it sets none (A5)."""
        return round((self.config.limits.run.cost or 0) * 1_000_000) if self.given.get(COST) == MAX_COST else 0

    @property
    def cost_is_bound(self) -> bool:
        """Whether the command line bounds what a run costs, now or when the session was run before (A5)."""
        return self.given.get(COST) in (MAX_COST, _RECORDED)

    def with_max_cost(self, recorded: int) -> Settings:
        """The settings with the bound that a session was given before, unless the command line sets one (A5)."""
        if not recorded or self.max_cost_micros:
            return self
        limits = self.config.limits
        bound = replace(limits, run=replace(limits.run, cost=recorded / 1_000_000))
        given = {**self.given, COST: _RECORDED}
        return replace(self, given=given, config=replace(self.config, limits=bound))


Overrides: TypeAlias = Mapping[Keys, tuple[Any, str]]
"""Values of settings by path, each with the flag that it came from."""

NO_OVERRIDES: Overrides = MappingProxyType({})


def settle(
    *,
    folders: tuple[Path, ...],
    environment: Mapping[str, str],
    store: str | None = None,
    config: Path | None = None,
    overrides: Overrides = NO_OVERRIDES,
) -> Settings:
    """The settings in force: a flag before a variable, a variable before the file, then the default.

    Raises ``ConfigError``; ``InvalidConfig`` with every fault.
    """
    file = config if config is not None else find(folders)
    document = _read(file) if file is not None else None
    given = {**from_environment(environment), **overrides}
    found, faults = read_config(document, given)
    faults = [*unknown_variables(environment), *faults]
    place = _attempt(faults, "cxdb", lambda: _store_place(document, file, environment, store))
    workspace = None
    if file is not None and document is not None:
        folder, text = file.parent, document
        workspace = _attempt(faults, "workspace", lambda: workspace_of(found.workspace, text, folder))
    if faults or place is None:
        raise InvalidConfig(tuple(faults))
    keys = tuple(each.api_key_env for each in found.providers.named.values() if each.api_key_env)
    named = found.secrets.names
    return Settings(
        config=found,
        document=document,
        given={path: origin for path, (_value, origin) in given.items()},
        store=place.folder,
        server=place.server,
        mirror=place.mirror,
        backend=found.backend,
        secrets=known_secrets(environment, (*named, *keys), found.secrets.allow, found.secrets.ignore),
        declared=tuple(name for name in named if environment.get(name)),
        key_names=tuple(dict.fromkeys((*PROVIDER_KEYS, *keys, *_credential_names(found)))),
        file=file,
        workspace=workspace,
        origins=place.origins,
    )


def _attempt(faults: list[ConfigError], section: str, make: Callable[[], _T]) -> _T | None:
    """What ``make`` returns; None with its fault kept, or where the section has faults already."""
    if any(fault.message.startswith(section) for fault in faults):
        return None
    try:
        return make()
    except ConfigError as error:
        faults.append(error)
        return None


class _StorePlace(NamedTuple):
    """Where runs are kept, and where that was said."""

    folder: Path | None
    server: Server | None
    mirror: Server | None
    origins: Mapping[str, str]


def _store_place(
    document: Document | None, file: Path | None, environment: Mapping[str, str], flag: str | None
) -> _StorePlace:
    data = _store_values(document)
    found, origin = _store(data, file, environment, flag)
    server, place = None, None
    if isinstance(found, str):
        server = _server(found, data, document, environment)
    else:
        place = found
    mirror, said = _mirror(data, document, environment, folder=place is not None, flag=flag is not None)
    origins = {"cxdb.url" if server is not None else "cxdb.path": origin}
    return _StorePlace(place, server, mirror, origins | ({"cxdb.mirror": said} if mirror is not None else {}))


def _credential_names(config: Config) -> Iterator[str]:
    """Return the credential variables of every configured provider and of the default one."""
    for provider in (*config.providers.named.values(), config.provider(config.providers.default)):
        if provider is not None:
            yield from KINDS[provider.kind].hidden


def _read(file: Path) -> Document:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start})", fix="save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror or error}") from error
    return load_leniently(Source(str(file), text))


def _store_values(document: Document | None) -> dict[str, Any]:
    """What the file says of the store, checked already."""
    data = document.data if document is not None else None
    return {"cxdb": data.get("cxdb") or {}} if isinstance(data, dict) else {}


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
        raise ConfigError(f"{file}: cxdb.path and cxdb.url name two stores", fix="remove one of them")
    if url is not None:
        return str(url), str(file)
    if named is not None and file is not None:
        return _place(named, project_folder(file.parent.absolute())), str(file)
    if file is not None:
        return project_folder(file.parent.absolute()) / ".orchestra" / "cxdb", "default, next to orchestra.yaml"
    return state_directory(environment) / "cxdb", "default, the state directory"


def _mirror(
    data: dict[str, Any],
    document: Document | None,
    environment: Mapping[str, str],
    *,
    folder: bool,
    flag: bool,
) -> tuple[Server | None, str]:
    """Return the server that mirrors the store's ``folder``, and where that was set.

    None if the command names another store. Raises ``ConfigError`` for a mirror of a store that cannot be mirrored.
    """
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
            fix="remove one of them",
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
    """Return the server at a URL; the file's binary address counts for the file's URL only.

    ``ORCHESTRA_CXDB_ADDRESS`` belongs to ``ORCHESTRA_CXDB_URL`` where that is set.
    """
    cxdb = data.get("cxdb", {})
    patience = _patience(cxdb.get("patience"), document)
    named = cxdb.get("url", cxdb.get("mirror"))
    address = cxdb.get("address") if named in (url, None) else None
    if environment.get("ORCHESTRA_CXDB_URL") in (url, None, ""):
        address = environment.get("ORCHESTRA_CXDB_ADDRESS") or address
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
        raise ConfigError(f"cxdb.patience: {value} is not a duration", span=span, fix="write it as 60s or 5m")
    return found


def _token(name: str | None, document: Document | None, environment: Mapping[str, str]) -> str | None:
    given, place, span = environment.get("ORCHESTRA_CXDB_TOKEN", "").strip(), "ORCHESTRA_CXDB_TOKEN", None
    if not given and name is not None and document is not None:
        file = Path(document.source.name).parent / Path(name).expanduser()
        place, span = f"cxdb.token_file: {file}", document.span(("cxdb", "token_file"))
        try:
            given = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(f"cxdb.token_file: cannot read {file}: {why}", span=span) from error
    if re.search("[^ -~]", given):
        raise ConfigError(f"{place}: a token has only ASCII characters, on one line", span=span)
    return given or None


def _place(text: str, base: Path) -> Path | None:
    if not text or "\0" in text:
        raise ConfigError(f"{text!r} is not a valid folder for the store")
    try:
        return None if text == "memory" else base.absolute() / Path(text).expanduser()
    except RuntimeError as error:  # no home folder
        raise ConfigError(f"the store's folder {text}: {error}") from error


def state_directory(environment: Mapping[str, str]) -> Path:
    """Orchestra's folder in the XDG state directory."""
    home = environment.get("XDG_STATE_HOME")
    base = Path(home) if home and Path(home).is_absolute() else home_of(environment) / ".local" / "state"
    return base / "orchestra"
