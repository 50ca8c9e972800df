"""What an agent is told beside its prompt, and the form that its answer has (E40, E41, A4, A30)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.backends.talking import World, world
from orchestra.agents.inputs import find_files
from orchestra.errors import ConfigError
from orchestra.run.events import StageCompleted, WarningRaised
from orchestra.run.state import Result
from support import Session

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ffff3f0005fe02fe"
    "dccc59e70000000049454e44ae426082"
)


def good(session: Session) -> bool:
    return isinstance(session.result, Result) and session.result.good


def asked(here: World, number: int) -> str:
    return json.dumps(here.requests[number].messages)


def chain(*nodes: str, graph: str = "") -> str:
    names = ["a", "b", "c"][: len(nodes)]
    lines = [f'{name} [prompt="task {name}" {more}]' for name, more in zip(names, nodes, strict=True)]
    return f"{graph} " + " ".join(lines) + f" start -> {' -> '.join(names)} -> exit"


async def test_compact_names_the_goal_the_finished_stages_and_the_values(tmp_path: Path) -> None:
    report = "{tool_calls: [{name: report_outcome, arguments: {status: success, context_updates: {score: 3}}}]}"
    with world(tmp_path, f"answers: [{report}, {{text: second}}]") as here:
        session = await here.ran(chain("", "", graph='goal="win"'))
        prompt = here.requests[1].last
    assert good(session)
    assert prompt.endswith("task b")
    assert "Goal: win" in prompt
    assert "- a: success" in prompt
    assert "- score: 3" in prompt
    ended = next(e for e in session.events if isinstance(e, StageCompleted) and e.node == "b")
    assert ended.prompt == prompt


async def test_truncate_has_only_the_goal_and_the_run(tmp_path: Path) -> None:
    with world(tmp_path, "answers: [{text: one}, {text: two}]") as here:
        session = await here.ran(chain("", "fidelity=truncate", graph='goal="win"'))
        assert here.requests[1].last == f"Goal: win\nRun: {session.state.session}\n\ntask b"


@pytest.mark.parametrize(
    ("mode", "has", "lacks"), [("low", "stages ended", "- a:"), ("medium", "- a: success", "eins")]
)
async def test_summaries_grow_with_their_mode(mode: str, has: str, lacks: str, tmp_path: Path) -> None:
    with world(tmp_path, "answers: [{text: eins}, {text: two}]") as here:
        await here.ran(chain("", f'fidelity="summary:{mode}"'))
        assert has in here.requests[1].last
        assert lacks not in here.requests[1].last
    with world(tmp_path, "answers: [{text: eins}, {text: two}]") as here:
        await here.ran(chain("", 'fidelity="summary:high"'))
        assert "eins" in here.requests[1].last


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
async def test_full_continues_one_conversation_over_nodes(provider: str, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("seen")
    script = (
        "answers:\n  - tool_calls: [{name: read-file, arguments: {path: f.txt}}]\n  - text: one\n  - text: two\n"
        "  - text: three\n"
    )
    with world(tmp_path, script, provider) as here:
        session = await here.ran(chain("", "", "", graph='default_fidelity=full thread_id="t"'))
        assert all(one in asked(here, 3) for one in ("task a", "seen", "one", "task b", "two", "task c"))
        assert "Finished stages" not in asked(here, 3)
    assert good(session)


async def test_nodes_of_another_thread_do_not_see_it(tmp_path: Path) -> None:
    with world(tmp_path, "answers: [{text: one}, {text: two}, {text: three}]") as here:
        await here.ran(chain("thread_id=x", "thread_id=y", "thread_id=x", graph="default_fidelity=full"))
        assert "task a" not in asked(here, 1)
        assert "task a" in asked(here, 2)
        assert "task b" not in asked(here, 2)


async def test_another_model_gets_the_words_of_a_thread_and_a_warning_says_so(tmp_path: Path) -> None:
    with world(tmp_path, "answers: [{text: one, thinking: secret thoughts}, {text: two}]", "anthropic") as here:
        graph = chain("", 'llm_model="claude-opus-4-5-test"', graph='default_fidelity=full thread_id="t"')
        session = await here.ran(graph)
        assert good(session)
        assert "one" in asked(here, 1)
        assert "secret thoughts" not in asked(here, 1)
    assert [e.rule for e in session.events if isinstance(e, WarningRaised)] == ["thread_model"]


SCHEMA = json.dumps({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}).replace(
    '"', '\\"'
)


@pytest.mark.parametrize("backend", ["direct", "langgraph"])
async def test_an_answer_that_does_not_fit_its_schema_is_sent_back_twice(backend: str, tmp_path: Path) -> None:
    graph = f'a [prompt="x", backend={backend}, output_schema="{SCHEMA}"] start -> a -> exit'
    fits = "{text: '{\"n\": 3}'}"
    with world(tmp_path, f'answers: [{{text: three}}, {{text: \'{{"n": "3"}}\'}}, {fits}]') as here:
        session = await here.ran(graph)
        assert "not of type 'integer'" in here.requests[2].last
    assert good(session)
    assert session.state.context["outputs.a"] == {"n": 3}
    with world(tmp_path, "answers: [{text: never}]") as here:
        session = await here.ran(graph)
        assert len(here.requests) == 3
    assert not good(session)


async def test_a_report_holds_while_the_answer_is_corrected_to_fit_its_schema(tmp_path: Path) -> None:
    """The gate's agent was asked again for the report that it had made, and failed for not making it."""
    graph = f'a [prompt="x", goal_gate=true, output_schema="{SCHEMA}"] start -> a -> exit'
    report = "{tool_calls: [{name: report_outcome, arguments: {status: success}}]}"
    with world(tmp_path, f"answers: [{report}, {{text: '{{\"n\": 3}}'}}, {{text: surplus}}]") as here:
        session = await here.ran(graph)
        asked_for = [request.last for request in here.requests]
    assert good(session), session.state.nodes["a"].reason
    assert session.state.context["outputs.a"] == {"n": 3}
    assert not any("have not reported" in text for text in asked_for)


@pytest.mark.parametrize("provider", ["openai", "responses", "anthropic", "google"])
async def test_files_and_images_reach_the_model(provider: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PIXEL)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "one.md").write_text("words of one")
    with world(tmp_path, "answers: [{text: fine}]", provider) as here:
        session = await here.ran('a [prompt="x", attach="a.png, docs/*.md"] start -> a -> exit')
        body = json.dumps(here.requests[0].body)
    assert good(session)
    assert "words of one" in body
    assert "iVBORw0KGgo" in body


async def test_a_file_that_is_missing_fails_the_node_by_its_name(tmp_path: Path) -> None:
    with world(tmp_path, "answers: [{text: fine}]") as here:
        session = await here.ran('a [prompt="x", attach="no.png"] start -> a -> exit')
        assert not here.requests
    assert "no.png" in session.state.nodes["a"].reason


@pytest.mark.parametrize("name", ["a" * 300, "*" * 400, "[", "\0", "/etc/passwd", "../*", "."])
def test_a_name_that_no_file_here_can_have_is_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="no file"):
        find_files(name, [tmp_path])
