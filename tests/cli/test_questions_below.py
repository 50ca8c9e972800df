"""Questions of branches and children: a run that waits for one shows it, and how to answer it (H5, H7)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calls import Terminal, call

FAN = """digraph par {
  start [shape=Mdiamond]; exit [shape=Msquare]; fan [shape=component]; j [shape=tripleoctagon]
  left [shape=hexagon, label="Left ok?"]; right [shape=hexagon, label="Right ok?"]
  start -> fan; fan -> left; fan -> right
  left -> j [label="[Y] Yes"]; left -> j [label="[N] No"]; right -> j [label="[Y] Yes"]; right -> j [label="[N] No"]
  j -> exit
}
"""
KID = """digraph kid {
  start [shape=Mdiamond]; exit [shape=Msquare]; work [prompt="w"]; ask [shape=hexagon, label="More?"]
  start -> work -> ask; ask -> exit [label="[Y] Yes"]; ask -> exit [label="[N] No"]
}
"""
BOSS = """digraph boss {
  start [shape=Mdiamond]; exit [shape=Msquare]; boss [shape=house, "stack.child_dotfile"="kid.dot"]
  start -> boss -> exit
}
"""


@pytest.fixture
def waiting(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    (tmp_path / "kid.dot").write_text(KID)
    (tmp_path / "p.dot").write_text(request.param)
    return tmp_path


@pytest.mark.parametrize(
    ("waiting", "text", "name"),
    [(FAN, "Left ok?", "fan/left#1.1"), (FAN, "Right ok?", "right#1.1"), (BOSS, "More?", "boss/ask#1.1")],
    indirect=["waiting"],
)
def test_a_run_shows_what_is_asked_below_it_and_takes_the_names_it_showed(
    waiting: Path, text: str, name: str
) -> None:
    run = call(waiting, "run", "p.dot", "--no-input")
    assert run.returncode == 5
    ending = run.stdout.partition("paused ")[2]
    assert f"? {text}" in ending
    assert "[Y] Yes  [N] No" in ending
    assert call(waiting, "answer", "last", name, "Y").stdout.partition("\n")[0].endswith("#1.1 answered: Yes")


@pytest.mark.parametrize("waiting", [BOSS], indirect=True)
def test_an_answer_to_a_child_suggests_to_resume_the_session_above_it(waiting: Path) -> None:
    call(waiting, "run", "p.dot", "--no-input")
    listed = json.loads(call(waiting, "status", "--json").stdout)["sessions"]
    kid, boss = (next(one["session"] for one in listed if one["pipeline"] == name) for name in ("kid", "boss"))
    assert f"orchestra resume {boss}" in call(waiting, "answer", kid, "Y").stdout


@pytest.mark.parametrize("waiting", [FAN], indirect=True)
def test_a_wrong_question_names_those_that_are_open(waiting: Path) -> None:
    call(waiting, "run", "p.dot", "--no-input")
    wrong = call(waiting, "answer", "last", "nope#1.1", "Y")
    assert wrong.returncode == 1
    assert "open: fan/left/left#1.1, fan/right/right#1.1" in wrong.stderr


@pytest.mark.parametrize("waiting", [FAN], indirect=True)
def test_log_shows_one_branch(waiting: Path) -> None:
    call(waiting, "run", "p.dot", "--no-input")
    events = json.loads(call(waiting, "log", "last/fan/left", "--json").stdout)["events"]
    assert {event["branch"] for event in events} == {"fan/left"}
    assert call(waiting, "log", "last/fan/nope").returncode == 9


@pytest.mark.parametrize("waiting", [BOSS], indirect=True)
def test_a_run_whose_agents_are_in_its_children_says_that_they_are_simulated(waiting: Path) -> None:
    call(waiting, "run", "p.dot", "--no-input")
    assert "simulated: no model was asked" in call(waiting, "resume", "last", "--auto-approve").stdout


TYPED_EARLY = """digraph g {
  start [shape=Mdiamond]; exit [shape=Msquare]
  work [shape=parallelogram, tool_command="until test -e go; do sleep 0.02; done"]
  notes [shape=hexagon, label="Notes?"]
  gate [shape=hexagon, label="Delete production?"]; yes [prompt="x"]; no [prompt="x"]
  start -> work -> notes; notes -> gate ["human.freeform"=true]
  gate -> yes [label="[Y] Yes"]; gate -> no [label="[N] No"]; yes -> exit; no -> exit
}
"""


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_what_was_typed_before_a_question_answers_nothing(tmp_path: Path, term: str) -> None:
    (tmp_path / "p.dot").write_text(TYPED_EARLY)
    terminal = Terminal(tmp_path, 80, "run", "p.dot", TERM=term)
    terminal.until("session ")
    terminal.press("y\n")
    (tmp_path / "go").touch()
    terminal.until("notes>")
    terminal.press("first line of my notes\ny\n")
    terminal.until("gate>")
    terminal.press("n\n")
    assert terminal.ended() == 0
    nodes = {
        node["node"] for node in json.loads(call(tmp_path, "status", "--detail", "--json", "last").stdout)["nodes"]
    }
    assert "no" in nodes
    assert "yes" not in nodes
