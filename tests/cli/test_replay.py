"""``orchestra replay``: another end of a session's story, which itself stays as it is (S27)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from calls import begin, call

PIPELINE = """digraph line {
    goal="g"
    start [shape=Mdiamond]
    exit [shape=Msquare]
    a [prompt="make it $colour"]
    b [prompt="x"]
    c [prompt="x"]
    start -> a -> b
    b -> exit [condition="context.size=small"]
    b -> c [condition="context.size!=small"]
    c -> exit
}
"""


def ran(folder: Path, script: str = "{a: {updates: {size: small}}}") -> str:
    """A session that went from a and b straight to the exit."""
    (folder / "p.dot").write_text(PIPELINE)
    (folder / "s.yaml").write_text(f"nodes: {script}")
    done = call(folder, "run", "p.dot", "colour=blue", "--simulate", "s.yaml", "--json")
    return str(json.loads(done.stdout)["session"])


def events(folder: Path, session: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in call(folder, "log", session, "--json-stream").stdout.splitlines()]


def replayed(folder: Path, *args: str, code: int = 0) -> list[dict[str, Any]]:
    """What a replay did itself."""
    done = call(folder, "replay", *args, "--json")
    assert done.returncode == code, done.stderr
    told = json.loads(done.stdout)
    return [event for event in events(folder, told["session"]) if event["session"] == told["session"]]


def path(told: list[dict[str, Any]]) -> list[str]:
    return [event["node"] for event in told if event["event"] in ("StageCompleted", "StageFailed")]


def depth(folder: Path, session: str, event: str, node: str) -> str:
    return str(
        next(
            e["depth"]
            for e in events(folder, session)
            if e["event"] == event and node in (e.get("node"), e.get("current_node"))
        )
    )


def test_a_session_is_replayed_from_before_a_node_and_stays_as_it_is(tmp_path: Path) -> None:
    session = ran(tmp_path)
    before = events(tmp_path, session)
    told = replayed(tmp_path, session, "--node", "b")
    assert path(told) == ["b", "exit"]
    assert told[0]["event"] == "PipelineForked"
    assert told[0]["parent"] == session
    assert told[0]["session"] != session
    assert events(tmp_path, session) == before
    listed = json.loads(call(tmp_path, "status", "--json").stdout)["sessions"]
    assert {row["session"] for row in listed} == {session, told[0]["session"]}
    assert {row["phase"] for row in listed} == {"completed"}
    assert len({row["context_id"] for row in listed}) == 2


def test_without_a_place_it_begins_at_the_beginning(tmp_path: Path) -> None:
    assert path(replayed(tmp_path, ran(tmp_path))) == ["start", "a", "b", "exit"]


def test_a_context_value_changes_the_way(tmp_path: Path) -> None:
    session = ran(tmp_path)
    assert path(replayed(tmp_path, session, "--node", "b", "--set", "size=large")) == ["b", "c", "exit"]
    turn = depth(tmp_path, session, "StageCompleted", "b")
    assert path(replayed(tmp_path, session, "--turn", turn, "--set", "size=17")) == ["c", "exit"]


def test_a_variable_changes_the_prompts(tmp_path: Path) -> None:
    told = replayed(tmp_path, ran(tmp_path), "--node", "a", "--var", "colour=red", "--var", "more=1")
    assert "make it red" in [event.get("prompt") for event in told]


def test_another_pipeline_and_another_script_may_take_over(tmp_path: Path) -> None:
    session = ran(tmp_path)
    (tmp_path / "q.dot").write_text(PIPELINE.replace("small", "huge"))
    (tmp_path / "t.yaml").write_text("nodes: {c: {text: other}}")
    told = replayed(tmp_path, session, "--node", "b", "--graph", "q.dot", "--simulate", "t.yaml")
    assert path(told) == ["b", "c", "exit"]
    assert "other" in [event.get("response") for event in told]
    (tmp_path / "r.dot").write_text(PIPELINE.replace("a ", "aa "))
    assert call(tmp_path, "replay", session, "--node", "b", "--graph", "r.dot").returncode == 2


def test_a_checkpoint_is_a_place_and_other_turns_are_none(tmp_path: Path) -> None:
    session = ran(tmp_path)
    place = depth(tmp_path, session, "CheckpointSaved", "a")
    assert path(replayed(tmp_path, session, "--checkpoint", place)) == ["b", "exit"]
    done = call(tmp_path, "replay", session, "--checkpoint", str(int(place) + 1))
    assert done.returncode == 9
    assert place in done.stderr


def test_a_turn_may_be_named_by_its_id(tmp_path: Path) -> None:
    ran(tmp_path)
    session = ran(tmp_path)
    turn = next(e["turn"] for e in events(tmp_path, session) if e.get("current_node") == "a")
    assert path(replayed(tmp_path, session, "--turn", f"#{turn}")) == ["b", "exit"]


def test_a_turn_in_the_middle_of_a_node_begins_that_node_again(tmp_path: Path) -> None:
    session = ran(tmp_path)
    told = replayed(tmp_path, session, "--turn", depth(tmp_path, session, "StageStarted", "b"))
    assert path(told) == ["b", "exit"]
    assert [e.get("recovery", 0) for e in told if e["event"] == "PipelineResumed"] == [0]


def test_a_replay_of_a_replay_and_a_resume_of_it_are_sessions_like_others(tmp_path: Path) -> None:
    session = ran(tmp_path, "{a: {updates: {size: large}}, c: [{status: fail}, {text: ok}]}")
    told = replayed(tmp_path, session, "--node", "b", code=1)
    again = replayed(tmp_path, told[0]["session"], "--node", "b", "--set", "size=small")
    assert again[0]["parent"] == told[0]["session"]
    assert call(tmp_path, "resume", told[0]["session"]).returncode == 0
    assert call(tmp_path, "attach", told[0]["session"]).returncode == 0


def test_a_session_that_runs_can_be_replayed(tmp_path: Path) -> None:
    process = begin(tmp_path)
    (tmp_path / "quick.yaml").write_text("nodes: {plan: {text: quick}}")
    assert "plan" in path(replayed(tmp_path, "last", "--node", "plan", "--simulate", "quick.yaml"))
    assert process.poll() is None
    process.kill()
    process.communicate()


def test_a_failed_node_is_replayed_with_one_more_visit(tmp_path: Path) -> None:
    session = ran(tmp_path, "{c: [{status: fail, reason: no}, {text: ok}]}")
    turn = str(events(tmp_path, session)[-1]["depth"])
    assert path(replayed(tmp_path, session, "--turn", turn)) == ["c", "exit"]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--turn", "99"], 9, "log"),
        (["--node", "nowhere"], 9, "nowhere"),
        (["--node", "a", "--visit", "2"], 9, "visit 2"),
        (["--turn", "x"], 2, "depth"),
        (["--turn", "LAST"], 2, "ended"),
        (["--node", "a", "--turn", "3"], 2, "exclude each"),
        (["--visit", "3"], 2, "--node"),
        (["--set", "outcome=fail"], 2, "outcome"),
        (["--set", "x"], 2, "KEY=VALUE"),
        (["--var", "run.id=3"], 2, "run.id"),
    ],
)
def test_what_cannot_be_replayed_is_refused_and_nothing_is_written(
    args: list[str], code: int, said: str, tmp_path: Path
) -> None:
    session = ran(tmp_path)
    args = [str(events(tmp_path, session)[-1]["depth"]) if arg == "LAST" else arg for arg in args]
    done = call(tmp_path, "replay", session, *args)
    assert done.returncode == code
    assert said in done.stderr
    assert len(json.loads(call(tmp_path, "status", "--json").stdout)["sessions"]) == 1
