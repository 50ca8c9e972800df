"""Which settings are in force and where each came from: flag, environment, file, default."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from orchestra.config.environment import PROVIDER_KEYS, find, known_secrets
from orchestra.config.model import Config
from orchestra.config.providers import KINDS
from orchestra.config.reading import read_config
from orchestra.config.server import Server
from orchestra.config.store import StoreSources, store_place
from orchestra.config.variables import from_environment, unknown_variables
from orchestra.config.workspace import WorkspaceSettings, workspace_of
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
    place = _attempt(faults, "cxdb", lambda: store_place(StoreSources(found.cxdb, document, environment, store)))
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
