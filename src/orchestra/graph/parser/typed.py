"""Convert raw values to typed ones by the attribute table (L5, L6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from orchestra.graph.attributes import Duration, Entry, Value, ValueKind
from orchestra.graph.nearest import nearest
from orchestra.graph.tokens import DURATION, FLOAT, IDENTIFIER, INTEGER, KEYWORDS

_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BOOLEANS = {"true": True, "false": False}
_WORDS = dict(
    zip("none one two three four five six seven eight nine ten".split(), map(str, range(11)), strict=True)
)
_LARGEST = 2**63 - 1
_TEXTS = frozenset({ValueKind.STRING, ValueKind.NODE, ValueKind.FIDELITY})


class Misfit(Exception):
    """A value that does not fit its attribute: what is wanted, the fix, and what to write."""

    def __init__(self, wanted: str, fix: str = "", put: str | None = None) -> None:
        super().__init__(wanted)
        self.wanted = wanted
        self.fix = fix
        self.put = put


def read_typed(entry: Entry | None, text: str, quoted: bool) -> tuple[Value, str, str]:
    """The value that a text stands for under an attribute. Raises ``Misfit``.

    With it come a remark and its fix, where the text was understood but should be written otherwise. Without an
    entry the text decides: a quoted one is a string, a bare one what it looks like.
    """
    if entry is None:
        return text if quoted else natural(text), "", ""
    if entry.kind in _TEXTS:
        return text, "", ""
    if entry.kind is ValueKind.DURATION:
        return _duration(text.strip())
    return _READERS[entry.kind](entry, text.strip()), "", ""


def natural(text: str) -> Value:
    """What a bare value looks like: boolean, integer, float, else a word.

    A duration stays the word that it is, so that it means the same when it is written back in quotes (L13).
    """
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if INTEGER.fullmatch(text):
        return int(text) if len(text) < 20 and abs(int(text)) <= _LARGEST else text
    if FLOAT.fullmatch(text) and len(text) < 300:
        return float(text)
    return text


def _integer(entry: Entry, text: str) -> int:
    whole = re.sub(r"\.0*$", "", text)
    if not INTEGER.fullmatch(whole):
        digits = re.match(r"[0-9]{1,12}", re.sub("[Oo]", "0", text))
        word = _WORDS.get(text.lower()) or (digits[0] if digits else None)
        if FLOAT.fullmatch(text) and len(text) < 16:
            word = str(max(round(float(text)), entry.minimum or 0))
        raise Misfit("a whole number such as 3", f"write {entry.key}={word or 3}", word)
    text = whole
    if len(text) > 19 or abs(int(text)) > _LARGEST:
        raise Misfit("a whole number of at most 18 digits")
    value = int(text)
    if entry.minimum is not None and value < entry.minimum:
        raise Misfit(f"a whole number of {entry.minimum} or more", f"write {entry.key}={entry.minimum}")
    return value


def _float(entry: Entry, text: str) -> float:
    if not FLOAT.fullmatch(text):
        raise Misfit("a number such as 0.5", f"write {entry.key}={_share(text)}")
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Misfit("a smaller number")
    if entry.minimum is not None and entry.maximum is not None and not entry.minimum <= value <= entry.maximum:
        raise Misfit(f"a number from {entry.minimum} to {entry.maximum}", f"write {entry.key}={_share(text)}")
    return value


def _share(text: str) -> str:
    """The part of a whole that a text may mean: ``50%`` and ``50`` are ``0.5``."""
    match = re.fullmatch(r"([0-9]{1,2})\s*%?", text)
    return f"{int(match[1]) / 100:g}" if match else "0.5"


def _boolean(_entry: Entry, text: str) -> bool:
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    lowered = text.lower()
    if lowered in ("true", "yes", "on", "1"):
        raise Misfit("true or false", "write true", "true")
    if lowered in ("false", "no", "off", "0"):
        raise Misfit("true or false", "write false", "false")
    near = nearest(lowered, _BOOLEANS)
    raise Misfit("true or false", f"write {near}" if near else "", near or None)


def _choice(entry: Entry, text: str) -> str:
    if text in entry.choices:
        return text
    near = nearest(text, entry.choices) or next(
        (w for w in _MEANT.get(text.lower(), ()) if w in entry.choices), None
    )
    words = ", ".join(word for word in entry.choices if word)
    raise Misfit(f"one of {words}", f"did you mean {near!r}?" if near else f"write one of {words}", near)


_MEANT = {
    "all": ("wait_all",),
    "wait": ("wait_all",),
    "every": ("all", "wait_all"),
    "any": ("first_success",),
    "first": ("first_success",),
    "race": ("first_success",),
    "majority": ("quorum",),
    "abort": ("fail_fast",),
    "fail": ("fail_fast",),
    "stop": ("fail_fast",),
    "skip": ("ignore",),
    "default": ("standard",),
    "exponential": ("standard",),
    "constant": ("linear",),
    "fixed": ("linear",),
    "restart": ("rerun",),
    "retry": ("rerun",),
}
"""What other tools call the choices."""


_READERS: Mapping[ValueKind, Callable[[Entry, str], Value]] = {
    ValueKind.INTEGER: _integer,
    ValueKind.FLOAT: _float,
    ValueKind.BOOLEAN: _boolean,
    ValueKind.CHOICE: _choice,
}


def _duration(text: str) -> tuple[Duration, str, str]:
    match = DURATION.fullmatch(text)
    if match is not None and len(match[1]) < 12 and int(match[1]) >= 0:
        return Duration(int(match[1]) * _MILLISECONDS[match[2]]), "", ""
    if INTEGER.fullmatch(text) and len(text) < 12 and int(text) >= 0:
        number = int(text)
        if number >= 10_000 and number % 500 == 0 and number % 3600:  # no whole hours, but round as milliseconds
            remark = f"{text} is read as {text} seconds, which is {number / 3600:.3g} h"
            return (
                Duration(number * 1000),
                remark,
                f"write {Duration(number)} if milliseconds are meant, else {text}s",
            )
        return Duration(number * 1000), f"{text} is read as {text} seconds", f"write {text}s"
    if text.lower() in _ENDLESS:
        raise Misfit("a duration such as 900s, 15m or 2h", "remove it: without it there is no limit")
    fix = _duration_fix(text)
    wanted = "a duration such as 900s, 15m, 2h, 250ms or 1d"
    raise Misfit(wanted, fix or f"write {wanted}", fix.removeprefix("write ") or None)


_ENDLESS = frozenset("none never no off false unlimited infinite infinity inf null".split())

_UNITS = {
    "msec": "ms",
    "millisecond": "ms",
    "second": "s",
    "sec": "s",
    "minute": "m",
    "min": "m",
    "hr": "h",
    "hour": "h",
}
_UNITS |= {"day": "d"} | {unit: unit for unit in _MILLISECONDS}


def _duration_fix(text: str) -> str:
    """Return ``write 90m`` for ``1.5h``, ``15 minutes`` or ``1h30m``; empty if unreadable."""
    total = 0.0
    rest = text.lower() if len(text) <= 40 else "too long"
    rest = re.sub(r"^p(?:(\d+d))?t?(?=\d|$)", r"\1", rest)  # as ISO 8601 writes it: PT30S
    while rest:
        match = re.match(r"\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*([a-z]+)\s*", rest)
        unit = None if match is None else _UNITS.get(match[2]) or _UNITS.get(match[2].removesuffix("s"))
        if match is None or unit is None:
            return ""
        total += float(match[1]) * _MILLISECONDS[unit]
        rest = rest[match.end() :]
    return f"write {Duration(round(total))}" if total else ""


def legal_id(text: str) -> str:
    """An id that a text could be written as: letters without their marks, digits and underscores (L3)."""
    from unicodedata import normalize  # only messages need it

    plain = [c for c in normalize("NFKD", text.strip()[:200]) if c.isascii() or c.isspace() or not c.isprintable()]
    made = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in plain).strip("_")
    made = made or "node_1"
    return made if IDENTIFIER.fullmatch(made) and made.lower() not in KEYWORDS else f"n_{made}"
