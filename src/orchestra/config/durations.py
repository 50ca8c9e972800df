"""Lengths of time as people write them in YAML."""

from __future__ import annotations

import re

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float | None:
    """``250ms``, ``60s``, ``5m`` or ``1h`` in seconds, a bare number too; None for anything else."""
    match = _DURATION.fullmatch(text)
    return None if match is None else float(match[1]) * _SECONDS[match[2] or "s"]
