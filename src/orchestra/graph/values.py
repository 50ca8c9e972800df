"""Raw values become typed ones by the attribute table (L5, L6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestra.graph.attributes import FIDELITIES, Duration, Entry, Kind, Value, nearest
from orchestra.graph.tokens import DURATION, FLOAT, IDENTIFIER, INTEGER

_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BOOLEANS = {"true": True, "false": False}
_LARGEST = 2**63 - 1


class Misfit(Exception):
    """A value that does not fit its attribute: what is wanted, and a fix where one is plain."""

    def __init__(self, wanted: str, fix: str = "") -> None:
        super().__init__(wanted)
        self.wanted = wanted
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Typed:
    """A value, and a remark where it was understood but should be written otherwise."""

    value: Value
    remark: str = ""
    fix: str = ""


def typed(entry: Entry | None, text: str, quoted: bool) -> Typed:
    """The value that a text stands for under an attribute. Raises ``Misfit``.

    Without an entry the text decides: a quoted one is a string, a bare one what it looks like.
    """
    if entry is None:
        return Typed(text if quoted else natural(text))
    if entry.kind in (Kind.STRING, Kind.NODE, Kind.FIDELITY):
        return Typed(text)
    if entry.kind is Kind.DURATION:
        return _duration(text.strip())
    return Typed(_READERS[entry.kind](entry, text.strip()))


def natural(text: str) -> Value:
    """What a bare value looks like: boolean, integer, float, duration, else a word."""
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if INTEGER.fullmatch(text) and len(text) < 20:
        return int(text)
    if FLOAT.fullmatch(text) and any(c in text for c in ".eE"):
        return float(text)
    match = DURATION.fullmatch(text)
    if match is not None and len(text) < 16:
        return Duration(int(match[1]) * _MILLISECONDS[match[2]])
    return text


def _integer(entry: Entry, text: str) -> int:
    if not INTEGER.fullmatch(text):
        fix = f"{entry.key}={text[:-2]}" if text.endswith(".0") and INTEGER.fullmatch(text[:-2]) else ""
        raise Misfit("a whole number such as 3", fix)
    if len(text) > 19 or abs(int(text)) > _LARGEST:
        raise Misfit("a whole number of at most 18 digits")
    value = int(text)
    if entry.minimum is not None and value < entry.minimum:
        raise Misfit(f"a whole number of {entry.minimum} or more")
    return value


def _float(_entry: Entry, text: str) -> float:
    if not FLOAT.fullmatch(text):
        raise Misfit("a number such as 0.5")
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Misfit("a number that is not that large")
    return value


def _boolean(_entry: Entry, text: str) -> bool:
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    lowered = text.lower()
    if lowered in ("true", "yes", "on", "1"):
        raise Misfit("true or false", "write true")
    if lowered in ("false", "no", "off", "0"):
        raise Misfit("true or false", "write false")
    raise Misfit("true or false")


def _choice(entry: Entry, text: str) -> str:
    if text in entry.choices:
        return text
    near = nearest(text, entry.choices)
    words = ", ".join(word for word in entry.choices if word)
    raise Misfit(f"one of {words}", f"did you mean {near!r}?" if near else "")


_READERS: Mapping[Kind, Callable[[Entry, str], Value]] = {
    Kind.INTEGER: _integer,
    Kind.FLOAT: _float,
    Kind.BOOLEAN: _boolean,
    Kind.CHOICE: _choice,
}


def _duration(text: str) -> Typed:
    match = DURATION.fullmatch(text)
    if match is not None and len(match[1]) < 12 and int(match[1]) >= 0:
        return Typed(Duration(int(match[1]) * _MILLISECONDS[match[2]]))
    if INTEGER.fullmatch(text) and len(text) < 12 and int(text) >= 0:
        return Typed(Duration(int(text) * 1000), f"{text} is read as {text} seconds", f"write {text}s")
    raise Misfit("a duration such as 900s, 15m, 2h, 250ms or 1d", _duration_fix(text))


def _duration_fix(text: str) -> str:
    parts = text.split()
    units = {"millisecond": "ms", "second": "s", "sec": "s", "minute": "m", "min": "m", "hour": "h", "day": "d"}
    if len(parts) == 2 and INTEGER.fullmatch(parts[0]):
        unit = units.get(parts[1].lower().rstrip("s")) or (parts[1] if parts[1] in _MILLISECONDS else "")
        return f"write {parts[0]}{unit}" if unit else ""
    return ""


def fidelity_known(text: str) -> bool:
    """Whether a text is a fidelity mode."""
    return text in FIDELITIES


def legal_id(text: str) -> str:
    """An id that a text could be written as: letters, digits and underscores (L3)."""
    made = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in text.strip()).strip("_")
    made = made or "node"
    return made if IDENTIFIER.fullmatch(made) else f"n_{made}"
