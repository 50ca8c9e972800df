"""Features together, each run killed on the way: what had ended is not done again, and the end is the same."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calls import ORCHESTRA, call, environment
from scratch import everything, git, project, repository

from orchestra.graph.attributes import SHAPES
from support import graph_of

Event = dict[str, Any]


def killed_at(folder: Path, wanted: Callable[[Event], bool], *args: str, **more: str) -> None:
    """Run a command, and kill it and what it started when an event of a kind is shown."""
    with subprocess.Popen(
        [*ORCHESTRA, *args],
        cwd=folder,
        env=environment(folder, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if wanted(json.loads(line)):
                os.killpg(process.pid, signal.SIGKILL)
                break
        assert process.wait() == -signal.SIGKILL, process.stderr and process.stderr.read()


def events_of(folder: Path, session: str = "last") -> list[Event]:
    found: list[Event] = json.loads(call(folder, "log", session, "--json").stdout)["events"]
    return found


def is_event(kind: str, node: str = "", **more: object) -> Callable[[Event], bool]:
    """Whether an event is of a kind, at a node, with fields."""

    def matches(event: Event) -> bool:
        at = event.get("node", event.get("source", ""))
        return event["event"] == kind and node in ("", at) and all(event.get(k) == v for k, v in more.items())

    return matches


# --- conditions, retries and gates ---------------------------------------------------------------

DECIDED = """digraph decided {
    start [shape=Mdiamond] exit [shape=Msquare]
    count [shape=parallelogram, tool_command="echo counted >> counted"]
    build [prompt="Build", max_retries=3]
    judge [shape=diamond]
    fix   [prompt="Fix", max_visits=3]
    ask   [shape=hexagon, label="Ship it?"]
    ship  [shape=parallelogram, goal_gate=true, retry_target=build,
           tool_command="echo shipped >> shipped; until test -e go; do sleep 0.05; done"]
    start -> count -> build -> judge
    judge -> ask [condition="outcome=success && context.score > 5"]
    judge -> fix
    fix -> build
    ask -> ship [label="[Y] Yes"]
    ask -> fix  [label="[N] No"]
    ship -> exit
}"""
DECIDED_SCRIPT: dict[str, list[dict[str, Any]]] = {
    "build": [
        {"status": "retry", "reason": "busy"},
        {"text": "half", "updates": {"score": 3}},
        {"text": "whole", "updates": {"score": 9}},
    ],
    "fix": [{"text": "once"}, {"text": "twice"}],
}


@pytest.mark.parametrize(
    ("moment", "slow"),
    [
        (is_event("StageRetrying", "build"), ("build", 1)),
        (is_event("EdgeSelected", "judge"), ("fix", 0)),
        (is_event("InterviewStarted", "ask"), ("fix", 1)),
        (is_event("ToolStarted", "ship"), None),
    ],
    ids=["retrying", "deciding", "asking", "in a command"],
)
def test_a_decision_a_retry_and_a_gate_survive_a_kill(
    moment: Callable[[Event], bool], slow: tuple[str, int] | None, tmp_path: Path
) -> None:
    """In the run that is killed, what comes after the moment takes forever."""
    script = copy.deepcopy(DECIDED_SCRIPT)
    (tmp_path / "quick.yaml").write_text(json.dumps({"nodes": script}))
    if slow is not None:
        script[slow[0]][slow[1]]["delay"] = "10m"
        (tmp_path / "go").touch()
    (tmp_path / "slow.yaml").write_text(json.dumps({"nodes": script}))
    (tmp_path / "p.dot").write_text(DECIDED)
    (tmp_path / "a.yaml").write_text("answers: {ask: [N, Y]}")
    killed_at(tmp_path, moment, "run", "p.dot", "--simulate", "slow.yaml", "--answers", "a.yaml", "--json-stream")
    (tmp_path / "go").touch()
    (tmp_path / "b.yaml").write_text("answers: {ask: [Y, Y]}")
    done = call(tmp_path, "resume", "last", "--simulate", "quick.yaml", "--answers", "b.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    events = events_of(tmp_path)
    retries = [event for event in events if event["event"] == "StageRetrying"]
    builds = [event["context_updates"] for event in events if is_event("StageCompleted", "build")(event)]
    assert len(retries) == 1
    assert builds[:2] == [{"score": 3}, {"score": 9}]
    assert (tmp_path / "counted").read_text() == "counted\n"
    assert len((tmp_path / "shipped").read_text().split()) in ((1, 2) if slow is None else (1,))


# --- branches and people --------------------------------------------------------------------------

ASKED = """digraph asked {
    start [shape=Mdiamond] exit [shape=Msquare]
    fan  [shape=component]
    meet [shape=tripleoctagon]
    red  [shape=hexagon, label="Red?"]
    blue [shape=hexagon, label="Blue?"]
    note [shape=parallelogram, tool_command="echo noted >> noted; until test -e go; do sleep 0.05; done"]
    r1 [prompt="r1"] r2 [prompt="r2"] b1 [prompt="b1"] b2 [prompt="b2"]
    start -> fan
    fan -> red fan -> blue fan -> note
    red -> r1 [label="[Y] Yes"]  red -> r2 [label="[N] No"]
    blue -> b1 [label="[Y] Yes"] blue -> b2 [label="[N] No"]
    r1 -> meet r2 -> meet b1 -> meet b2 -> meet note -> meet
    meet -> exit
}"""


def test_questions_of_branches_are_answered_from_elsewhere_after_a_kill(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(ASKED)
    asked: set[str] = set()

    def both_ask(event: Event) -> bool:
        asked.update({event["node"]} if event["event"] == "InterviewStarted" else ())
        return asked == {"red", "blue"}

    killed_at(tmp_path, both_ask, "run", "p.dot", "--no-input", "--json-stream")
    (tmp_path / "go").touch()
    assert call(tmp_path, "status", "last", "--json").stdout.count('"question"') == 2
    assert call(tmp_path, "answer", "last", "fan/blue/blue#1.1", "N").returncode == 0
    done = call(tmp_path, "resume", "last", "--no-input")
    assert done.returncode == 5, done.stdout + done.stderr
    assert call(tmp_path, "answer", "last", "Y").returncode == 0
    done = call(tmp_path, "resume", "last", "--no-input")
    assert done.returncode == 0, done.stdout + done.stderr
    ended = Counter(event["node"] for event in events_of(tmp_path) if event["event"] == "StageCompleted")
    assert [ended[node] for node in ("r1", "r2", "b1", "b2", "red", "blue")] == [1, 0, 0, 1, 1, 1]
    assert set((tmp_path / "noted").read_text().split()) == {"noted"}


# --- branches and worktrees ------------------------------------------------------------------------

SIDES = """
    fan [shape=component] meet [shape=tripleoctagon]
    left  [shape=parallelogram, tool_command="echo left > left.txt"]
    right [prompt="Write right.txt"]
    after [shape=parallelogram, tool_command="cat left.txt right.txt > both.txt"]
    start -> fan -> left -> meet
    fan -> right -> meet -> after -> exit
"""


def test_worktrees_of_branches_survive_a_kill_and_are_merged_once(tmp_path: Path) -> None:
    folder = project(tmp_path, SIDES)
    code = repository(folder / "code")
    before = everything(code)
    write = {"text": "written", "writes": {"right.txt": "right\n"}}
    (folder / "quick.yaml").write_text(json.dumps({"nodes": {"right": write}}))
    (folder / "slow.yaml").write_text(json.dumps({"nodes": {"right": {**write, "delay": "10m"}}}))
    ended = is_event("StageCompleted", "left")
    killed_at(folder, ended, "run", "p.dot", "--simulate", "slow.yaml", "--json-stream")
    done = call(folder, "resume", "last", "--simulate", "quick.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (branch,) = [name for name in branches(code) if "@" not in name]
    assert git(code, "show", f"{branch}:both.txt") == "left\nright"
    subjects = git(code, "log", "--format=%an", "--no-merges", f"main..{branch}").splitlines()
    assert Counter(subjects) == {"left (tool)": 1, "right (simulation)": 1, "after (tool)": 1}
    assert everything(code) == before
    assert git(code, "fsck", "--strict", "--no-dangling") == ""


def branches(code: Path) -> list[str]:
    return git(code, "for-each-ref", "--format=%(refname:short)", "refs/heads/orchestra").splitlines()


# --- agents, a stylesheet and tools ------------------------------------------------------------------

STYLED = """digraph styled {
    model_stylesheet = "* { llm_model: claude-haiku-4-5 } .careful { llm_model: claude-opus-4-6 }"
    start [shape=Mdiamond] exit [shape=Msquare]
    plan [prompt="Plan it", class=careful]
    work [prompt="Do it"]
    test [shape=parallelogram, tool_command="grep -q done note.txt"]
    start -> plan -> work -> test -> exit
}"""
CALL = {"tool_calls": [{"name": "write-file", "arguments": {"path": "note.txt", "content": "done\n"}}]}


def test_agents_on_models_of_a_stylesheet_continue_after_a_kill_without_repeating_a_tool(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(STYLED)
    (tmp_path / "orchestra.yaml").write_text("backend: langgraph\nproviders: {default: anthropic}\n")
    plan = {"when": {"model": "claude-opus-4-6"}, "answers": ["a plan"]}
    slow = {"when": {"model": "claude-haiku-4-5"}, "answers": [CALL, {"text": "late", "delay": "10m"}]}
    quick = {"when": {"model": "claude-haiku-4-5"}, "answers": ["It is done."], "repeat": False}
    (tmp_path / "slow.yaml").write_text(json.dumps({"rules": [plan, slow]}))
    (tmp_path / "quick.yaml").write_text(json.dumps({"rules": [quick]}))
    turn = is_event("AgentTurnCompleted", "work", number=1)
    run = [*ORCHESTRA, "run", "p.dot", "--json-stream"]
    killed_at(tmp_path, turn, "model-server", "-q", "slow.yaml", "--", *run)
    done = call(tmp_path, "model-server", "-q", "quick.yaml", "--", *ORCHESTRA, "resume", "last")
    assert done.returncode == 0, done.stdout + done.stderr
    turns = [event for event in events_of(tmp_path) if event["event"] == "AgentTurnCompleted"]
    assert [(event["node"], event["model"]) for event in turns] == [
        ("plan", "claude-opus-4-6"),
        ("work", "claude-haiku-4-5"),
        ("work", "claude-haiku-4-5"),
    ]
    assert [[one["name"] for one in event.get("tool_calls", [])] for event in turns] == [[], ["write-file"], []]


# --- everything at once --------------------------------------------------------------------------------


def all_kinds() -> str:
    """A pipeline of 40 nodes and every type of node."""
    agents = [f"w{number}" for number in range(8)]
    tools = [f"t{number}" for number in range(11)]
    lines = [
        *(f'{name} [prompt="Write {name}.txt"]' for name in ["plan", "item", "n1", "n2", "fix", *agents]),
        *(f'{name} [shape=parallelogram, tool_command="echo {name} > {name}.txt"]' for name in tools),
        "list [shape=parallelogram, tool_command=\"printf 'a\\nb\\n'\"]",
        "fan [shape=component, max_parallel=3] meet [shape=tripleoctagon]",
        'each [shape=component, for_each="tools.list.output"] gather [shape=tripleoctagon]',
        "outer [shape=component] inner [shape=component] close [shape=tripleoctagon] done [shape=tripleoctagon]",
        'judge [shape=diamond] ask [shape=hexagon, label="Go on?"]',
        'sub [type=pipeline, stack.child_dotfile="small.dot"]',
        'boss [shape=house, stack.child_dotfile="small.dot", manager.poll_interval=50ms]',
        'gate [shape=parallelogram, tool_command="test -s w7.txt", goal_gate=true, retry_target=fix]',
        "start -> plan -> fan",
        *(f"fan -> {name} -> meet" for name in agents),
        "meet -> list -> each -> item -> gather",
        " -> ".join(["gather", *tools, "judge"]),
        'judge -> ask [condition="outcome=success"] judge -> fix fix -> ask',
        'ask -> sub [label="[Y] Yes"] ask -> exit [label="[N] No"]',
        "sub -> boss -> outer -> inner inner -> n1 -> close inner -> n2 -> close close -> done outer -> done",
        "done -> gate -> exit",
    ]
    return "digraph all_kinds { start [shape=Mdiamond] exit [shape=Msquare]\n" + "\n".join(lines) + "\n}"


def test_the_pipeline_of_every_kind_has_40_nodes_and_every_kind() -> None:
    graph = graph_of(all_kinds())
    assert len(graph.nodes) == 40
    assert {graph.type_of(node) for node in graph.nodes} == {*SHAPES.values(), "pipeline"}


def all_files() -> set[str]:
    return {
        f"{name}.txt" for name in ("plan", *(f"w{n}" for n in range(8)), *(f"t{n}" for n in range(11)), "n1", "n2")
    }


def test_a_child_of_every_kind_of_node_runs_twice_at_once_on_one_repository_through_a_kill(tmp_path: Path) -> None:
    folder = project(tmp_path, 'lead [shape=house, stack.child_dotfile="all.dot"] start -> lead -> exit')
    code = repository(folder / "code")
    before = everything(code)
    (folder / "all.dot").write_text(all_kinds())
    (folder / "small.dot").write_text(
        'digraph small { start [shape=Mdiamond] exit [shape=Msquare] s [prompt="s"] start -> s -> exit }'
    )
    writers = ["plan", "n1", "n2", *(f"w{number}" for number in range(8))]
    nodes: dict[str, Any] = {name: {"text": name, "writes": {f"{name}.txt": f"{name}\n"}} for name in writers}
    (folder / "quick.yaml").write_text(json.dumps({"children": {"lead": {"nodes": nodes}}}))
    nodes["w5"]["delay"] = "10m"
    (folder / "slow.yaml").write_text(json.dumps({"children": {"lead": {"nodes": nodes}}}))
    (folder / "a.yaml").write_text("answers: {ask: Y}")
    other = subprocess.Popen(
        [*ORCHESTRA, "run", "p.dot", "--simulate", "quick.yaml", "--answers", "a.yaml", "--label", "other"],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    begun = is_event("StageStarted", "w5")
    killed_at(folder, begun, "run", "p.dot", "--simulate", "slow.yaml", "--label", "killed", "--json-stream")
    out, _ = other.communicate(timeout=60)
    assert other.returncode == 0, out
    listed = json.loads(call(folder, "status", "--json").stdout)["sessions"]
    (crashed,) = [one["session"] for one in listed if one["phase"] == "crashed" and one["why"] == ""]
    done = call(folder, "resume", crashed, "--simulate", "quick.yaml", "--answers", "a.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    tips = [name for name in branches(code) if "@" not in name]
    assert len(tips) == 2
    for tip in tips:
        assert all_files() <= set(git(code, "ls-tree", "-r", "--name-only", tip).splitlines())
        authors = Counter(git(code, "log", "--format=%an", "--no-merges", f"main..{tip}").splitlines())
        assert set(authors.values()) == {1}
    assert everything(code) == before
    assert git(code, "fsck", "--strict", "--no-dangling") == ""
