"""Python's cyclic garbage collector, kept away while much is made that all stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Look for no garbage among nodes and spans while a pipeline is read and checked.

    On a large one that would cost as much as the reading, and more for each node the larger it is. A collector
    that is off already stays off.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
