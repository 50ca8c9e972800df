"""``orchestra replay --recorded`` and ``--against``: a record is walked again, nothing is run or written (S27)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from calls import begin, call, slow

PIPELINE = """digraph line {
    goal="g"
    start [shape=Mdiamond]
    exit [shape=Msquare]
    a [prompt="make it $colour", max_retries=2, retry_policy=none]
    b [prompt="look at it"]
    c [prompt="throw it away"]
    start -> a -> b
    b -> exit [condition="context.size=small"]
    b -> c [condition="context.size!=small"]
    c -> b [max_visits=2]
}
"""


def ran(folder: Path, script: str = "{a: {updates: {size: small}}}", text: str = PIPELINE, code: int = 0) -> None:
    (folder / "p.dot").write_text(text)
    (folder / "s.yaml").write_text(f"nodes: {script}")
    done = call(folder, "run", "p.dot", "colour=blue", "--simulate", "s.yaml")
    assert done.returncode == code, done.stderr


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def walked(folder: Path, *args: str, code: int) -> dict[str, Any]:
    done = call(folder, "replay", "last", *args, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["same"] == (code == 0)
    return told


def edited(folder: Path, before: str, after: str, text: str = PIPELINE) -> str:
    assert before in text
    (folder / "q.dot").write_text(text.replace(before, after))
    return "q.dot"


def test_a_record_leads_the_same_way_again_and_nothing_is_written(tmp_path: Path) -> None:
    ran(tmp_path)
    before = files(tmp_path / "store")
    told = walked(tmp_path, "--recorded", code=0)
    assert (told["nodes"], told["edges"], told["texts"]) == (4, 3, 2)
    assert call(tmp_path, "replay", "last", "--recorded").stdout.startswith("same  4 nodes, 3 edges, 2 prompts")
    assert files(tmp_path / "store") == before


def test_no_command_is_run(tmp_path: Path) -> None:
    text = """digraph g { goal="g" start [shape=Mdiamond] exit [shape=Msquare]
        t [shape=parallelogram, tool_command="echo x >> effect; echo {{ graph.goal }}"] start -> t -> exit }"""
    (tmp_path / "p.dot").write_text(text)
    assert call(tmp_path, "run", "p.dot").returncode == 0
    assert walked(tmp_path, "--recorded", code=0)["texts"] == 1
    assert (tmp_path / "effect").read_text() == "x\n"
    told = walked(tmp_path, "--against", edited(tmp_path, "echo x", "echo y", text), code=1)
    (other,) = told["others"]
    assert (other["node"], other["visit"]) == ("t", 1)
    assert other["now"].startswith("echo y")


def test_where_an_edited_pipeline_goes_elsewhere_is_reported_with_the_value_that_decided(tmp_path: Path) -> None:
    ran(tmp_path)
    file = edited(tmp_path, "size=small", "size=tiny")
    told = walked(tmp_path, "--against", file, code=1)
    parting = told["parting"]
    assert (parting["node"], parting["recorded"]["target"], parting["now"]) == ("b", "exit", parting["now"])
    shown = call(tmp_path, "replay", "last", "--against", file).stdout
    assert "diverges  at b" in shown
    assert "context.size=tiny  false: context.size was 'small'" in shown


@pytest.mark.parametrize(
    ("before", "after", "node", "word"),
    [
        ("start -> a -> b", "start -> b -> a", "start", "start → b"),
        ("c -> b [max_visits=2]", "c -> b [max_visits=1]", "c", "1 of 1 time, closed"),
        ("c [prompt=", "d [prompt=", "", "d"),
        ('b [prompt="look at it"]', 'b [prompt="look at it", max_visits=1]', "b", "b is refused"),
        ('b [prompt="look at it"]', 'b [prompt="look at it", goal_gate=true]', "", "same"),
    ],
)
def test_each_kind_of_edit_is_found_where_it_matters(
    tmp_path: Path, before: str, after: str, node: str, word: str
) -> None:
    ran(tmp_path, "{a: {updates: {size: big}}, c: [{}, {updates: {size: small}}]}")
    text = PIPELINE.replace(before, after)
    text = text.replace("-> c", "-> d").replace("c ->", "d ->") if after.startswith("d ") else text
    (tmp_path / "q.dot").write_text(text)
    done = call(tmp_path, "replay", "last", "--against", "q.dot")
    assert word in done.stdout, done.stdout + done.stderr
    if node:
        assert f"diverges  at {node}" in done.stdout
        assert done.returncode == 1


def test_a_prompt_that_would_be_another_one_is_shown_and_the_walk_continues(tmp_path: Path) -> None:
    ran(tmp_path)
    told = walked(tmp_path, "--against", edited(tmp_path, "make it $colour", "paint it $colour"), code=1)
    assert told["parting"] is None
    assert [(text["node"], text["recorded"], text["now"]) for text in told["others"]] == [
        ("a", "make it blue", "paint it blue")
    ]
    shown = call(tmp_path, "replay", "last", "--against", "q.dot").stdout
    assert "-make it blue" in shown
    assert "+paint it blue" in shown


def test_a_difference_at_the_end_of_a_long_line_is_seen(tmp_path: Path) -> None:
    ran(tmp_path, text=PIPELINE.replace("look at it", "look " * 200))
    (tmp_path / "q.dot").write_text(PIPELINE.replace("look at it", "look " * 200 + "twice"))
    shown = call(tmp_path, "replay", "last", "--against", "q.dot").stdout
    assert "twice" in shown
    assert shown.count("\n  -") == 2  # the name of the text and the last piece of the line


def test_instructions_from_outside_are_no_difference(tmp_path: Path) -> None:
    process = begin(tmp_path, delay="4s")
    assert call(tmp_path, "steer", "last", "look here").returncode == 0
    process.communicate()
    walked(tmp_path, "--recorded", code=0)
    plan = (Path(__file__).parent.parent.parent / "examples" / "plan-build-review.dot").read_text()
    (tmp_path / "q.dot").write_text(plan.replace('prompt="', 'prompt="Please: '))
    told = walked(tmp_path, "--against", "q.dot", code=1)
    steered = [text for text in told["others"] if "look here" in text["recorded"]]
    assert steered
    assert all(text["now"] == f"Please: {text['recorded']}" for text in told["others"])


def test_a_command_in_the_place_of_an_agent_is_reported(tmp_path: Path) -> None:
    ran(tmp_path)
    file = edited(
        tmp_path, 'b [prompt="look at it"', 'b [prompt="look at it", tool_command="ls", shape=parallelogram'
    )
    assert walked(tmp_path, "--against", file, code=1)["parting"]["node"] == "b"


def test_attempts_that_an_edited_pipeline_would_not_have_are_reported(tmp_path: Path) -> None:
    text = PIPELINE.replace("retry_policy=none", "retry_policy=linear")
    ran(tmp_path, "{a: [{status: retry}, {updates: {size: small}}]}", text)
    assert walked(tmp_path, "--recorded", code=0)["nodes"] == 4
    told = walked(tmp_path, "--against", edited(tmp_path, "max_retries=2", "max_retries=0", text), code=1)
    assert "attempt 1 of a" in told["parting"]["why"]


def test_a_killed_run_is_walked_as_far_as_it_went_and_a_resumed_one_to_its_end(tmp_path: Path) -> None:
    process = begin(tmp_path)
    process.kill()
    process.communicate()
    told = walked(tmp_path, "--recorded", code=0)
    assert (told["nodes"], told["ended"]) == (2, False)
    assert "as far as it has run" in call(tmp_path, "replay", "last", "--recorded").stdout
    assert call(tmp_path, "resume", "last", "--simulate", str(slow(tmp_path, "0s"))).returncode == 0
    told = walked(tmp_path, "--recorded", code=0)
    assert (told["nodes"], told["ended"]) == (7, True)


def test_a_failed_run_that_continued_with_another_pipeline_leads_the_same_way(tmp_path: Path) -> None:
    text = PIPELINE.replace("size!=small", "size=big")
    ran(tmp_path, "{b: [{status: fail, reason: no}]}", text, code=1)
    walked(tmp_path, "--recorded", code=0)
    file = edited(tmp_path, 'condition="context.size=small"', "label=on", text)
    (tmp_path / "s.yaml").write_text("nodes: {b: {status: success}}")
    assert call(tmp_path, "resume", "last", "--graph", file, "--simulate", "s.yaml").returncode == 0
    walked(tmp_path, "--recorded", code=0)


def test_a_replay_is_walked_with_the_history_it_has(tmp_path: Path) -> None:
    ran(tmp_path)
    assert call(tmp_path, "replay", "last", "--node", "b", "--set", "size=big").returncode in (0, 1)
    walked(tmp_path, "--recorded", code=0)


def test_a_restarted_chain_is_walked_through(tmp_path: Path) -> None:
    text = PIPELINE.replace("c -> b [max_visits=2]", "c -> a [loop_restart=true]")
    ran(tmp_path, "{a: [{updates: {size: big}}, {updates: {size: small}}]}", text)
    first = json.loads(call(tmp_path, "status", "--json").stdout)["sessions"]
    oldest = min(first, key=lambda row: row["context_id"])["session"]
    told = json.loads(call(tmp_path, "replay", oldest, "--recorded", "--json").stdout)
    assert told["same"]
    assert told["sessions"] == 2


@pytest.mark.parametrize(
    "args",
    [
        ("--recorded", "--turn", "3"),
        ("--recorded", "--against", "p.dot"),
        ("--against", "p.dot", "--set", "a=b"),
        ("--recorded", "--detach"),
    ],
)
def test_options_that_begin_a_session_are_refused_beside_it(tmp_path: Path, args: tuple[str, ...]) -> None:
    ran(tmp_path)
    before = files(tmp_path / "store")
    assert call(tmp_path, "replay", "last", *args).returncode == 2
    assert files(tmp_path / "store") == before


def test_a_pipeline_that_is_not_valid_is_reported_with_its_place(tmp_path: Path) -> None:
    ran(tmp_path)
    done = call(tmp_path, "replay", "last", "--against", edited(tmp_path, "start -> a -> b", "start -> a --> b"))
    assert done.returncode == 3
    assert "q.dot:8:16" in done.stdout + done.stderr


def test_what_a_task_file_adds_to_a_prompt_is_not_a_difference(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "fix.yaml").write_text("task: {name: fix, template: 'Fix it for {{ goal }}.'}\n")
    (tmp_path / "orchestra.yaml").write_text("agents: {fixer: {task: fix}}\ncxdb: {path: store}\n")
    ran(tmp_path, text=PIPELINE.replace('a [prompt="make it $colour"', "a [agent=fixer"))
    assert walked(tmp_path, "--recorded", code=0)["texts"] == 2


def test_an_answer_that_names_another_edge_now_is_where_the_walks_part(tmp_path: Path) -> None:
    gate = """digraph g { start [shape=Mdiamond] exit [shape=Msquare] ok [shape=hexagon]
      a [prompt="a"] b [prompt="b"]
      start -> ok ok -> a [label="[Y] Yes"] ok -> b [label="[N] No"] a -> exit b -> exit }"""
    (tmp_path / "p.dot").write_text(gate)
    (tmp_path / "answers.yaml").write_text("answers: {ok: [Y]}\n")
    assert call(tmp_path, "run", "p.dot", "--answers", "answers.yaml").returncode == 0
    assert walked(tmp_path, "--recorded", code=0)["same"]
    swapped = gate.replace("[Y] Yes", "1").replace("[N] No", "[Y] Yes").replace('"1"', '"[N] No"')
    (tmp_path / "q.dot").write_text(swapped)
    told = walked(tmp_path, "--against", "q.dot", code=1)
    assert told["parting"]["node"] == "ok"
    assert "ok->b" in told["parting"]["why"]
