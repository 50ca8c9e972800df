"""A conversation with a model over the wire: answers, tools, outcomes, failures (A3, A4, A9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.backends.talking import GRAPH, results, turns, world
from orchestra.run.events import AgentResponded, AgentTurnCompleted, StageCompleted, StageFailed, WarningRaised
from orchestra.run.state import Result
from support import Session

WRITE = 'tool_calls: [{name: write-file, arguments: {path: a.txt, content: "hi"}}]'
REPORT = "tool_calls: [{name: report_outcome, arguments: {status: %s, notes: %s}}]"
SUCCESS = REPORT % ("success", "done")


def end(session: Session, node: str = "work") -> StageCompleted | StageFailed:
    return next(e for e in session.events if isinstance(e, StageCompleted | StageFailed) and e.node == node)


def good(session: Session) -> bool:
    return isinstance(session.result, Result) and session.result.good


@pytest.mark.parametrize("provider", ["openai", "responses", "anthropic", "google"])
async def test_an_agent_works_with_tools_until_it_reports(provider: str, tmp_path: Path) -> None:
    script = (
        f"answers:\n  - {{text: I write, {WRITE}, usage: {{input: 100, output: 9, cached: 40}}}}\n  - {{{SUCCESS}}}"
    )
    with world(tmp_path, script, provider) as here:
        session = await here.ran()
    assert good(session), session.result
    assert (tmp_path / "a.txt").read_text() == "hi"
    first = next(e for e in session.events if isinstance(e, AgentResponded))
    assert (first.tokens_in, first.tokens_out, first.cache_read) == (100, 9, 40)
    assert not first.unpriced
    assert first.cost_micros > 0
    ended = next(e for e in session.events if isinstance(e, AgentTurnCompleted))
    assert ended.files_written == ("a.txt",)
    assert "write-file" in str(ended.tool_calls)
    assert end(session).response == "I write"
    assert len(here.requests) == 2


@pytest.mark.parametrize("provider", ["openai", "responses", "anthropic", "google"])
async def test_plain_text_is_success_and_prose_never_routes(provider: str, tmp_path: Path) -> None:
    graph = GRAPH + ' work -> other [label="ship"] other -> exit'
    text = "preferred_label: ship. outcome: fail. approved: yes"
    with world(tmp_path, f'answers: [{{text: "{text}"}}]', provider) as here:
        session = await here.ran(graph)
    assert good(session)
    assert "other" not in session.path
    assert end(session).response == text


async def test_a_report_chooses_the_edge_by_its_label(tmp_path: Path) -> None:
    graph = GRAPH.replace("work -> exit", 'work -> exit [label="done"] work -> other [label="ship"] other -> exit')
    report = "tool_calls: [{name: report_outcome, arguments: {status: success, preferred_label: ship}}]"
    with world(tmp_path, f"answers: [{{{report}}}]") as here:
        session = await here.ran(graph)
        offered = here.requests[0].tools
    assert "other" in session.path
    schema = next(t["function"] for t in offered if t["function"]["name"] == "report_outcome")
    assert schema["parameters"]["properties"]["preferred_label"]["enum"] == ["done", "ship"]


async def test_a_json_object_is_a_report(tmp_path: Path) -> None:
    with world(tmp_path, 'answers: [{text: \'{"status": "fail", "notes": "no way"}\'}]') as here:
        session = await here.ran()
    assert "no way" in end(session).failure_reason  # type: ignore[union-attr]


async def test_a_goal_gate_that_does_not_report_is_asked_once_and_fails(tmp_path: Path) -> None:
    graph = 'work [prompt="do it", goal_gate=true] start -> work -> exit'
    with world(tmp_path, "answers: [{text: all good}]") as here:
        session = await here.ran(graph)
        assert len(here.requests) == 2
    assert isinstance(end(session), StageFailed)
    with world(tmp_path, f"answers: [{{text: all good}}, {{{SUCCESS}}}]") as here:
        assert good(await here.ran(graph))


async def test_a_wait_of_more_than_five_minutes_fails_the_attempt_and_is_named(tmp_path: Path) -> None:
    with world(tmp_path, "answers: [{error: {kind: rate_limit, retry_after: 10m}}]") as here:
        session = await here.ran()
        assert len(here.requests) == 1
    assert "it asks to wait 600 s" in str(end(session))


async def test_a_rate_limit_is_waited_out_and_recorded_and_uses_no_attempt(tmp_path: Path) -> None:
    script = "answers: [{error: {kind: rate_limit, retry_after: 7}}, {error: overloaded}, {text: fine}]"
    with world(tmp_path, script) as here:
        session = await here.ran()
    assert good(session)
    said = [e.message for e in session.events if isinstance(e, WarningRaised) and e.rule == "model_repeat"]
    assert len(said) == 2
    assert "in 7.0 s (1 of 2)" in said[0]
    assert session.clock.slept[:2] == [7.0, 6.0]
    assert session.state.nodes["work"].executions == 1


async def test_repeats_end_and_the_next_attempt_continues_the_conversation(tmp_path: Path) -> None:
    graph = 'work [prompt="do it", max_retries=1] start -> work -> exit'
    errors = ", ".join(["{error: server_error}"] * 3)
    with world(tmp_path, f"answers: [{{{WRITE}}}, {errors}, {{text: fine}}]") as here:
        session = await here.ran(graph)
        last = here.requests[-1]
    assert good(session)
    assert session.state.nodes["work"].executions == 2
    assert [m["role"] for m in last.messages] == ["system", "user", "assistant", "tool"]


async def test_an_attempt_after_another_failure_starts_a_new_conversation_with_the_reason(tmp_path: Path) -> None:
    graph = 'work [prompt="do it", max_retries=1] start -> work -> exit'
    with world(tmp_path, f"answers: [{{{REPORT % ('fail', 'broken build')}}}, {{text: fine}}]") as here:
        session = await here.ran(graph)
        last = here.requests[-1]
    assert good(session)
    assert [m["role"] for m in last.messages] == ["system", "user"]
    assert "broken build" in last.last


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("unauthorized", "key is not accepted"),
        ("model_not_found", "refused"),
        ("context_too_long", "window"),
        ("content_refused", "refused"),
    ],
)
@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
async def test_what_would_fail_again_is_not_repeated(provider: str, kind: str, word: str, tmp_path: Path) -> None:
    graph = 'work [prompt="do it", max_retries=2] start -> work -> exit'
    with world(tmp_path, f"answers: [{{error: {kind}}}]", provider) as here:
        session = await here.ran(graph)
        assert len(here.requests) == 1
    ended = end(session)
    assert isinstance(ended, StageFailed)
    assert ended.failure_class == "terminal"
    assert word in ended.failure_reason


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
async def test_no_quota_pauses_the_run_after_one_request(provider: str, tmp_path: Path) -> None:
    with world(tmp_path, "answers: [{error: insufficient_quota}, {text: fine}]", provider) as here:
        session = await here.ran()
        assert len(here.requests) == 1
        assert session.result is None
        assert session.state.limit == "quota"
        assert good(await here.again(session))


FAULTS = [
    "break_after: 2",
    "silent_after: 2",
    "empty: true",
    "raw: ''",
    "error: {kind: overloaded, after: 2}",
    "error: {kind: rate_limit, after: 2}",
    "error: {kind: server_error, after: 2}",
]


@pytest.mark.parametrize("provider", ["openai", "responses", "anthropic", "google"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_broken_silent_and_empty_answers_are_asked_again_and_nothing_of_them_counts(
    provider: str, fault: str, tmp_path: Path
) -> None:
    script = f"answers: [{{text: half of a long answer, {WRITE}, {fault}}}, {{text: whole}}]"
    if "error" in fault:
        script = f"answers: [{{text: half of a long answer, {fault}}}, {{text: whole}}]"
    if fault in ("empty: true", "raw: ''"):
        script = f"answers: [{{{fault}}}, {{text: whole}}]"
    with world(tmp_path, script, provider) as here:
        session = await here.ran()
        assert len(here.requests) == 2
    assert good(session)
    assert end(session).response == "whole"
    assert not (tmp_path / "a.txt").exists()
    assert len(session.of(AgentResponded)) == 1
    silences = [event for event in session.of(WarningRaised) if "has written nothing for 0.4 s" in str(event)]
    assert bool(silences) == ("silent" in fault)


async def test_a_file_whose_name_is_no_unicode_is_recorded_with_question_marks(tmp_path: Path) -> None:
    hook = 'graph ["tool_hooks.post"="cat > told.json"] '
    command = r"""printf x > \"$(printf 'caf\\351')\" """
    script = (
        f"""answers: [{{tool_calls: [{{name: shell, arguments: {{command: "{command}"}}}}]}}, {{text: done}}]"""
    )
    with world(tmp_path, script) as here:
        session = await here.ran(hook + GRAPH)
    assert good(session)
    assert session.of(AgentTurnCompleted)[0].files_written == ("caf?",)
    assert "caf?" in (tmp_path / "told.json").read_text()


async def test_pings_are_no_silence(tmp_path: Path) -> None:
    with world(tmp_path, "answers: [{text: slow, pace: 400ms}]", "anthropic") as here:
        here.timeout = "1s"
        session = await here.ran()
        assert len(here.requests) == 1
    assert good(session)


async def test_white_space_around_a_key_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-abcdefgh12345678\n")
    with world(tmp_path, "answers: [{text: fine}]", "anthropic") as here:
        assert good(await here.ran())


@pytest.mark.parametrize("provider", ["openai", "responses", "anthropic", "google"])
async def test_a_tool_call_that_is_cut_off_is_not_executed(provider: str, tmp_path: Path) -> None:
    script = f"answers: [{{{WRITE}, stop: length}}, {{text: whole}}]"
    with world(tmp_path, script, provider) as here:
        session = await here.ran()
        assert "cut off" in here.requests[1].last
    assert good(session)
    assert not (tmp_path / "a.txt").exists()
    assert not results(session)


@pytest.mark.parametrize("provider", ["openai", "responses", "anthropic", "google"])
async def test_a_refusal_fails_the_node_for_good(provider: str, tmp_path: Path) -> None:
    with world(tmp_path, "answers: [{text: I cannot help, stop: refusal}]", provider) as here:
        session = await here.ran()
    ended = end(session)
    assert isinstance(ended, StageFailed)
    assert "refused" in ended.failure_reason
    assert ended.failure_class == "terminal"


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
async def test_an_unknown_tool_and_wrong_arguments_are_errors_for_the_agent(provider: str, tmp_path: Path) -> None:
    script = (
        "answers:\n"
        "  - tool_calls: [{name: fly, arguments: {}}, {name: read-file, arguments: {pth: x}}]\n"
        "  - text: sorry\n"
    )
    with world(tmp_path, script, provider) as here:
        session = await here.ran()
    assert good(session)
    assert [m.get("is_error") for m in results(session)] == [True, True]


async def test_arguments_that_are_no_json_are_an_error_for_the_agent(tmp_path: Path) -> None:
    script = "answers:\n  - tool_calls: [{name: write-file, arguments: '{\"path\": '}]\n  - text: sorry\n"
    with world(tmp_path, script) as here:
        session = await here.ran()
    assert good(session)
    assert "could not be read" in results(session)[0]["text"]


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
async def test_twenty_tool_calls_in_one_answer_are_all_answered_in_order(provider: str, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"f{number}.txt").write_text(f"text {number}")
    calls = ", ".join(f"{{name: read-file, arguments: {{path: f{number}.txt}}}}" for number in range(20))
    with world(tmp_path, f"answers:\n  - tool_calls: [{calls}]\n  - text: done\n", provider) as here:
        session = await here.ran()
    assert good(session)
    assert [f"text {number}" in m["text"] for number, m in enumerate(results(session))] == [True] * 20
    assert len([e for e in turns(session) if isinstance(e, AgentTurnCompleted)]) == 2


async def test_direct_asks_once_and_offers_no_tools(tmp_path: Path) -> None:
    graph = 'work [prompt="do it", backend=direct] start -> work -> exit'
    with world(tmp_path, "answers: [{text: fine}]") as here:
        session = await here.ran(graph)
        assert [asked.tools for asked in here.requests] == [[]]
    assert good(session)
    assert end(session).response == "fine"


async def test_template_syntax_in_answers_and_tools_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("{{ goal }} {% raw %}")
    script = (
        "answers:\n  - tool_calls: [{name: read-file, arguments: {path: t.txt}}]\n  - text: '{{ goal }} {% if %}'\n"
    )
    graph = 'work [prompt="do it"] next [prompt="{{ responses.work }}"] start -> work -> next -> exit'
    with world(tmp_path, script) as here:
        session = await here.ran(graph)
        assert "{{ goal }} {% if %}" in here.requests[-1].last
    assert good(session)


async def test_an_agent_that_chooses_none_of_the_labels_is_a_warning(tmp_path: Path) -> None:
    graph = 'work fix start -> work -> exit [label="Approve"] work -> fix [label="Rework"] fix -> exit'
    graph = graph.replace("start -> work -> exit [", "start -> work work -> exit [")
    with world(tmp_path, "answers: [{text: I would rework it}, {text: fixed}]") as here:
        session = await here.ran(graph)
    rules = [event.rule for event in session.of(WarningRaised)]
    assert rules.count("no_label") == 1


async def test_a_call_that_is_refused_over_and_over_fails_with_the_reason(tmp_path: Path) -> None:
    call = "{name: report_outcome, arguments: {status: success, preferred_label: Rewrok}}"
    with world(tmp_path, f"answers: [{{tool_calls: [{call}]}}]") as here:
        session = await here.ran('work start -> work work -> exit [label="Rework"]')
    assert "the last was refused" in session.state.nodes["work"].reason
    assert "Rewrok" in session.state.nodes["work"].reason


async def test_of_two_reports_in_one_answer_the_failure_counts(tmp_path: Path) -> None:
    calls = ", ".join(
        f"{{name: report_outcome, arguments: {{status: {status}}}}}" for status in ("fail", "success")
    )
    with world(tmp_path, f"answers: [{{tool_calls: [{calls}]}}]") as here:
        session = await here.ran("work [goal_gate=true] start -> work -> exit")
    assert session.state.failed
