"""Prompt layers: the YAML files of roles, personas, personalities and tasks, and where they are found.

A name is looked for in every place in turn: as it is written, with ``.yaml``, and by its plain name in the folder
of its layer (``roles/``, ``personas/``, ``personalities/``, ``tasks/``). A text with spaces that does not name a
file is the layer's content itself (A20, A21, A23).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestra.config.schema import Section, SettingPlace, key, list_of, text, word
from orchestra.config.yaml import load, load_leniently
from orchestra.errors import ConfigError, InvalidConfig, Source, Span

FOLDERS: Mapping[str, str] = {
    "role": "roles",
    "persona": "personas",
    "personality": "personalities",
    "task": "tasks",
}
"""The layers in their order, each with the folder of its files."""

TEXTS = (".md", ".txt", ".j2")
"""Files that are a layer's content as they are."""

LARGEST = 1024 * 1024
"""Largest layer file, in bytes: a larger one is not a prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: its content and its place.

    ``file`` is empty for a text in the settings or the pipeline. ``extended`` are the files whose content comes
    first, in order.
    """

    kind: str
    name: str
    content: str
    file: str = ""
    extended: tuple[str, ...] = ()
    start: Span | None = field(default=None, compare=False)


class LayerFolders:
    """Where layer files are looked for, in order."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = tuple(dict.fromkeys(folders))

    def candidates(self, kind: str, name: str) -> Iterator[Path]:
        """Yield every file that a name may mean, in the order in which they are tried."""
        for folder in self.folders:
            for base in (folder, folder / FOLDERS[kind]):
                yield base / name
                if not name.endswith((".yaml", ".yml")):
                    yield base / f"{name}.yaml"
                    yield base / f"{name}.yml"

    def find(self, kind: str, name: str, first: Path | None = None) -> Path | None:
        """The first file by that name; ``first`` is a folder to look into before all others."""
        places = self if first is None else LayerFolders((first, *self.folders))
        # os.path: false for a text of the settings, which may be longer than a file's name
        return next((file for file in places.candidates(kind, name) if os.path.isfile(file)), None)  # noqa: PTH113


def places_for(
    folder: Path, *, config_file: Path | None, paths: tuple[str, ...], environment: Mapping[str, str]
) -> LayerFolders:
    """Return a pipeline's layer folders: its own, the configured ones, the settings', the user's."""
    found = [folder]
    if config_file is not None:
        beside = config_file.absolute().parent
        found += [beside / Path(path).expanduser() for path in paths or ("prompts",)]
        found.append(beside)
    home = environment.get("HOME")
    if home:
        found.append(Path(home) / ".orchestra")
    xdg = environment.get("XDG_CONFIG_HOME")
    base = Path(xdg) if xdg and Path(xdg).is_absolute() else Path(home) / ".config" if home else None
    if base is not None:
        found.append(base / "orchestra")
    return LayerFolders(tuple(Path(os.path.normpath(place)) for place in found))


def read_layer(kind: str, name: str, places: LayerFolders) -> Layer:
    """The layer by that name, its parents' content before its own.

    Raises ``ConfigError`` with every place searched, or with the place of the fault in the file.
    """
    file = places.find(kind, name)
    if file is None and _is_text(name):
        return Layer(kind=kind, name="(text)", content=name.strip())
    if file is None:
        raise _not_found(kind, name, places)
    return _extend(kind, name, file, places, ())


def _is_text(name: str) -> bool:
    return bool(name.strip()) and len(name.split()) > 1 and not name.endswith((".yaml", ".yml", *TEXTS))


def _not_found(kind: str, name: str, places: LayerFolders) -> ConfigError:
    more = "" if name.endswith((".yaml", ".yml")) else "(.yaml|.yml)"
    looked = ", ".join(
        f"{base / name}{more}" for folder in places.folders for base in (folder, folder / FOLDERS[kind])
    )
    near = _similar(kind, name, places)
    return ConfigError(
        f"no {kind} file {name!r}; searched: {looked}",
        fix=f"did you mean {near!r}?" if near else f"write the file, for example {FOLDERS[kind]}/{name}.yaml",
    )


def _similar(kind: str, name: str, places: LayerFolders) -> str:
    from difflib import get_close_matches

    known = {
        file.stem for folder in places.folders for file in (folder / FOLDERS[kind]).glob("*.y*ml") if file.is_file()
    }
    near = get_close_matches(Path(name).stem, sorted(known), n=1)
    return near[0] if near else ""


def _extend(kind: str, name: str, file: Path, places: LayerFolders, below: tuple[Path, ...]) -> Layer:
    file = Path(os.path.normpath(file.absolute()))
    source = _read(file)
    if file.suffix in TEXTS:
        if not source.text.strip():
            raise _empty(file)
        return Layer(kind=kind, name=name, content=source.text.strip(), file=str(file), start=Span(source, 0, 1))
    parsed, extends = _parse(kind, source)
    layer = replace(parsed, name=name)
    if not extends:
        return layer
    document = load(source)
    span = document.span(("extends",))
    parent = places.find(kind, extends, file.parent)
    if parent is None:
        missing = _not_found(kind, extends, LayerFolders((file.parent, *places.folders)))
        raise ConfigError(f"extends: {missing.message}", span=span, fix=missing.fix)
    parent = Path(os.path.normpath(parent.absolute()))
    if parent in (*below, file):
        chain = " -> ".join(each.name for each in (*below, file, parent))
        raise ConfigError(f"extends: the files extend one another: {chain}", span=span)
    base = _extend(kind, extends, parent, places, (*below, file))
    content = "\n\n".join(part for part in (base.content, layer.content) if part)
    return replace(layer, content=content, extended=(*base.extended, base.file))


def _empty(file: Path) -> ConfigError:
    return ConfigError(f"{file} has no text", fix="write the layer's text in it, or remove its name")


def _read(file: Path) -> Source:
    try:
        if file.stat().st_size > LARGEST:
            raise ConfigError(f"{file} is larger than {LARGEST // 1024} KiB, too large for a prompt")
        return Source(str(file), file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start})", fix="save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Common:
    """The keys that every layer file may have."""

    content: str = key(text, "the layer's text", default="")
    description: str = key(text, "what it is for; not part of the prompt", default="")
    version: str | int | float = key(lambda value, _place: value, "its version; not part of the prompt", default="")
    extends: str = key(word, "another file whose content comes first", default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class _RoleKeys:
    name: str = key(text, "its name; not part of the prompt", default="")
    system: str = key(text, "the role's text", default="", required=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModifierKeys:
    name: str = key(text, "its name; not part of the prompt", default="")
    modifiers: Any = key(lambda value, place: _modifiers(value, place), "its texts", default=(), required=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TaskKeys:
    name: str = key(text, "its name; not part of the prompt", default="")
    template: str = key(text, "the task's template", default="", required=True)


def _modifiers(value: Any, place: SettingPlace) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else list_of(text)(value, place)


def _own(cls: type[Any], attribute: str) -> Any:
    """A reader of a layer's own key: a text alone, or its name and text."""

    def read(value: Any, place: SettingPlace) -> str:
        if isinstance(value, str):
            return value
        found = getattr(Section(cls)(value, place), attribute)
        return found if isinstance(found, str) else "\n".join(found)

    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class _RoleFile(_Common):
    role: str = key(_own(_RoleKeys, "system"), "name and system", default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class _PersonaFile(_Common):
    persona: str = key(_own(_ModifierKeys, "modifiers"), "name and modifiers", default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class _PersonalityFile(_Common):
    personality: str = key(_own(_ModifierKeys, "modifiers"), "name and modifiers", default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class _TaskFile(_Common):
    task: str = key(_own(_TaskKeys, "template"), "name and template", default="")


_FORMS: Mapping[str, type[_Common]] = {
    "role": _RoleFile,
    "persona": _PersonaFile,
    "personality": _PersonalityFile,
    "task": _TaskFile,
}


def _parse(kind: str, source: Source) -> tuple[Layer, str]:
    """The layer in a file, and what it extends."""
    document = load_leniently(source)
    faults = list(document.faults)
    place = SettingPlace((), document, faults, {})
    if not document.whole:
        raise InvalidConfig(tuple(faults))
    if isinstance(document.data, str) and not faults:
        return Layer(kind=kind, name="", content=document.data.strip(), file=source.name), ""
    if document.data is None and not faults:
        raise _empty(Path(source.name))
    if not isinstance(document.data, dict):
        place.fault(f"expected `content: …` or `{kind}: …`")
        raise InvalidConfig(tuple(faults))
    data = dict(document.data)
    for other in [name for name in data if name in _FORMS and name != kind]:
        del data[other]
        place.at(other).key_fault(f"unknown key in a {kind} file", f"write `content: …` or `{kind}: …`")
    found = Section(_FORMS[kind])(data, place)
    own = getattr(found, kind)
    if found.content and own:
        place.at(kind).key_fault("content is given too", "remove one of them")
    if not found.content and not own and not found.extends and not faults:
        place.fault(f"the file has no text: expected `content: …` or `{kind}: …`")
    if faults:
        raise InvalidConfig(tuple(faults))
    path = ("content",) if found.content else (kind,)
    content = (found.content or own).strip()
    return Layer(kind=kind, name="", content=content, file=source.name, start=document.span(path)), found.extends
