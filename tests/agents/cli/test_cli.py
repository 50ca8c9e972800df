"""Command-line agents: what they write, how they end, what reaches them (A6)."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from cli_stubs import RECORDED, agent, outcome, ready

from orchestra.agents.bounds import Rules
from orchestra.agents.cli.presets import from_preset
from orchestra.processes import tree
from orchestra.run.events import AgentTurnCompleted, StageCompleted, StageFailed, ToolStarted, WarningRaised
from orchestra.run.limits import Limits
from support import Session, resumed


def turns(session: Session) -> list[AgentTurnCompleted]:
    return [event for event in session.of(AgentTurnCompleted) if isinstance(event, AgentTurnCompleted)]


def said(session: Session) -> str:
    (event,) = [each for each in session.of(StageCompleted) if each.node == "work"]
    return str(event.response)


def reason(session: Session) -> str:
    (event,) = session.of(StageFailed)
    return f"{event.failure_class}: {event.failure_reason}"


async def test_the_recorded_lines_of_claude_become_turns(tmp_path: Path) -> None:
    run = await outcome(agent(tmp_path, f"cat '{RECORDED}'/claude.jsonl", "claude"), tmp_path)
    assert said(run) == "The file is there."
    first, last = turns(run)
    assert [each["name"] for each in first.tool_calls] == ["Bash"]
    assert [message["role"] for message in first.messages] == ["user", "assistant", "tool"]
    assert (first.tokens_in + last.tokens_in, first.tokens_out + last.tokens_out) == (280, 28)
    assert first.cost_micros + last.cost_micros == 728
    assert not first.unpriced
    assert last.agent_state["session"] == "4ffb6e32-52e9-4d7c-b729-e81ed0f09ec7"
    assert (last.model, last.provider) == ("claude-sonnet-4-5", "anthropic")


async def test_the_recorded_lines_of_codex_become_turns(tmp_path: Path) -> None:
    run = await outcome(agent(tmp_path, f"cat '{RECORDED}'/codex.jsonl", "codex"), tmp_path)
    assert said(run) == "The file is there."
    first, last = turns(run)
    assert [each["name"] for each in first.tool_calls] == ["command_execution"]
    assert (first.tokens_in + last.tokens_in, last.tokens_out, last.cache_read) == (280, 28, 200)


async def test_the_recorded_lines_of_gemini_become_turns(tmp_path: Path) -> None:
    run = await outcome(agent(tmp_path, f"cat '{RECORDED}'/gemini.jsonl", "gemini"), tmp_path)
    assert said(run) == "The file is there."
    first, last = turns(run)
    assert [each["name"] for each in first.tool_calls] == ["run_shell_command"]
    assert (last.tokens_in, last.tokens_out) == (280, 28)
    assert last.model == "gemini-2.5-pro"


@pytest.mark.parametrize(
    ("preset", "recorded", "told"),
    [
        ("claude", "claude-401", "terminal: stub: Invalid API key"),
        ("codex", "codex-failed", "transient: stub: We’re currently experiencing high demand"),
        ("gemini", "gemini-401", "terminal: stub: [API Error"),
    ],
)
@pytest.mark.parametrize("code", [0, 1])
async def test_a_failure_in_the_final_event_is_one_whatever_the_exit_code(
    tmp_path: Path, preset: str, recorded: str, told: str, code: int
) -> None:
    run = await outcome(agent(tmp_path, f"cat '{RECORDED}'/{recorded}.jsonl; exit {code}", preset), tmp_path)
    assert reason(run).startswith(told)


@pytest.mark.parametrize(("preset", "recorded"), [("claude", "claude-quota"), ("codex", "codex-quota")])
async def test_without_quota_the_run_pauses(tmp_path: Path, preset: str, recorded: str) -> None:
    run = await outcome(agent(tmp_path, f"cat '{RECORDED}'/{recorded}.jsonl; exit 1", preset), tmp_path)
    assert run.result is None
    assert run.of(StageFailed) == []


async def test_a_program_without_a_final_event_has_failed(tmp_path: Path) -> None:
    cli = agent(tmp_path, f"head -3 '{RECORDED}'/claude.jsonl", "claude")
    run = await outcome(cli, tmp_path)
    assert "ended without its final event" in reason(run)
    assert [each["name"] for each in turns(run)[0].tool_calls] == ["Bash"]


async def test_an_answer_without_content_is_a_failure(tmp_path: Path) -> None:
    lines = '{"type":"thread.started","thread_id":"t"}\n{"type":"turn.completed","usage":{}}'
    run = await outcome(agent(tmp_path, f"printf '%s' '{lines}'", "codex"), tmp_path)
    assert "ended without an answer" in reason(run)


async def test_a_program_that_keeps_its_pipes_open_after_its_final_event_is_ended(tmp_path: Path) -> None:
    cli = agent(tmp_path, f"cat '{RECORDED}'/claude.jsonl; cat; (sleep 60 &) ; sleep 60", "claude")
    began = time.monotonic()
    run = await outcome(cli, tmp_path, grace=0.3)
    assert said(run) == "The file is there."
    assert time.monotonic() - began < 8
    (started,) = [event for event in run.of(ToolStarted) if isinstance(event, ToolStarted)]
    assert tree.members(started.marker) == []


async def test_the_prompt_comes_by_standard_input_or_as_an_argument(tmp_path: Path) -> None:
    by_input = agent(tmp_path, 'echo "got: $(cat) args: $*"')
    assert said(await outcome(by_input, tmp_path)) == "got: do it args:"
    by_argument = agent(tmp_path, 'echo "got: $(cat) args: $*"', input="arg", args=("-p", "{prompt}", "--now"))
    assert said(await outcome(by_argument, tmp_path)) == "got:  args: -p do it --now"
    last = agent(tmp_path, 'echo "$*"', input="arg", args=("ask",))
    assert said(await outcome(last, tmp_path)) == "ask do it"


async def test_a_prompt_that_is_too_long_for_an_argument_is_reported(tmp_path: Path) -> None:
    cli = agent(tmp_path, "true", input="arg")
    run = await outcome(cli, tmp_path, f'prompt="{"x" * 130_000}"')
    assert "set `input: stdin`" in reason(run)


async def test_the_context_is_in_a_file(tmp_path: Path) -> None:
    cli = agent(tmp_path, 'cat "$ORCHESTRA_CONTEXT_FILE"')
    run = await outcome(cli, tmp_path, options={"variables": {"colour": "blue"}})
    assert json.loads(said(run))["current_node"] == "work"


ROUTES = """digraph t { start [shape=Mdiamond] exit [shape=Msquare] work [prompt="do it" %s] yes no
start -> work work -> yes [label=Approve] work -> no [label=Reject] yes -> exit no -> exit }"""


async def test_a_status_file_is_what_the_agent_reports(tmp_path: Path) -> None:
    report = '{"status": "success", "preferred_label": "Reject", "notes": "no", "context_updates": {"a": 1}}'
    cli = agent(tmp_path, f"echo '{report}' > \"$ORCHESTRA_STATUS_FILE\"; echo approved: yes")
    run = await outcome(cli, tmp_path, text=ROUTES % "")
    assert run.path == ["start", "work", "no", "exit"]
    assert run.state.context["a"] == 1
    assert "ORCHESTRA_STATUS_FILE" in str(turns(run)[0].messages[0])


async def test_attractors_names_in_a_status_file_are_read_too(tmp_path: Path) -> None:
    report = '{"outcome": "success", "preferred_next_label": "Reject", "suggested_next_ids": ["no"]}'
    cli = agent(tmp_path, f"echo '{report}' > \"$ORCHESTRA_STATUS_FILE\"")
    assert "no" in (await outcome(cli, tmp_path, text=ROUTES % "")).path


async def test_prose_never_routes(tmp_path: Path) -> None:
    cli = agent(tmp_path, "echo 'status: fail'; echo 'preferred_label: Approve'")
    assert "no" in (await outcome(cli, tmp_path, text=ROUTES % "")).path


@pytest.mark.parametrize(
    "text", ["[1]", "{", '{"status": "perhaps"}', '{"status": "success", "context_updates": 1}']
)
async def test_a_status_file_that_cannot_be_read_fails_the_node(tmp_path: Path, text: str) -> None:
    cli = agent(tmp_path, f"echo '{text}' > \"$ORCHESTRA_STATUS_FILE\"")
    assert (await outcome(cli, tmp_path)).of(StageFailed)


async def test_a_goal_gate_without_a_report_fails_closed(tmp_path: Path) -> None:
    run = await outcome(agent(tmp_path, "echo all is well"), tmp_path, 'prompt="check" goal_gate=true')
    assert "did not report an outcome" in reason(run)


async def test_a_goal_gates_agent_is_asked_once_more_in_its_session(tmp_path: Path) -> None:
    body = f"""
    echo "$*" >> asked
    cat > given
    cat '{RECORDED}'/claude.jsonl
    case "$*" in *--resume*) echo '{{"status": "success"}}' > "$ORCHESTRA_STATUS_FILE";; esac
    """
    run = await outcome(agent(tmp_path, body, "claude"), tmp_path, 'prompt="check" goal_gate=true')
    assert run.path == ["start", "work", "exit"]
    first, second = (tmp_path / "asked").read_text().splitlines()
    assert "--resume" not in first
    assert "--resume 4ffb6e32-52e9-4d7c-b729-e81ed0f09ec7" in second
    assert "You have not reported the outcome" in (tmp_path / "given").read_text()


@pytest.mark.parametrize("gate", ["", " goal_gate=true"])
async def test_a_report_holds_while_the_answer_is_corrected_to_fit_its_schema(gate: str, tmp_path: Path) -> None:
    schema = json.dumps({"type": "object", "required": ["n"]}).replace('"', '\\"')
    *lines, last = (RECORDED / "claude.jsonl").read_text().splitlines()
    fits = json.dumps({**json.loads(last), "result": '{"n": 1}'})
    (tmp_path / "corrected.jsonl").write_text("\n".join((*lines, fits)))
    body = f"""
    cat >> given
    case "$*" in
      *--resume*) cat corrected.jsonl;;
      *) cat '{RECORDED}'/claude.jsonl
         echo '{{"status": "success", "context_updates": {{"k": "v"}}}}' > "$ORCHESTRA_STATUS_FILE";;
    esac
    """
    cli = agent(tmp_path, body, "claude")
    run = await outcome(cli, tmp_path, f'prompt="check" output_schema="{schema}"{gate}')
    assert run.path == ["start", "work", "exit"], reason(run)
    assert run.state.context["k"] == "v"
    assert run.state.context["outputs.work"] == {"n": 1}
    given = (tmp_path / "given").read_text()
    assert "does not fit the schema" in given
    assert "You have not reported the outcome" not in given


async def test_an_agent_that_chooses_none_of_its_edges_labels_is_a_warning(tmp_path: Path) -> None:
    run = await outcome(agent(tmp_path, "echo fine"), tmp_path, text=ROUTES % "")
    assert any(event.rule == "no_label" for event in run.of(WarningRaised) if isinstance(event, WarningRaised))


async def test_only_its_own_keys_reach_a_program(tmp_path: Path) -> None:
    environment = {
        "ANTHROPIC_API_KEY": "sk-anthropic",
        "OPENAI_API_KEY": "sk-openai",
        "GEMINI_API_KEY": "sk-gemini",
        "CODEX_API_KEY": "sk-codex",
        "EXTRA": "kept",
    }
    body = 'echo "$ANTHROPIC_API_KEY,$OPENAI_API_KEY,$GEMINI_API_KEY,$CODEX_API_KEY,$EXTRA,$MORE"'
    for preset, seen in (
        ("claude", "sk-anthropic,,,,kept,"),
        ("codex", ",sk-openai,,sk-codex,kept,"),
        ("", ",,,,kept,"),
    ):
        cli = agent(tmp_path, body, preset, events="none")
        assert said(await outcome(cli, tmp_path, environment=environment)) == seen
    cli = agent(tmp_path, body, events="none", env={"OPENAI_API_KEY": None, "MORE": "added", "ABSENT": None})
    assert said(await outcome(cli, tmp_path, environment=environment)) == ",sk-openai,,,kept,added"


async def test_a_missing_program_says_how_it_is_installed(tmp_path: Path) -> None:
    cli = from_preset("claude", command="no-such-program")
    assert "npm install -g @anthropic-ai/claude-code" in reason(await outcome(cli, tmp_path))


async def test_an_exit_code_is_a_failure_with_the_end_of_stderr(tmp_path: Path) -> None:
    run = await outcome(agent(tmp_path, "echo partial; echo broken pipe dream >&2; exit 3"), tmp_path)
    assert "exited with 3: broken pipe dream" in reason(run)


async def test_a_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    cli = agent(tmp_path, "(setsid sleep 61 &); sleep 61", "claude")
    run = await outcome(cli, tmp_path, 'prompt="x" timeout=500ms')
    assert "timeout" in reason(run)
    (started,) = [event for event in run.of(ToolStarted) if isinstance(event, ToolStarted)]
    assert tree.members(started.marker) == []


async def test_a_limit_of_time_ends_the_program_and_keeps_its_messages(tmp_path: Path) -> None:
    cli = agent(tmp_path, f"head -2 '{RECORDED}'/claude.jsonl; sleep 60", "claude")
    run = await outcome(cli, tmp_path, rules=Rules(node=Limits(seconds=1)))
    assert run.result is None
    assert run.state.limit == "node.seconds"
    (turn,) = turns(run)
    assert "I will write it." in str(turn.messages)


async def test_messages_of_a_program_before_its_node_was_canceled_are_kept(tmp_path: Path) -> None:
    cli = agent(tmp_path, f"head -2 '{RECORDED}'/claude.jsonl; sleep 60", "claude")
    run = await outcome(cli, tmp_path, 'prompt="x" timeout=500ms')
    assert "timeout" in reason(run)
    (turn,) = turns(run)
    assert "I will write it." in str(turn.messages)


async def test_lines_that_are_no_events_and_a_very_long_line_are_passed_over(tmp_path: Path) -> None:
    cli = agent(
        tmp_path,
        f"echo warning; echo '{{broken'; echo '[1]'; head -c 17000000 /dev/zero | tr '\\0' x; echo; "
        f"cat '{RECORDED}'/claude.jsonl",
        "claude",
    )
    run = await outcome(cli, tmp_path)
    assert said(run) == "The file is there."
    assert any("longer than 16 MiB" in str(event) for event in run.of(WarningRaised))


async def test_a_run_that_was_cut_off_continues_the_programs_session(tmp_path: Path) -> None:
    body = f"""
    echo "$*" >> asked
    cat >> given
    case "$*" in
      *--resume*) tail -1 '{RECORDED}'/claude.jsonl;;
      *) head -5 '{RECORDED}'/claude.jsonl; sleep 60;;
    esac
    """
    run = await ready(agent(tmp_path, body, "claude"), tmp_path)
    walk = asyncio.ensure_future(run.walk())
    while not turns(run):
        await asyncio.sleep(0.02)
    walk.cancel()
    with pytest.raises(asyncio.CancelledError):
        await walk
    again = await (await resumed(run)).walk()
    assert said(again) == "The file is there."
    assert "--resume 4ffb6e32" in (tmp_path / "asked").read_text().splitlines()[1]
    assert (tmp_path / "given").read_text() == (
        "do itYou were interrupted. Check what is done already, then finish the task."
    )


GONE = {
    "claude": """echo '{"type":"result","subtype":"error_during_execution","is_error":true,"errors":"""
    """["No conversation found with session ID: 4ffb"]}'""",
    "codex": "echo 'Error: thread/resume failed: no rollout found for thread id 01a2 (code -32600)' >&2",
    "gemini": "echo 'Error resuming session: Invalid session identifier \"7692\".' >&2",
}
"""What the programs write where they do not know the session that they are to resume."""


@pytest.mark.parametrize("preset", GONE)
async def test_a_session_that_is_gone_starts_again(tmp_path: Path, preset: str) -> None:
    body = f"""
    echo run >> asked
    case "$*" in
      *resume*) {GONE[preset]}; exit 1;;
    esac
    if [ -e interrupted ]; then cat '{RECORDED}'/{preset}.jsonl; exit; fi
    touch interrupted; sed '$d' '{RECORDED}'/{preset}.jsonl; sleep 60
    """
    run = await ready(agent(tmp_path, body, preset), tmp_path)
    walk = asyncio.ensure_future(run.walk())
    while not turns(run):
        await asyncio.sleep(0.02)
    walk.cancel()
    with pytest.raises(asyncio.CancelledError):
        await walk
    again = await (await resumed(run)).walk()
    assert said(again) == "The file is there."
    assert (tmp_path / "asked").read_text().count("run") == 3


def test_codex_counts_its_whole_session_and_only_what_is_new_is_counted() -> None:
    from orchestra.agents.cli.turns import _less
    from orchestra.run.conversation import Usage

    assert _less(Usage(input=10879, output=29), Usage(input=280, output=28)) == Usage(input=10599, output=1)
