"""Lengths of time as people write them in YAML."""

from __future__ import annotations

import re

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def write_duration(length: float) -> str:
    """A length of time in seconds as it is written in YAML: ``10m``, ``1.5s``."""
    for unit in ("h", "m"):
        if length and length % _SECONDS[unit] == 0:
            return f"{length / _SECONDS[unit]:g}{unit}"
    return f"{length:g}s"


def seconds(text: str) -> float | None:
    """``250ms``, ``60s``, ``5m`` or ``1h`` in seconds, a bare number too; None for anything else."""
    match = _DURATION.fullmatch(text)
    return None if match is None else float(match[1]) * _SECONDS[match[2] or "s"]
