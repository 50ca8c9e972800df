"""The sweeps find a store that leaves out a sync, or writes in another order: each place at which it matters (S6).

Each mutation is a file layer that is deaf to the syncs of one function of the store, or lets its writes change
places with the sync that follows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from test_store_crashes import Lossy, deaths, lose_power, random_power_cuts

from faults import LossyFiles
from orchestra.errors import StoreError

Sweep = Callable[[Path, range, Lossy], None]

FOUND: list[tuple[str, str, Sweep, range]] = [
    ("deaf", "handle._commit", lose_power, range(3)),
    ("deaf", "directory.sync", lose_power, range(3)),
    ("deaf", "directory.sync_folders", lose_power, range(3)),
    ("deaf", "recovery.recover", deaths, range(2)),
    ("deaf", "contexts.save", random_power_cuts, range(1256, 1257)),
    ("deaf", "recovery._write_header", random_power_cuts, range(732, 733)),
    ("late", "handle._commit", lose_power, range(3)),
    ("late", "directory.write_parts", deaths, range(2)),
    ("late", "recovery._dirty_again", deaths, range(2)),
    ("late", "contexts.save", random_power_cuts, range(12, 13)),
    ("late", "recovery._write_header", random_power_cuts, range(117, 118)),
]
"""A mistake, and a sweep with seeds that show it."""

HARMLESS = {
    ("deaf", "directory.mark_unsettled"): "a notice for other programs, which recovery does not read",
    ("late", "directory.mark_unsettled"): "a notice for other programs, which recovery does not read",
    ("deaf", "recovery.start_log"): "zeros: a hole reads the same",
    ("late", "recovery.start_log"): "zeros: a hole reads the same",
    ("late", "directory.publish"): "shared memory of the processes that are at work; nothing after a power cut",
    ("late", "recovery.redo"): "still in the log, which is cut after a sync of each of the files",
    ("late", "titles.save"): "a cache, checked as it is read",
}
"""Places at which a sync or an order is not what durability rests on, with the reason."""


def mutant(kind: str, site: str) -> Lossy:
    """The file layer in which one place of the store does not do what it says."""
    sites = frozenset({site})
    return partial(LossyFiles, deaf=sites) if kind == "deaf" else partial(LossyFiles, late=sites)


@pytest.mark.parametrize(("kind", "site", "sweep", "seeds"), FOUND)
def test_a_mistake_at_a_place_that_matters_is_found(
    kind: str, site: str, sweep: Sweep, seeds: range, quick_path: Path
) -> None:
    with pytest.raises((AssertionError, StoreError)):
        sweep(quick_path, seeds, mutant(kind, site))


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("kind", "site"), HARMLESS)
def test_a_mistake_at_another_place_harms_nothing(kind: str, site: str, quick_path: Path) -> None:
    for number, (sweep, seeds) in enumerate([(lose_power, 3), (deaths, 2), (random_power_cuts, 25)]):
        folder = quick_path / str(number)
        folder.mkdir()
        sweep(folder, range(seeds), mutant(kind, site))


def test_every_place_that_writes_or_syncs_is_judged(quick_path: Path) -> None:
    reached: dict[str, set[str]] = {"sync": set(), "write": set()}

    def watched(**how: int) -> LossyFiles:
        files = LossyFiles(**how)  # type: ignore[arg-type]
        files.sites = reached
        return files

    for number, (sweep, seeds) in enumerate([(lose_power, range(1)), (random_power_cuts, range(12))]):
        folder = quick_path / str(number)
        folder.mkdir()
        sweep(folder, seeds, watched)
    judged = {(kind, site) for kind, site, _sweep, _seeds in FOUND} | set(HARMLESS)
    assert {("deaf", site) for site in reached["sync"]} | {("late", site) for site in reached["write"]} <= judged
