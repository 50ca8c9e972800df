"""A run with a child that is killed anywhere, and again, comes to the same end with the same one child (E4)."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from kill_sweep import Case, Points, begun, killed, play, story

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.engine.loading import load_state
from orchestra.engine.sessions import rows
from orchestra.run.state import RunState

PARENT = """digraph parent {
  start [shape=Mdiamond] exit [shape=Msquare] plan
  check [TYPE, stack.child_dotfile="check.dot"]
  start -> plan -> check -> exit
}"""
CHECK = """digraph check {
  start [shape=Mdiamond] exit [shape=Msquare] lint types
  start -> lint -> types
  types -> exit [condition="outcome=success"]
  types -> lint [condition="outcome=fail", loop_restart=true]
}"""
FEW = 10


def parent(kind: str) -> Case:
    return Case("parent", PARENT.replace("TYPE", kind), "nodes: {plan: {cost: 1}}", CHECK)


def sessions(folder: Path) -> list[RunState]:
    """The sessions of a folder's store, oldest first."""

    async def read() -> list[RunState]:
        store = EmbeddedStore.open(folder / "store")
        found = [await load_state(store, row.context_id) for row in reversed(await rows(store))]
        await store.close()
        return found

    return asyncio.run(read())


@pytest.mark.parametrize("kind", ["shape=house"])
def test_a_run_with_a_child_that_is_killed_again_and_again_comes_to_the_same_end(
    kind: str, quick_path: Path
) -> None:
    case, points = parent(kind), Points()
    whole = quick_path / "undisturbed"
    whole.mkdir()
    play(case, whole, points)
    expected = story(whole)
    assert expected is not None
    spent = [state.spent for state in sessions(whole)]
    rng = random.Random(kind)
    for place in sorted(rng.sample(range(len(points.names)), FEW)):
        here = quick_path / str(place)
        here.mkdir()
        for at in (place, rng.randrange(len(points.names))):
            if not killed(case, here, at):
                break
        ended = story(here)
        if ended is None or not ended.ended:
            play(case, here, Points())
        found = story(here)
        assert found is not None, place
        assert _plain(found.context) == _plain(expected.context), place
        assert found.path == expected.path, place
        assert [state.spent for state in sessions(here)] == spent, place
        assert set(begun(here / "effects")) == set(begun(whole / "effects")), place
        assert max(Counter(begun(here / "effects")).values()) <= 3, place
        shutil.rmtree(here)


def _plain(context: dict[str, object]) -> dict[str, object]:
    """A context without the name of the child's session."""
    return {key: value for key, value in context.items() if key != "stack.child.session"}
