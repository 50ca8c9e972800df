"""Clouds that serve others' models, by LangChain's own packages: Azure, Vertex AI, Bedrock, OpenRouter (A8)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agents.backends.talking import VENDORS, world
from orchestra.run.events import AgentResponded, StageFailed
from support import Session

WRITE = 'tool_calls: [{name: write-file, arguments: {path: a.txt, content: "hi"}}]'
REPORT = "tool_calls: [{name: report_outcome, arguments: {status: success, notes: done}}]"
HALF = "text: half of an answer that is cut off long before its end"
PLACES = {
    "openrouter": "/api/v1/chat/completions",
    "azure": "/openai/deployments/my-deployment/chat/completions",
    "vertex": "/v1beta1/publishers/google/models/gemini-2.5-pro:streamGenerateContent",
    "bedrock": "/model/anthropic.claude-haiku-4-5-v1%3A0/converse-stream",
}
STANDARD = {
    "OPENROUTER_API_KEY": "k",
    "AZURE_OPENAI_API_KEY": "k",
    "OPENAI_API_VERSION": "2024-10-21",
    "GOOGLE_API_KEY": "k",
    "AWS_ACCESS_KEY_ID": "k",
    "AWS_SECRET_ACCESS_KEY": "k",
    "AWS_DEFAULT_REGION": "us-east-1",
}

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A vendor, whose standard variables are set."""
    for name, value in STANDARD.items():
        monkeypatch.setenv(name, value)
    return str(request.param)


def good(session: Session) -> bool:
    return session.result is not None and session.result.good


async def test_an_agent_works_with_tools_by_the_vendors_own_address(vendor: str, tmp_path: Path) -> None:
    script = f"answers:\n  - {{text: I write, {WRITE}, usage: {{input: 100, output: 9}}}}\n  - {{{REPORT}}}"
    with world(tmp_path, script, vendor) as here:
        session = await here.ran()
    assert good(session), session.result
    assert (tmp_path / "a.txt").read_text() == "hi"
    assert [one.path for one in here.requests] == [PLACES[vendor]] * 2
    assert "write-file" in here.requests[0].tool_names or "write_file" in here.requests[0].tool_names
    first = session.of(AgentResponded)[0]
    assert (first.tokens_in, first.tokens_out) == (100, 9)


@pytest.mark.parametrize(
    ("kind", "word"),
    [("unauthorized", "not accepted"), ("model_not_found", "refused"), ("context_too_long", "window")],
)
async def test_what_would_fail_again_is_not_repeated(vendor: str, kind: str, word: str, tmp_path: Path) -> None:
    with world(tmp_path, f"answers: [{{error: {kind}}}]", vendor) as here:
        session = await here.ran()
        assert len(here.requests) == 1
    (failed,) = session.of(StageFailed)
    assert failed.failure_class == "terminal"
    assert word in failed.failure_reason


async def test_no_quota_pauses_the_run_after_one_request(vendor: str, tmp_path: Path) -> None:
    with world(tmp_path, "answers: [{error: insufficient_quota}, {text: fine}]", vendor) as here:
        session = await here.ran()
        assert (len(here.requests), session.state.limit) == (1, "quota")


@pytest.mark.parametrize(
    "fault",
    [
        "error: rate_limit",
        "error: {kind: overloaded, after: 2}",
        f"break_after: 2, {HALF}",
    ],
)
async def test_what_passes_is_asked_again(vendor: str, fault: str, tmp_path: Path) -> None:
    with world(tmp_path, f"answers: [{{{fault}}}, {{text: whole}}]", vendor) as here:
        session = await here.ran()
        assert len(here.requests) == 2
    assert good(session), session.result
    assert len(session.of(AgentResponded)) == 1


async def test_a_stream_that_stays_silent_is_asked_again(vendor: str, tmp_path: Path) -> None:
    with world(
        tmp_path,
        f"answers: [{{silent_after: 2, {HALF}}}, {{text: whole}}]",
        vendor,
    ) as here:
        session = await here.ran()
        assert len(here.requests) == 2
    assert good(session), session.result


async def test_a_tool_call_that_is_cut_off_is_not_executed(vendor: str, tmp_path: Path) -> None:
    with world(tmp_path, f"answers: [{{{WRITE}, stop: length}}, {{text: whole}}]", vendor) as here:
        session = await here.ran()
    assert good(session)
    assert not (tmp_path / "a.txt").exists()


async def test_a_refusal_fails_the_node(vendor: str, tmp_path: Path) -> None:
    with world(tmp_path, "answers: [{text: I cannot help, stop: refusal}]", vendor) as here:
        session = await here.ran()
    (failed,) = session.of(StageFailed)
    assert "refused" in failed.failure_reason


@pytest.mark.parametrize("provider", ["google", "vertex"])
def test_an_error_in_a_stream_leaves_nothing_open(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    with world(tmp_path, f"answers: [{{error: {{kind: overloaded, after: 2}}, {HALF}}}, fine]", provider) as here:
        assert good(asyncio.run(here.ran()))
    assert not [record for record in caplog.records if record.name == "asyncio"]
