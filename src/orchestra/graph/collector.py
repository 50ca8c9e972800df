"""Pause Python's cyclic garbage collector while many lasting objects are created."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

MANY = 20_000
"""Objects made, from which on moving them to the old generation is worth it."""


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
        # What is frozen is counted one by one: that too would cost more than reading a small pipeline.
        if gc.get_count()[0] > MANY and gc.get_freeze_count() == 0:
            gc.freeze()
            gc.unfreeze()
        gc.enable()
