"""Whatever a program writes is read without an exception, and its numbers stay numbers (A6)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_stubs import agent, outcome
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.agents.cli.events import (
    READERS,
    LineSplitter,
    ProgramEvents,
    ProgramFinished,
    TokenCount,
    parse_line,
)
from orchestra.run.events import AgentTurnCompleted, StageCompleted, StageFailed

KEYS = (
    "type subtype session_id thread_id model message id content text input usage result is_error errors item role "
    "command changes path status exit_code aggregated_output error delta tool_name tool_id parameters output stats "
    "input_tokens output_tokens total_cost_usd api_error_status parent_tool_use_id name tool_use_id file_path"
    " cached"
).split()
WORDS = (
    "system init assistant user result text tool_use tool_result success item.started item.completed agent_message"
    " command_execution file_change turn.completed turn.failed thread.started"
    " error message init Write mcp_tool_call"
).split()
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(WORDS)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)),
    max_leaves=30,
)
EVENTS = st.builds(
    lambda kind, rest: {**rest, "type": kind},
    st.sampled_from(WORDS),
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8),
)


@pytest.mark.parametrize("name", READERS)
@given(events=st.lists(EVENTS, max_size=6))
@settings(max_examples=40)
def test_no_event_raises(name: str, events: list[dict[str, Any]]) -> None:
    reader: ProgramEvents = READERS[name]()
    for line in events:
        for event in reader.read(line):
            if isinstance(event, TokenCount | ProgramFinished):
                assert all(
                    isinstance(value, int) and value >= 0
                    for value in (getattr(event.usage, key) for key in ("input", "output", "cache_read"))
                )
            if isinstance(event, ProgramFinished):
                assert isinstance(event.error, str)


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=5))
def test_lines_are_the_same_however_they_come(data: bytes, cuts: list[int]) -> None:
    lines, found, at = LineSplitter(), list[bytes](), 0
    for cut in [*sorted(cuts), len(data)]:
        found += lines.feed(data[at:cut])
        at = max(at, cut)
    assert [*found, lines.last()] == data.split(b"\n")


@given(data=st.binary(max_size=60))
def test_no_line_raises(data: bytes) -> None:
    assert isinstance(parse_line(data), dict | None)


async def test_text_that_is_no_unicode_and_numbers_that_are_too_large_are_recorded(tmp_path: Path) -> None:
    lines = [
        {"type": "system", "subtype": "init", "session_id": "s\ud800"},
        {
            "type": "assistant",
            "message": {"id": "m", "content": [{"type": "text", "text": "half \ud800 \u0000 of"}]},
        },
        {
            "type": "assistant",
            "message": {
                "id": "m",
                "content": [
                    {"type": "tool_use", "id": "t", "name": "x\ud800", "input": {"a\ud800": [2**70, 1e999]}}
                ],
            },
        },
        {
            "type": "user",
            "message": {"content": [{"type": "tool_result", "tool_use_id": "t", "content": "\udc00"}]},
        },
        {
            "type": "result",
            "subtype": "success",
            "result": "done \ud800",
            "total_cost_usd": 1e30,
            "usage": {"input_tokens": 2**70, "output_tokens": -4},
        },
    ]
    (tmp_path / "answer").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = await outcome(agent(tmp_path, f"cat {tmp_path}/answer", "claude"), tmp_path)
    assert run.of(StageFailed) == []
    assert [event.node for event in run.of(StageCompleted)] == ["start", "work", "exit"]
    assert len(run.of(AgentTurnCompleted)) >= 1
