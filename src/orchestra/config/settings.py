"""Which settings are in force and where each came from: flag, environment, file, default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from orchestra.config.environment import find, known_secrets
from orchestra.config.yaml import Document, load
from orchestra.errors import ConfigError, Source

KEYS: Mapping[tuple[str, ...], tuple[type, str]] = {
    ("backend",): (str, "which backend runs codergen nodes: simulation"),
    ("cxdb", "path"): (str, "folder of the embedded store, relative to this file; or 'memory'"),
    ("secrets",): (list, "names of environment variables whose values are never recorded"),
}
"""Every key of ``orchestra.yaml``: its type and what it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is in force. ``store`` is a folder, or None for a store in memory; ``secrets`` are names with
    values; ``origins`` says per key where its value came from."""

    store: Path | None
    backend: str = "simulation"
    secrets: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict)


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
    backend, backend_origin = data.get("backend", "simulation"), f"{file}" if "backend" in data else "default"
    if backend != "simulation":
        raise ConfigError(
            f"backend: {backend!r} is not known; this version has: simulation",
            span=document.span(("backend",)) if document is not None else None,
        )
    return Settings(
        store=place,
        backend=backend,
        secrets=known_secrets(environment, tuple(data.get("secrets") or ())),
        file=file,
        origins={"cxdb.path": origin, "backend": backend_origin},
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
                wanted = "a list" if kind is list else "a text"
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
) -> tuple[Path | None, str]:
    named = data.get("cxdb", {}).get("path")
    if flag is not None:
        return _place(flag, Path.cwd()), "--store"
    if environment.get("ORCHESTRA_CXDB_PATH"):
        return _place(environment["ORCHESTRA_CXDB_PATH"], Path.cwd()), "ORCHESTRA_CXDB_PATH"
    if environment.get("ORCHESTRA_CXDB_URL"):
        raise ConfigError(
            "ORCHESTRA_CXDB_URL is set, but this version keeps runs in an embedded store only",
            fix="unset it, or name a folder with --store or ORCHESTRA_CXDB_PATH",
        )
    if named is not None and file is not None:
        return _place(named, file.parent), str(file)
    if file is not None:
        return file.parent.absolute() / ".orchestra" / "cxdb", "default, beside orchestra.yaml"
    return state_directory(environment) / "cxdb", "default, the state directory"


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
