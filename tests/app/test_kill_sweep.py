"""The kill sweep: killed anywhere, resumed, killed again, the end is the same; nothing finished is done twice (E4).

The oracle stands outside the program: a file to which each execution of a node is written, synced.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
from kill_sweep import CASES, LOG, Case, Points, begun, play, replays, story
from kill_sweep_stores import HOMES, Home, InFolder, in_folder
from kill_sweep_story import Key, Story

from faults import LossyFiles, PowerCut
from orchestra.errors import StoreError

KILLS_AGAIN = 2
"""Further kills after the first: a node that its runner dies at four times is failed by design (E4)."""

FEW, OTHERS = 2, 3
"""Places per pipeline in the short form, beside one of each kind: with a folder, with each other store."""

ELSEWHERE = ("asked", "branches", "children", "large", "restarting")
"""Pipelines that ask for everything that a store can do; the others run on a folder in the short form."""

POWER = 5
"""Changes at which the power goes, per pipeline."""

INSIDE = 2
"""Places in handlers and waits, per pipeline."""

Homes = Callable[[Case, Path], AbstractContextManager[Home]]


def to_its_end(home: Home, points: Points) -> Story:
    """Go on until the run has ended."""
    home.play(points)
    found = home.story()
    assert found is not None
    assert found.ended
    return found


def undisturbed(case: Case, folder: Path, homes: Homes = in_folder) -> tuple[Story, list[str]]:
    """What a run comes to that nobody disturbs, and the points that it passes."""
    points = Points()
    folder.mkdir()
    with homes(case, folder) as home:
        return to_its_end(home, points), points.names


def check(before: list[tuple[Story | None, Counter[Key]]], effects: Path, found: Story, expected: Story) -> None:
    """The end is the expected one; what was done at a kill was not begun again; what was cut off is marked so."""
    begins = begun(effects)
    assert found.outcome == expected.outcome
    for at_kill, begun_then in before:
        for key in at_kill.done if at_kill is not None else ():
            assert begins[key] == begun_then[key], f"{key} had ended, and was begun again"
    for key, count in begins.items():
        assert count <= 1 + found.again[key], (
            f"{key} was begun {count} times, and is marked {found.again[key]} times"
        )
    assert set(begins) == expected.begun
    assert all(count == 1 for count in found.taken.values()), "a request took effect twice"


def sweep(
    case: Case, folder: Path, places: list[int], expected: Story, rng: random.Random, count: int, homes: Homes
) -> int:
    """Kill the run at each of the places, and again; how often it was killed."""
    kills = 0
    for place in places:
        here = folder / str(place)
        here.mkdir()
        before: list[tuple[Story | None, Counter[Key]]] = []
        at = place
        with homes(case, here) as home:
            while len(before) < 1 + KILLS_AGAIN and home.killed(at):
                now = home.story()
                before.append((now, begun(home.effects)))
                if now is not None and now.ended:
                    break
                at = rng.randrange(count)
            check(before, home.effects, to_its_end(home, Points()), expected)
        kills += len(before)
        shutil.rmtree(here)
    return kills


def spread(count: int, most: int, rng: random.Random) -> list[int]:
    """Places over the whole run, other ones for each pipeline."""
    return sorted(rng.sample(range(count), min(most, count)))


def of_each_kind(names: list[str], rng: random.Random) -> set[int]:
    """A place of each kind that a run passes."""
    return {rng.choice([place for place, name in enumerate(names) if name == kind]) for kind in set(names)}


def swept(case: Case, folder: Path, homes: Homes, most: int, inside: int) -> None:
    """Kill a run at some places, and at some inside of handlers and waits."""
    expected, names = undisturbed(case, folder / "undisturbed", homes)
    rng = random.Random(case.name)
    places = [place for place, name in enumerate(names) if name.startswith("handler") or name == "wait"]
    chosen = {*spread(len(names), most, rng), *rng.sample(places, min(inside, len(places)))}
    if homes is in_folder:
        chosen |= of_each_kind(names, rng)
    kills = sweep(case, folder, sorted(chosen), expected, rng, len(names), homes)
    assert (
        kills >= len(chosen) // 2
    )  # not each run passes as many points: a parent may look at its child more often


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_that_is_killed_again_and_again_comes_to_the_same_end(case: Case, quick_path: Path) -> None:
    swept(case, quick_path, in_folder, FEW, INSIDE)


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("case", [case for case in CASES if case.name in ELSEWHERE], ids=lambda case: case.name)
def test_a_run_that_is_killed_comes_to_the_same_end_with_every_store(
    case: Case, home: str, quick_path: Path
) -> None:
    swept(case, quick_path, HOMES[home], OTHERS, 1)


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("home", ["folder", *HOMES])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_that_is_killed_at_every_point_comes_to_the_same_end(
    case: Case, home: str, seed: int, quick_path: Path
) -> None:
    homes = HOMES.get(home, in_folder)
    expected, names = undisturbed(case, quick_path / "undisturbed", homes)
    kills = sweep(case, quick_path, list(range(len(names))), expected, random.Random(seed), len(names), homes)
    print(f"{case.name}, {home}: killed {kills} times")
    assert kills >= len(names) * 2 // 3


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_replay_from_any_turn_comes_to_the_same_end(
    case: Case, quick_path: Path, pytestconfig: pytest.Config
) -> None:
    every = pytestconfig.getoption("--long")
    async for depth, whole, replayed in replays(case, quick_path / "effects", every=every):
        assert replayed.outcome == whole.outcome, depth


# --- without power -------------------------------------------------------------------------------

SMALL_LOG = 12_000
"""A log that a run fills several times."""


def cut(
    case: Case, folder: Path, expected: Story, at: int, seed: int, lossy: LossyFiles, capacity: int = LOG
) -> None:
    """The power goes at a change of a file; what was not synced may be lost, in any order."""
    lossy.cut_at = at
    (folder / "running").mkdir()
    with pytest.raises(PowerCut):
        play(case, folder / "running", Points(), lossy, capacity)
    lossy.end()
    done = begun(folder / "running" / "effects")
    after = folder / "after"
    after.mkdir()
    lossy.disk.after_power_cut(str(folder / "running" / "store"), str(after / "store"), random.Random(seed))
    if (folder / "running" / "effects").exists():
        shutil.copy(folder / "running" / "effects", after / "effects")
    now = story(after)
    home = InFolder(case, after)
    check([(now, done)], home.effects, to_its_end(home, Points()), expected)
    shutil.rmtree(folder / "running")
    shutil.rmtree(after)


def cuts(case: Case, folder: Path, expected: Story, places: range, lossy: Callable[[], LossyFiles]) -> None:
    """The power goes at each of some changes."""
    for at in places:
        cut(case, folder, expected, at, at, lossy(), SMALL_LOG)


def changes_of(names: list[str]) -> int:
    """How many of the points are changes of files."""
    return sum(1 for name in names if not name.startswith("handler") and name != "wait")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_whose_power_is_cut_comes_to_the_same_end(case: Case, quick_path: Path) -> None:
    expected, names = undisturbed(case, quick_path / "undisturbed")
    rng = random.Random(case.name)
    for at in spread(changes_of(names), POWER, rng):
        cut(case, quick_path, expected, at, rng.randrange(1000), LossyFiles())


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("capacity", [LOG, SMALL_LOG])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_whose_power_is_cut_at_every_change_comes_to_the_same_end(
    case: Case, capacity: int, seed: int, quick_path: Path
) -> None:
    expected, names = undisturbed(case, quick_path / "undisturbed")
    for at in range(changes_of(names)):
        cut(case, quick_path, expected, at, seed * 100_000 + at, LossyFiles(), capacity)


@pytest.mark.parametrize(
    ("kind", "site"),
    [
        ("deaf", "handle._commit"),
        ("deaf", "directory.sync"),
        ("deaf", "directory.sync_folders"),
        ("deaf", "bundles.put"),
        ("late", "handle._commit"),
        ("late", "bundles.put"),
    ],
)
def test_a_store_that_leaves_out_a_sync_or_writes_too_late_is_found(kind: str, site: str, quick_path: Path) -> None:
    """The other places want more than one run: they are in the contract suite's mutations."""
    case = next(case for case in CASES if case.name == "retries")
    expected, names = undisturbed(case, quick_path / "undisturbed")
    sites = frozenset({site})
    mutant = partial(LossyFiles, deaf=sites) if kind == "deaf" else partial(LossyFiles, late=sites)
    with pytest.raises((AssertionError, StoreError)):
        cuts(case, quick_path, expected, range(0, changes_of(names), 3), mutant)
