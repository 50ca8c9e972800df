"""A conversation that is cut off anywhere continues from what is recorded (A9), and obeys requests (A12, A5)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agents.backends.talking import GRAPH, killed_at, results, turns, world
from orchestra.agents.tools.calls import INTERRUPTED
from orchestra.engine.loading import resolve
from orchestra.run.codec import from_map
from orchestra.run.events import AgentResponded, AgentToolEnded, AgentTurnCompleted, SteeringTaken
from orchestra.run.state import Result
from support import Session

COUNT = "echo x >> runs.txt"
SCRIPT = f"""
answers:
  - tool_calls:
      - {{name: read-file, arguments: {{path: seen.txt}}}}
      - {{name: shell, arguments: {{command: "{COUNT}"}}}}
      - {{name: shell, arguments: {{command: "{COUNT}"}}}}
  - text: between
    tool_calls: [{{name: shell, arguments: {{command: "{COUNT}"}}}}]
  - tool_calls: [{{name: report_outcome, arguments: {{status: success, notes: done}}}}]
"""
SYNCS = 14
"""More durable writes than the run has."""


def runs(folder: Path) -> int:
    file = folder / "runs.txt"
    return len(file.read_text().splitlines()) if file.exists() else 0


def ended_well(session: Session) -> bool:
    return isinstance(session.result, Result) and session.result.good


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("append", range(2, SYNCS))
async def test_a_kill_between_any_two_writes_pays_for_at_most_the_answer_in_flight(
    append: int, provider: str, tmp_path: Path
) -> None:
    (tmp_path / "seen.txt").write_text("seen")
    with world(tmp_path, SCRIPT, provider) as here:
        session = await killed_at(here, append)
        if session is None:
            assert len(here.requests) == 3
            return
        asked, done = len(here.requests), runs(tmp_path)
        recorded = len([e for e in session.events if isinstance(e, AgentResponded)])
        assert asked - recorded in (0, 1), "only the answer that could not be recorded is asked for again"
        again = await here.again(session)
        later = len([e for e in again.events if isinstance(e, AgentResponded)])
        assert all(asked.answered == 200 for asked in here.requests), "the provider took every request"
    assert ended_well(again), again.result
    assert len(here.requests) == asked + later
    told = [message for message in results(again) if message["text"].endswith(INTERRUPTED)]
    assert runs(tmp_path) + len(told) >= done
    assert len(told) <= 2


async def test_a_call_that_was_cut_off_is_reported_and_recorded_results_are_kept(tmp_path: Path) -> None:
    script = f"""
answers:
  - tool_calls:
      - {{name: shell, arguments: {{command: "{COUNT}; echo first"}}}}
      - {{name: shell, arguments: {{command: "{COUNT}; sleep 30"}}}}
  - text: seen
"""
    with world(tmp_path, script, "anthropic") as here:
        session = await here.session()
        walking = asyncio.ensure_future(session.walk())
        while runs(tmp_path) < 2:
            await asyncio.sleep(0.02)
        session.control.interrupt("now")
        await walking
        assert session.result is None
        again = await here.again(session)
        last = here.requests[-1]
    assert ended_well(again)
    assert len(here.requests) == 2
    assert runs(tmp_path) == 2
    content = str(last.messages)
    assert "first" in content
    assert "may or may not have happened" in content


KINDS = """
answers:
  - tool_calls:
      - {name: by-settings, arguments: {}}
      - {name: repeatable, arguments: {}}
      - {name: by-python, arguments: {}}
  - tool_calls: [{name: report_outcome, arguments: {status: success}}]
"""
TOOLS = """
agents: {a: {tools: [by-settings, repeatable, by-python]}}
tools:
  by-settings: {command: "echo x >> settings.txt", description: d}
  repeatable: {command: "echo x >> repeatable.txt", description: d, idempotent: true}
tools_module: mine.py
"""
MINE = """
from orchestra.agents.tools import ToolContext
from orchestra.agents.tools.custom import tool

@tool("by-python")
def by_python(context: ToolContext) -> str:
    with open(context.folder("") / "python.txt", "a") as file:
        file.write("x\\n")
    return "done"
"""


async def test_a_call_that_a_kill_cut_off_is_made_again_only_where_its_tool_allows_that(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    told = 0
    for append in range(4, 30, 1 if pytestconfig.getoption("--long") else 2):
        folder = tmp_path / str(append)
        folder.mkdir()
        (folder / "mine.py").write_text(MINE)

        def ran(name: str, folder: Path = folder) -> int:
            file = folder / name
            return len(file.read_text().splitlines()) if file.exists() else 0

        with world(folder, KINDS, more=TOOLS) as here:
            session = await killed_at(here, append, GRAPH.replace("[prompt", "[agent=a, prompt"))
            if session is None:
                assert told > 0
                return
            again = await here.again(session)
        assert ended_well(again), append
        assert ran("settings.txt") <= 1, append
        assert ran("python.txt") <= 1, append
        assert ran("repeatable.txt") in (1, 2), append
        cut_off = [one for one in results(again) if one["text"].endswith(INTERRUPTED)]
        assert all(one["name"] != "repeatable" for one in cut_off), append
        told += len(cut_off)
    raise AssertionError("more durable writes than were tried")


async def test_a_file_that_was_read_before_a_kill_is_changed_after_it_unless_it_is_another_by_now(
    tmp_path: Path,
) -> None:
    for name, changed in (("same", False), ("changed", True)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "a.txt").write_text("one")
        with world(
            folder, "answers:\n  - tool_calls: [{name: read-file, arguments: {path: a.txt}}]\n  - text: no\n"
        ) as here:
            session = await killed_at(here, 5)
            assert session is not None
        if changed:
            (folder / "a.txt").write_text("one by somebody else")
        edit = "{name: edit-file, arguments: {path: a.txt, old_string: one, new_string: two}}"
        with world(folder, f"answers:\n  - tool_calls: [{edit}]\n  - text: done\n") as here:
            session.handlers = (await here.session()).handlers
            again = await here.again(session)
        assert ended_well(again)
        assert (folder / "a.txt").read_text() == ("one by somebody else" if changed else "two")


async def test_what_was_cut_from_a_result_is_read_from_the_record_also_after_a_resume(tmp_path: Path) -> None:
    first = 'answers:\n  - tool_calls: [{name: shell, arguments: {command: "seq 1 100000"}}]\n  - text: unheard\n'
    with world(tmp_path, first) as here:
        session = await killed_at(here, 6)
        assert session is not None
        (ended,) = [event for event in turns(session) if isinstance(event, AgentToolEnded)]
        cut = await resolve(session.store, ended.messages[0])
        name = from_map(cut["whole"][0]).hash[:8]
        assert f"all 588894 bytes are recorded: read-output(output='{name}')" in cut["text"]
    more = f"arguments: {{output: {name}, offset: 300000, limit: 20}}"
    second = f"answers:\n  - tool_calls: [{{name: read-output, {more}}}]\n  - text: seen\n"
    with world(tmp_path, second) as here:
        session.handlers = (await here.session()).handlers
        again = await here.again(session)
    assert ended_well(again)
    whole = "".join(f"{n}\n" for n in range(1, 100001))
    told = here.requests[-1].last
    assert told.endswith(f"300020]\n{whole[300_000:300_020]}")


async def test_an_instruction_reaches_the_agent_before_its_next_request(tmp_path: Path) -> None:
    script = 'answers:\n  - tool_calls: [{name: shell, arguments: {command: "sleep 0.3"}}]\n  - text: fine\n'
    with world(tmp_path, script) as here:
        session = await here.session()
        walking = asyncio.ensure_future(session.walk())
        while not here.requests:
            await asyncio.sleep(0.01)
        session.control.session.steer("use tabs", 7)
        await walking
        assert "use tabs" in here.requests[1].last
    assert [event.request for event in session.events if isinstance(event, SteeringTaken)] == [7]


async def test_a_pause_lets_the_turn_end_and_no_further_request_is_made(tmp_path: Path) -> None:
    script = (
        'answers:\n  - tool_calls: [{name: shell, arguments: {command: "sleep 0.3; touch t"}}]\n  - text: fine\n'
    )
    with world(tmp_path, script) as here:
        session = await here.session()
        walking = asyncio.ensure_future(session.walk())
        while not here.requests:
            await asyncio.sleep(0.01)
        session.control.pause("wait")
        await walking
        assert session.result is None
        assert len(here.requests) == 1
        assert (tmp_path / "t").exists()
        assert isinstance(turns(session)[-1], AgentTurnCompleted)
        again = await here.again(session)
    assert ended_well(again)
    assert len(here.requests) == 2


async def test_a_cancel_ends_a_request_at_once(tmp_path: Path) -> None:
    with world(tmp_path, "answers: [{text: late, delay: 20s}]", more="") as here:
        session = await here.session('work [prompt="x", timeout="10s"] start -> work -> exit')
        walking = asyncio.ensure_future(session.walk())
        while not here.requests:
            await asyncio.sleep(0.01)
        session.control.cancel("enough")
        await asyncio.wait_for(walking, 5)
    assert session.state.result is not None
    assert session.state.result.status == "canceled"


async def test_a_timeout_ends_a_tool_and_the_node(tmp_path: Path) -> None:
    script = 'answers:\n  - tool_calls: [{name: shell, arguments: {command: "sleep 30"}}]\n'
    with world(tmp_path, script) as here:
        session = await here.ran('work [prompt="x", timeout="500ms"] start -> work -> exit')
    assert not ended_well(session)
    assert "timeout" in session.state.nodes["work"].reason


LOOP = "answers: [{tool_calls: [{name: list-files, arguments: {pattern: '*'}}], usage: {input: 1000, output: 100}}]"


@pytest.mark.parametrize(
    ("limit", "most"),
    [
        ("node: {turns: 3}", 3),
        ("node: {tool_calls: 4}", 4),
        ("run: {tokens: 3000}", 3),
        ("run: {cost: 0.005}", 3),
    ],
)
async def test_a_hard_limit_pauses_the_run_and_a_higher_one_continues_it(
    limit: str, most: int, tmp_path: Path
) -> None:
    script = LOOP.replace("answers:", "rules:\n  - when: {contains: never}\n    answers: [x]\nanswers:")
    with world(tmp_path, script, more=f"limits: {{{limit}}}\n") as here:
        session = await here.ran()
        assert session.result is None
        assert session.state.limit
        assert len(here.requests) == most
        again = await here.again(session)
        assert len(here.requests) == most, "the same limit makes no request"
        here.more = ""
        session.handlers = again.handlers.__class__(
            by_type={**again.handlers.by_type, **here.handlers()}, own_keys=again.handlers.own_keys
        )
        third = await here.again(session, epoch=3)
    assert len(here.requests) > most
    assert third.result is not None


@pytest.mark.parametrize("backend", ["direct", "langgraph"])
async def test_a_limit_of_time_interrupts_the_model_call(backend: str, tmp_path: Path) -> None:
    more = "limits: {node: {time: 300ms}}\n"
    with world(tmp_path, "answers: [{text: too late, delay: 40s}]", more=more) as here:
        session = await here.ran(GRAPH.replace("prompt=", f"backend={backend} prompt="))
    assert session.result is None
    assert session.state.limit == "node.seconds"


async def test_a_limit_of_time_interrupts_a_tool(tmp_path: Path) -> None:
    script = "answers: [{tool_calls: [{name: shell, arguments: {command: sleep 40}}]}]"
    with world(tmp_path, script, more="limits: {node: {time: 1s}}\n") as here:
        session = await here.ran()
    assert session.result is None
    assert session.state.limit == "node.seconds"


async def test_a_soft_limit_is_a_note_to_the_agent(tmp_path: Path) -> None:
    with world(tmp_path, LOOP, more="limits: {node: {turns: 10, soft: {turns: 2}}}\n") as here:
        await here.ran()
        assert "has used 2 of 10 turns" in here.requests[2].last


async def test_an_agent_that_runs_in_circles_is_warned_once_and_then_fails(tmp_path: Path) -> None:
    with world(tmp_path, LOOP) as here:
        session = await here.ran()
        assert len(here.requests) == 20
        assert "over and over" in here.requests[10].last
    assert not ended_well(session)
    assert "over and over" in session.state.nodes["work"].reason


async def test_an_agent_is_warned_of_circles_before_it_fails_for_twenty_equal_calls_at_once(tmp_path: Path) -> None:
    calls = ", ".join(20 * ["{name: list-files, arguments: {pattern: '*'}}"])
    with world(tmp_path, f"answers: [{{tool_calls: [{calls}]}}, {{text: done}}]") as here:
        session = await here.ran()
        assert "over and over" in here.requests[1].last
    assert ended_well(session)


@pytest.mark.parametrize("append", [14, 30])
async def test_a_kill_does_not_make_an_agent_forget_that_it_runs_in_circles(append: int, tmp_path: Path) -> None:
    with world(tmp_path, LOOP) as here:
        first = await killed_at(here, append)
        assert first is not None
        again = await here.again(first)
        assert len(here.requests) in (20, 21)  # the answer that could not be recorded is asked for again
        assert sum("over and over" in one.last for one in here.requests) <= 2
    assert "over and over" in again.state.nodes["work"].reason
