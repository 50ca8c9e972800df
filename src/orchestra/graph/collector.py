"""Python's cyclic garbage collector, kept away while much is made that all stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Look for no garbage among nodes and spans while a pipeline is read and checked.

    On a large one that would cost as much as the reading, and more for each node the larger it is. Nor is it looked
    for right afterwards: what was made counts as old from the start. A collector that is off already stays off, and
    what the program froze stays frozen.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count() == 0:
            gc.freeze()
            gc.unfreeze()
        gc.enable()
