"""Typed reading of a YAML document: every fault with its place, all of them at once.

A *reader* turns plain data into a value of one type, and reports what is wrong to the ``SettingPlace`` that
it gets. A section is a frozen dataclass whose fields are declared with ``key``, which names the reader and what
the key means; ``section`` makes a reader of it. A value that cannot be used leaves its field at the default, and
reading continues.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from orchestra.config.durations import seconds
from orchestra.config.yaml import Document, Path, load
from orchestra.errors import ConfigError, InvalidConfig, Source, Span
from orchestra.graph.nearest import nearest

_T = TypeVar("_T")

WRONG: Any = object()
"""What a reader returns for a value that cannot be used, after it has reported it."""


@dataclass(frozen=True, slots=True)
class SettingPlace:
    """A value in the settings: its path, the document that it may be in, and where faults go.

    ``given`` names the flag or the environment variable that a path's value came from instead of the document.
    """

    path: Path
    document: Document | None
    faults: list[ConfigError]
    given: Mapping[Path, str]

    def at(self, *steps: str | int) -> SettingPlace:
        """The place of a part of the value."""
        return replace(self, path=(*self.path, *steps))

    @property
    def name(self) -> str:
        """The path as it is shown: ``agents.reviewer.tools[2]``."""
        return dotted_path(self.path)

    def fault(self, message: str, fix: str = "") -> Any:
        """Report that the value cannot be used."""
        return self._report(message, fix, self.document.span(self.path) if self.document is not None else None)

    @property
    def faulty(self) -> bool:
        """Whether a fault was reported below this place, so that what follows from it is not worth a word."""
        return any(fault.message.startswith(f"{self.name}.") for fault in self.faults)

    def key_fault(self, message: str, fix: str = "") -> Any:
        """Report that the key at the end of the path is wrong."""
        return self._report(message, fix, self.document.key_span(self.path) if self.document is not None else None)

    def _report(self, message: str, fix: str, span: Span | None) -> Any:
        origin = next(
            (self.given[self.path[:end]] for end in _ends(self.path) if self.path[:end] in self.given), ""
        )
        lead = f"{origin} ({self.name})" if origin else self.name
        text = f"{lead}: {message}" if lead else message
        self.faults.append(ConfigError(text, span=None if origin else span, fix=fix))
        return WRONG


def _ends(path: Path) -> range:
    return range(len(path), 0, -1)


def dotted_path(path: Path) -> str:
    """A path as it is shown: ``agents.reviewer.tools[2]``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            shown = step if re.fullmatch(r"[\w-]+", step) else f'"{step}"'
            text += f".{shown}" if text else shown
    return text


Reader: TypeAlias = Callable[[Any, SettingPlace], _T]
"""Turns plain data into a value, or reports a fault and returns ``WRONG``."""


class Key(NamedTuple):
    """One key of a section: the field it fills, how it is read, what it means, its default as it is shown.

    ``others`` are what other programs call it.
    """

    field: str
    reader: Reader[Any]
    meaning: str
    default: Any
    required: bool
    others: tuple[str, ...]


def key(
    reader: Reader[Any],
    meaning: str,
    *,
    default: Any = MISSING,
    factory: Any = MISSING,
    aliases: tuple[str, ...] = (),
    required: bool = False,
    others: tuple[str, ...] = (),
) -> Any:
    """Declare a field of a section. ``aliases`` are other names for the key, ``others`` are only hints."""
    metadata = {"reader": reader, "meaning": meaning, "aliases": aliases, "required": required, "others": others}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def keys_of(cls: type[Any]) -> Mapping[str, Key]:
    """Every key that a section may have, aliases too."""
    if cls not in _KEYS:
        _KEYS[cls] = _keys_of(cls)
    return _KEYS[cls]


_KEYS: dict[type[Any], Mapping[str, Key]] = {}


def _keys_of(cls: type[Any]) -> Mapping[str, Key]:
    found: dict[str, Key] = {}
    for each in fields(cls):
        if "reader" not in each.metadata:
            continue
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        given = each.metadata
        entry = Key(each.name, given["reader"], given["meaning"], default, given["required"], given["others"])
        for name in (each.name, *each.metadata["aliases"]):
            found[name] = entry
    return found


@dataclass(frozen=True, slots=True)
class Section(Generic[_T]):
    """Reads a mapping with fixed keys into a dataclass.

    ``named``: its ``name`` field gets the key of the mapping.
    """

    cls: type[_T]
    named: bool = False

    def __call__(self, value: Any, place: SettingPlace) -> _T:
        """The section; keys that cannot be used are at their defaults."""
        if value is None:
            value = {}
        if not isinstance(value, dict):
            place.fault(f"expected keys and values, not {kind_of(value)}")
            value = {}
        known = keys_of(self.cls)
        given: dict[str, str] = {}
        meant: set[str] = set()
        found: dict[str, Any] = {"name": place.path[-1]} if self.named else {}
        for name, item in value.items():
            here, entry = place.at(name), known.get(name)
            if entry is None:
                meaning = [key for key, one in known.items() if str(name).lower() in one.others]
                fix = f"did you mean {meaning[0]!r}?" if meaning else suggestion(str(name), known)
                here.key_fault("unknown key", fix)
                meant.add(fix)
            elif entry.field in given:
                here.key_fault(
                    f"is the same setting as {given[entry.field]}, which is also set", "remove one of them"
                )
            else:
                given[entry.field] = name
                self._read(entry, item, here, found)
        for name, entry in known.items():
            if entry.required and entry.field not in given and f"did you mean {name!r}?" not in meant:
                place.key_fault(f"{name} is missing", f"add `{name}: …`: {entry.meaning}")
        return self.cls(**found)

    def _read(self, entry: Key, item: Any, place: SettingPlace, found: dict[str, Any]) -> None:
        if item is None and (entry.default is None or isinstance(entry.default, bool | int | float | str)):
            place.key_fault("has no value", f"set a value, or remove the key: {entry.meaning}")
            return
        read = entry.reader(item, place)
        if read is not WRONG:
            found[entry.field] = read


@dataclass(frozen=True, slots=True)
class MapOf(Generic[_T]):
    """Reads a mapping whose keys are the author's names."""

    reader: Reader[_T]

    def __call__(self, value: Any, place: SettingPlace) -> dict[str, _T]:
        """The values by name, without those that cannot be used."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            place.fault(f"expected names and their values, not {kind_of(value)}")
            return {}
        read = {name: self.reader(item, place.at(name)) for name, item in value.items()}
        return {name: item for name, item in read.items() if item is not WRONG}


def list_of(reader: Reader[_T]) -> Reader[tuple[_T, ...]]:
    """A reader of lists."""

    def read(value: Any, place: SettingPlace) -> tuple[_T, ...]:
        if not isinstance(value, list):
            return place.fault(f"expected a list, not {kind_of(value)}", "write it as [first, second]")  # type: ignore[no-any-return]
        items = [reader(item, place.at(index)) for index, item in enumerate(value)]
        return tuple(item for item in items if item is not WRONG)

    return read


def one_or_many(reader: Reader[_T]) -> Reader[tuple[_T, ...]]:
    """A reader of a list, or of the only item of one."""

    def read(value: Any, place: SettingPlace) -> tuple[_T, ...]:
        if isinstance(value, list):
            return list_of(reader)(value, place)
        item = reader(value, place)
        return () if item is WRONG else (item,)

    return read


def text(value: Any, place: SettingPlace) -> str:
    """A text; numbers and the like have to be quoted."""
    if not isinstance(value, str):
        fix = "put it in quotes" if isinstance(value, bool | int | float) else ""
        return place.fault(f"expected text, not {kind_of(value)}", fix)  # type: ignore[no-any-return]
    return value


def words(value: Any, place: SettingPlace) -> str:
    """A text; a number or a truth value is one as it is written."""
    if isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return text(value, place)


def word(value: Any, place: SettingPlace) -> str:
    """A text that is not empty."""
    found = text(value, place)
    return place.fault("is empty") if found == "" else found


def flag(value: Any, place: SettingPlace) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        return place.fault(f"expected true or false, not {kind_of(value)}")  # type: ignore[no-any-return]
    return value


def whole(minimum: int = 0, maximum: int = 2**40) -> Reader[int]:
    """A reader of whole numbers in a range."""

    def read(value: Any, place: SettingPlace) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            return place.fault(f"expected a whole number, not {kind_of(value)}")  # type: ignore[no-any-return]
        if not minimum <= value <= maximum:
            return place.fault(_out_of_range(value, minimum, maximum))  # type: ignore[no-any-return]
        return value

    return read


def number(minimum: float = 0.0, maximum: float = 1e9) -> Reader[float]:
    """A reader of numbers in a range."""

    def read(value: Any, place: SettingPlace) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            fix = "write it as 5 or 0.5, without a unit" if isinstance(value, str) else ""
            return place.fault(f"expected a number, not {kind_of(value)}", fix)  # type: ignore[no-any-return]
        if not minimum <= value <= maximum:
            return place.fault(_out_of_range(value, minimum, maximum))  # type: ignore[no-any-return]
        return float(value)

    return read


def _out_of_range(value: float, minimum: float, maximum: float) -> str:
    if value != value:
        return "is not a number"
    return f"{value} is less than {minimum:g}" if value < minimum else f"{value} is more than {maximum:g}"


def bound(reader: Reader[float]) -> Reader[float]:
    """A reader of a bound, which is more than nothing: a bound of 0 would allow no work at all (A5)."""

    def read(value: Any, place: SettingPlace) -> float:
        found = reader(value, place)
        if found is not WRONG and found < LEAST:
            return place.fault(f"{value} would allow nothing", "remove it for no limit")  # type: ignore[no-any-return]
        return found

    return read


LEAST = 1e-6
"""The smallest bound: a millionth of a dollar, or of a second."""


def length(value: Any, place: SettingPlace) -> float:
    """A length of time in seconds: 90, 30s, 5m, 2h."""
    plain = isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool))
    found = seconds(str(value)) if plain else None
    if found is None:
        return place.fault(f"{_show(value)} is not a duration", "write it as 30s, 5m or 2h")  # type: ignore[no-any-return]
    return found


def choice(*words: str) -> Reader[str]:
    """A reader of one of some words."""

    def read(value: Any, place: SettingPlace) -> str:
        if not isinstance(value, str) or value not in words:
            near = suggestion(str(value), words) if isinstance(value, str) else ""
            fix = near if near.startswith("did you") else ""  # the message has the words already
            return place.fault(f"{_show(value)} is not one of {', '.join(words)}", fix)  # type: ignore[no-any-return]
        return value

    return read


def plain(value: Any, place: SettingPlace) -> Any:
    """Any value as it is."""
    return value


def mapping(value: Any, place: SettingPlace) -> dict[str, Any]:
    """Keys and values as they are."""
    if not isinstance(value, dict):
        return place.fault(f"expected keys and values, not {kind_of(value)}")  # type: ignore[no-any-return]
    return value


def read(source: Source, reader: Reader[_T]) -> _T:
    """Read a whole document. Raises ``ConfigError``, ``InvalidConfig`` for several faults."""
    document, faults = load(source), list[ConfigError]()
    found = reader(document.data, SettingPlace((), document, faults, {}))
    if faults:
        raise InvalidConfig(tuple(faults)) if len(faults) > 1 else faults[0]
    return found


_TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")


def argument(value: Any, place: SettingPlace) -> dict[str, Any]:
    """One argument of a tool: a JSON Schema, whose type is one of those that JSON has."""
    if not isinstance(value, dict):
        return place.fault(f"expected a JSON Schema, not {kind_of(value)}", "write it as {type: string}")  # type: ignore[no-any-return]
    named = value.get("type", "string")
    for each in named if isinstance(named, list) else [named]:
        choice(*_TYPES)(each, place.at("type"))
    return value


def address(value: Any, place: SettingPlace) -> str:
    """The address of a server of HTTP."""
    if not isinstance(value, str) or not re.match(r"https?://[^/\s]", value):
        return place.fault(f"{_show(value)} is not an address", "write it as https://HOST or http://HOST:PORT")  # type: ignore[no-any-return]
    return word(value, place)


def variable(value: Any, place: SettingPlace) -> str:
    """The name of an environment variable; a value in its place, such as a key, is not repeated."""
    found = word(value, place)
    if found is not WRONG and not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", found):
        fix = "write a name such as OPENAI_API_KEY, and set that variable"
        return place.fault("is not the name of an environment variable", fix)  # type: ignore[no-any-return]
    return found


def suggestion(name: str, known: Any) -> str:
    """What was probably meant, else what is known here."""
    names = list(dict.fromkeys(known))
    folded = name.lower().replace("-", "_")
    near = nearest(folded, names) or next(iter(get_close_matches(name, names, n=1)), None)
    if folded in names or near:
        return f"did you mean {folded if folded in names else near!r}?"
    return f"known here: {', '.join(names)}" if names else ""


def kind_of(value: Any) -> str:
    """A value's type in the reader's words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"{str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {_show(value)}"
        case list():
            return "a list"
        case _:
            return "keys and values"


def _show(value: Any) -> str:
    if isinstance(value, str):
        return repr(value if len(value) < 40 else f"{value[:36]}…")
    return kind_of(value) if isinstance(value, bool | list | dict) or value is None else str(value)


def leaves(data: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value of plain data that is no mapping, with its path."""
    if isinstance(data, dict) and data:
        for name, item in data.items():
            yield from leaves(item, (*path, name))
    else:
        yield path, data
