"""The crown test: killed anywhere, resumed, killed again, the end is the same; nothing finished is done twice (E4).

The oracle stands outside the program: a file to which each execution of a node is written, synced.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from crown import CASES, Case, Key, Points, Story, begun, killed, play, replays, story

from orchestra.cxdb.faults import LossyFiles, PowerCut

KILLS_AGAIN = 2
"""Further kills after the first: a node that its runner dies at four times is failed by design (E4)."""

FEW = 7
"""Places per pipeline in the short form."""


def undisturbed(case: Case, folder: Path) -> tuple[Story, list[str]]:
    """What a run comes to that nobody disturbs, and the points that it passes."""
    points = Points()
    folder.mkdir()
    play(case, folder, points)
    found = story(folder)
    assert found is not None
    assert found.ended
    return found, points.names


def check(before: list[tuple[Story | None, Counter[Key]]], folder: Path, expected: Story) -> None:
    """The end is the expected one; what was done at a kill was not begun again; what was cut off is marked so."""
    found, begins = story(folder), begun(folder / "effects")
    assert found is not None
    assert found.outcome == expected.outcome
    for at_kill, begun_then in before:
        for key in at_kill.done if at_kill is not None else ():
            assert begins[key] == begun_then[key], f"{key} had ended, and was begun again"
    for key, count in begins.items():
        assert count <= 1 + found.again[key], (
            f"{key} was begun {count} times, and is marked {found.again[key]} times"
        )
    assert set(begins) == expected.begun


def sweep(case: Case, folder: Path, places: list[int], expected: Story, rng: random.Random, count: int) -> None:
    for place in places:
        here = folder / str(place)
        here.mkdir()
        before: list[tuple[Story | None, Counter[Key]]] = []
        at = place
        for _ in range(1 + KILLS_AGAIN):
            if not killed(case, here, at):
                break
            now = story(here)
            before.append((now, begun(here / "effects")))
            if now is not None and now.ended:
                break
            at = rng.randrange(count)
        if before and (before[-1][0] is None or not before[-1][0].ended):
            play(case, here, Points())
        check(before, here, expected)
        shutil.rmtree(here)


def spread(count: int, most: int, rng: random.Random) -> list[int]:
    """Places over the whole run, other ones for each pipeline."""
    return sorted(rng.sample(range(count), min(most, count)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_that_is_killed_again_and_again_comes_to_the_same_end(case: Case, quick_path: Path) -> None:
    expected, names = undisturbed(case, quick_path / "undisturbed")
    rng = random.Random(case.name)
    sweep(case, quick_path, spread(len(names), FEW, rng), expected, rng, len(names))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_that_is_killed_in_a_handler_or_a_wait_comes_to_the_same_end(case: Case, quick_path: Path) -> None:
    expected, names = undisturbed(case, quick_path / "undisturbed")
    rng = random.Random(case.name)
    places = [place for place, name in enumerate(names) if name.startswith("handler") or name == "wait"]
    sweep(case, quick_path, sorted(rng.sample(places, min(3, len(places)))), expected, rng, len(names))


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_that_is_killed_at_every_point_comes_to_the_same_end(case: Case, seed: int, quick_path: Path) -> None:
    expected, names = undisturbed(case, quick_path / "undisturbed")
    sweep(case, quick_path, list(range(len(names))), expected, random.Random(seed), len(names))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_replay_from_any_turn_comes_to_the_same_end(case: Case, quick_path: Path) -> None:
    async for depth, whole, replayed in replays(case, quick_path / "effects"):
        assert replayed.outcome == whole.outcome, depth


# --- without power -------------------------------------------------------------------------------


def cut(case: Case, folder: Path, expected: Story, at: int, seed: int) -> None:
    """The power goes at a change of a file; what was not synced may be lost, in any order."""
    points, lossy = Points(), LossyFiles(cut_at=at)
    (folder / "running").mkdir()
    with pytest.raises(PowerCut):
        play(case, folder / "running", points, lossy)
    lossy.end()
    done = begun(folder / "running" / "effects")
    after = folder / "after"
    after.mkdir()
    lossy.disk.after_power_cut(str(folder / "running" / "store"), str(after / "store"), random.Random(seed))
    if (folder / "running" / "effects").exists():
        shutil.copy(folder / "running" / "effects", after / "effects")
    now = story(after)
    if now is None or not now.ended:
        play(case, after, Points())
    check([(now, done)], after, expected)
    shutil.rmtree(folder / "running")
    shutil.rmtree(after)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_whose_power_is_cut_comes_to_the_same_end(case: Case, quick_path: Path) -> None:
    expected, names = undisturbed(case, quick_path / "undisturbed")
    changes = sum(1 for name in names if not name.startswith("handler") and name != "wait")
    rng = random.Random(case.name)
    for at in spread(changes, FEW, rng):
        cut(case, quick_path, expected, at, rng.randrange(1000))


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_whose_power_is_cut_at_every_change_comes_to_the_same_end(
    case: Case, seed: int, quick_path: Path
) -> None:
    expected, names = undisturbed(case, quick_path / "undisturbed")
    changes = sum(1 for name in names if not name.startswith("handler") and name != "wait")
    for at in range(changes):
        cut(case, quick_path, expected, at, seed * 100_000 + at)
