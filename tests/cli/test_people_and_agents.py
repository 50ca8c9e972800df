"""Agents of a model that talk with people, ask them, and wait for approval (H9, H11)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from calls import call

from orchestra.modelserver import ModelServer, read

PIPELINE = """digraph p {
    start [shape=Mdiamond]; exit [shape=Msquare]
    work [agent=worker, prompt="do it" MODE]
    start -> work -> exit
}
"""
SETTINGS = """backend: langgraph
providers:
  default: anthropic
  anthropic: {models: {worker: claude-test}}
agents:
  worker: {tools: [shell, ask-human], approve: {shell: APPROVE}}
"""


class Bench:
    """A folder, a model that answers by a script, and the commands."""

    def __init__(self, folder: Path, script: str, *, mode: str = "", approve: str = "never") -> None:
        self.folder = folder
        (folder / "p.dot").write_text(PIPELINE.replace("MODE", mode))
        (folder / "orchestra.yaml").write_text(SETTINGS.replace("APPROVE", approve))
        (folder / "model.yaml").write_text(script)
        self.server = ModelServer(read(folder / "model.yaml"))

    def __enter__(self) -> Bench:
        self.server.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.server.__exit__(*error)

    def __call__(self, *args: str) -> subprocess.CompletedProcess[str]:
        return call(self.folder, *args, ANTHROPIC_BASE_URL=self.server.url, ANTHROPIC_API_KEY="model-server")

    def said(self) -> str:
        return self("log", "last", "--json").stdout


def test_a_question_of_an_agent_waits_and_its_answer_is_what_the_tool_returns(tmp_path: Path) -> None:
    script = """answers:
  - tool_calls: [{name: ask-human, arguments: {question: "Which colour?", options: [red, blue]}}]
  - tool_calls: [{name: report_outcome, arguments: {status: success, notes: painted}}]
  - text: done
"""
    with Bench(tmp_path, script) as bench:
        run = bench("run", "p.dot")
        assert run.returncode == 5, run.stdout + run.stderr
        assert "Which colour?" in bench("status", "last").stdout
        assert bench("answer", "last", "green").returncode == 2
        assert bench("answer", "last", "blue").returncode == 0
        done = bench("resume", "last")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "#1.1.1.1" in bench.said()
        assert "blue" in str(bench.server.requests[1].body)
        assert len(bench.server.requests) <= 3


CALL = """answers:
  - tool_calls: [{name: shell, arguments: {command: "echo once >> log.txt"}}]
  - tool_calls: [{name: report_outcome, arguments: {status: success, notes: finished}}]
  - text: done
"""


@pytest.mark.parametrize(
    ("answer", "ran"),
    [("a", 1), ("deny", 0), ("not on a Friday", 0), ("l", 1)],
    ids=["yes", "no", "words", "alike"],
)
def test_a_call_that_needs_approval_is_made_once_or_never(tmp_path: Path, answer: str, ran: int) -> None:
    with Bench(tmp_path, CALL, approve='["echo *"]') as bench:
        run = bench("run", "p.dot", "--auto-approve")
        assert run.returncode == 5, run.stdout + run.stderr
        assert not (tmp_path / "log.txt").exists()
        asks = "May the agent call shell: echo once >> log.txt?"
        assert asks in run.stdout
        assert asks in bench("status", "last").stdout
        said = bench("answer", "last", answer)
        assert said.returncode == 0
        assert ("Deny" in said.stdout) == (not ran)
        done = bench("resume", "last")
        assert done.returncode == 0, done.stdout + done.stderr
        lines = (tmp_path / "log.txt").read_text().splitlines() if (tmp_path / "log.txt").exists() else []
        assert len(lines) == ran
        if answer == "not on a Friday":
            assert "a person denied this call: not on a Friday" in bench.said()


def test_calls_that_no_pattern_fits_need_no_approval(tmp_path: Path) -> None:
    with Bench(tmp_path, CALL, approve='["rm *", "git push*"]') as bench:
        assert bench("run", "p.dot").returncode == 0
    assert (tmp_path / "log.txt").read_text() == "once\n"


def test_a_conversation_continues_from_terminal_to_terminal(tmp_path: Path) -> None:
    script = """answers: ["What should it do?", "Here it is."]
"""
    with Bench(tmp_path, script, mode=', "agent.mode"=interactive') as bench:
        assert bench("run", "p.dot").returncode == 5
        assert bench("answer", "last", "read invoices").returncode == 0
        assert bench("resume", "last").returncode == 5
        assert bench("answer", "last", "/unknown").returncode == 2
        assert bench("answer", "last", "/approve").returncode == 0
        done = bench("resume", "last")
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(bench.server.requests) == 2
        assert "read invoices" in bench.said()


def test_a_long_conversation_with_a_person_continues_from_a_summary(tmp_path: Path) -> None:
    script = """rules:
  - when: {model: cheap-one}
    answers: [{text: "they spoke of invoices", usage: {input: 500, output: 50}}]
answers:
  - {text: one, usage: {input: 3000, output: 10}}
  - {text: two, usage: {input: 9000, output: 10}}
  - {text: three, usage: {input: 900, output: 10}}
"""
    with Bench(tmp_path, script, mode=', "agent.mode"=interactive') as bench:
        models = "models: {worker: claude-test, cheap: cheap-one}, context_window: 10000"
        (tmp_path / "orchestra.yaml").write_text(
            SETTINGS.replace("models: {worker: claude-test}", models).replace("APPROVE", "never")
        )
        long = "words " * 2500
        (tmp_path / "answers.yaml").write_text(f"answers: [first {long}, second {long}, /done]\n")
        done = bench("run", "p.dot", "--answers", "answers.yaml")
        assert done.returncode == 0, done.stdout + done.stderr
        assert [one.model for one in bench.server.requests].count("cheap-one") == 1
        last = str(bench.server.requests[-1].messages)
        assert "they spoke of invoices" in last
        assert "do it" in last
        assert "first words" not in last


def test_a_rejected_conversation_fails_with_the_reason(tmp_path: Path) -> None:
    with Bench(tmp_path, 'answers: ["Is it good?"]\n', mode=', "agent.mode"=interactive') as bench:
        assert bench("run", "p.dot").returncode == 5
        assert bench("answer", "last", "/reject it is too long").returncode == 0
        done = bench("resume", "last")
        assert done.returncode == 1
        assert "it is too long" in done.stdout


def test_approve_tools_approves_calls_and_the_record_says_so(tmp_path: Path) -> None:
    with Bench(tmp_path, CALL, approve="always") as bench:
        done = bench("run", "p.dot", "--approve-tools")
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "log.txt").read_text() == "once\n"
        assert '"automatic": true' in bench.said()


GATE = """digraph g {
    start [shape=Mdiamond]; exit [shape=Msquare]
    gate [shape=hexagon, label="Publish it?" MORE]
    start -> gate
    gate -> exit [label="[Y] Yes"]
    gate -> exit [label="[N] No"]
}
"""


def test_a_gate_that_is_waited_for_without_a_terminal_says_how_and_until_when_to_answer(tmp_path: Path) -> None:
    limit = ', "human.timeout"="100ms", "human.default_choice"="No"'
    (tmp_path / "g.dot").write_text(GATE.replace("MORE", limit))
    run = call(tmp_path, "run", "g.dot")
    assert run.returncode == 0
    asks = next(line for line in run.stdout.splitlines() if "Publish it?" in line)
    assert "[Y] Yes or [N] No within 0.1 s, else No is taken" in asks
    assert f"orchestra answer {run.stdout.split()[1]} VALUE" in asks


def test_an_answer_without_a_value_shows_the_question_and_its_choices(tmp_path: Path) -> None:
    (tmp_path / "g.dot").write_text(GATE.replace("MORE", ""))
    run = call(tmp_path, "run", "g.dot")
    assert run.returncode == 5
    done = call(tmp_path, "answer", "last")
    assert done.returncode == 2
    assert "gate#1.1 needs a value, [Y] Yes or [N] No: Publish it?" in done.stderr
    assert f"orchestra answer {run.stdout.split()[1]} 'gate#1.1' VALUE" in done.stderr


def test_the_status_of_a_gate_says_who_answered_what_and_where_it_led(tmp_path: Path) -> None:
    (tmp_path / "g.dot").write_text(GATE.replace("MORE", ""))
    assert call(tmp_path, "run", "g.dot", "--auto-approve").returncode == 0
    gate = next(
        line for line in call(tmp_path, "status", "last", "--detail").stdout.splitlines() if " gate " in line
    )
    assert "Yes, automatic, by auto-approve" in gate
    assert gate.endswith("→ exit ('[Y] Yes' was chosen)")
