"""Tool nodes: what they run, record and return (engine.md#tool-nodes)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from shells import executed, node, nothing_runs, prepared, started, tool, tooled

from orchestra.errors import StoreUnreachable
from orchestra.processes.output import PART, SHOWN
from orchestra.run.declare import BlobRef
from orchestra.run.events import PipelinePaused, StageFailed, StageRetrying, ToolExecuted, ToolOutput, WarningRaised
from support import CountingStore, Session


async def test_a_command_that_exits_with_zero_succeeds_and_its_output_is_in_the_context(tmp_path: Path) -> None:
    session = await tooled(node("echo out; echo err >&2"), tmp_path)
    assert session.result is not None
    assert session.result.good
    context = session.state.context
    assert context["tool.output"] == context["tools.t.output"] == "out"
    assert context["tools.t.stderr"] == "err"
    assert context["tools.t.exit_code"] == 0
    event = executed(session)
    assert (event.output, event.stderr, event.exit_code) == ("out\n", "err\n", 0)


async def test_a_command_runs_in_the_pipelines_folder_with_nothing_to_read(tmp_path: Path) -> None:
    session = await tooled(node("pwd; cat; echo end"), tmp_path)
    assert session.state.context["tool.output"] == f"{tmp_path}\nend"


async def test_a_forgotten_value_fails_the_node_by_name(tmp_path: Path) -> None:
    session = await tooled(node("touch ran; echo {{ version }}"), tmp_path)
    (failed,) = session.of(StageFailed)
    assert isinstance(failed, StageFailed)
    assert "{{ version }} has no value" in failed.failure_reason
    assert failed.failure_class == "terminal"
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("command", ["false | cat", "false\ntrue"])
async def test_a_goal_gate_is_not_passed_by_a_pipe_or_a_later_line(command: str, tmp_path: Path) -> None:
    session = await tooled(node(command.replace("\\n", "\n"), "goal_gate=true"), tmp_path)
    assert len(session.of(StageFailed)) == 1
    assert started(session).shell == "bash -eo pipefail"


async def test_the_shell_is_the_node_s_or_the_graph_s_to_choose(tmp_path: Path) -> None:
    script = tmp_path / "own"
    script.write_text('#!/bin/sh\nshift; echo own: "$@"\n')
    script.chmod(0o755)
    session = await tooled(node("hi", f'shell="{script}"'), tmp_path)
    assert session.state.context["tool.output"] == "own: hi"


async def test_another_exit_code_is_a_failure_with_the_ends_of_both_streams(tmp_path: Path) -> None:
    session = await tooled(node("seq 30 >&2; echo out; exit 3"), tmp_path)
    (failed,) = session.of(StageFailed)
    assert isinstance(failed, StageFailed)
    assert failed.failure_reason.startswith("exit code 3:\nstdout:\nout\nstderr:\n21\n")
    assert failed.failure_reason.endswith("30")
    assert session.state.context["tools.t.exit_code"] == 3
    assert session.state.context["tools.t.output"] == "out"


async def test_a_failure_without_a_word_on_standard_error_shows_the_end_of_the_output(tmp_path: Path) -> None:
    session = await tooled(node("echo '2 tests failed'; false"), tmp_path)
    assert session.result is not None
    assert session.result.text == "exit code 1: 2 tests failed"


@pytest.mark.parametrize(
    ("command", "failure_class", "tries"),
    [("nothing-of-that-name", "terminal", 1), ("./here", "terminal", 1), ("exit 5", "", 2)],
)
async def test_a_command_that_cannot_be_run_is_not_tried_again(
    command: str, failure_class: str, tries: int, tmp_path: Path
) -> None:
    (tmp_path / "here").write_text("no program")
    session = await tooled(node(command, "max_retries=1"), tmp_path)
    (failed,) = session.of(StageFailed)
    assert isinstance(failed, StageFailed)
    assert failed.failure_class == failure_class
    assert len(session.of(StageRetrying)) == tries - 1
    assert len(session.of(ToolExecuted)) == tries


async def test_a_node_without_a_command_fails(tmp_path: Path) -> None:
    session = await tooled("t [shape=parallelogram] start -> t -> exit", tmp_path)
    assert session.result is not None
    assert not session.result.good
    assert not session.of(ToolExecuted)


async def test_a_shell_that_a_signal_ended_has_the_usual_exit_code_of_shells(tmp_path: Path) -> None:
    session = await tooled(node("kill -9 $$"), tmp_path)
    assert session.state.context["tools.t.exit_code"] == 137


async def test_a_folder_that_is_gone_fails_the_node_for_good(tmp_path: Path) -> None:
    session = await tooled(node("true", "max_retries=3"), tmp_path / "gone")
    (failed,) = session.of(StageFailed)
    assert isinstance(failed, StageFailed)
    assert failed.failure_class == "terminal"
    assert "gone" in failed.failure_reason


# --- what it starts ends with it --------------------------------------------------------------------

TREE = """
sleep 60 &
setsid sh -c 'echo $$ > own-session; exec sleep 61' &
(setsid setsid sleep 62 & )
trap '' TERM
echo ready > ready
"""


async def ready(folder: Path, file: str = "ready") -> None:
    for _again in range(500):
        if (folder / file).exists():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the command never came so far")


async def test_a_timeout_ends_the_whole_tree_also_what_changed_its_session_and_ignores_the_request(
    tmp_path: Path,
) -> None:
    handler = tool(tmp_path, patience=0.3)
    session = await tooled(node(TREE + "sleep 63; sleep 64", "timeout=500ms"), tmp_path, handler=handler)
    assert session.result is not None
    assert "timeout after 500ms" in session.result.text
    assert nothing_runs(started(session).marker)
    assert executed(session).interrupted
    assert (tmp_path / "own-session").exists()


async def test_what_was_written_before_a_timeout_is_kept(tmp_path: Path) -> None:
    session = await tooled(node("echo before; sleep 60", "timeout=300ms"), tmp_path)
    assert executed(session).output == "before\n"


@pytest.mark.parametrize("how", ["interrupt", "cancel"])
async def test_nothing_is_left_running_by_an_interruption(how: str, tmp_path: Path) -> None:
    session = await prepared(node(TREE + "sleep 65; sleep 66"), tmp_path, handler=tool(tmp_path, patience=0.2))

    async def interrupt() -> None:
        await ready(tmp_path)
        getattr(session.control, how)("by a test")

    await asyncio.gather(session.walk(), interrupt())
    marker = started(session).marker
    assert nothing_runs(marker)
    assert executed(session).interrupted
    assert session.state.stage is None or not session.state.stage.tool
    if how == "interrupt":
        assert session.of(PipelinePaused)


async def test_a_pause_lets_the_command_finish(tmp_path: Path) -> None:
    session = await prepared(node("echo > ready; sleep 0.3; echo done"), tmp_path)

    async def pause() -> None:
        await ready(tmp_path)
        session.control.pause("by a test")

    await asyncio.gather(session.walk(), pause())
    assert executed(session).output == "done\n"
    assert session.result is None


async def test_what_a_command_leaves_in_the_background_ends_with_it_and_is_reported(tmp_path: Path) -> None:
    session = await tooled(node("sleep 67 > /dev/null 2>&1 & echo started"), tmp_path)
    assert session.result is not None
    assert session.result.good
    assert nothing_runs(started(session).marker)
    assert executed(session).left_behind == 1
    assert [w.rule for w in session.of(WarningRaised) if isinstance(w, WarningRaised)] == ["left_behind"]


async def test_output_that_comes_just_after_the_shell_has_ended_is_not_lost(tmp_path: Path) -> None:
    session = await tooled(node("(sleep 0.2; echo late) & echo early"), tmp_path)
    assert executed(session).output == "early\nlate\n"
    assert executed(session).left_behind == 0


async def test_a_second_cancellation_while_the_tree_is_given_time_ends_it_at_once(tmp_path: Path) -> None:
    session = await prepared(node(TREE + "sleep 68; sleep 69"), tmp_path, handler=tool(tmp_path, patience=60))
    walk = asyncio.create_task(session.walk())
    await ready(tmp_path)
    walk.cancel()
    await asyncio.sleep(0.2)
    walk.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(walk, 5)
    assert nothing_runs(started(session).marker)


async def test_silence_is_reported_once_until_there_is_output(tmp_path: Path) -> None:
    handler = tool(tmp_path, quiet=0.15)
    session = await tooled(node("sleep 0.5; echo x; sleep 0.4"), tmp_path, handler=handler)
    warnings = [w for w in session.of(WarningRaised) if isinstance(w, WarningRaised)]
    assert [w.rule for w in warnings] == ["silent_tool", "silent_tool"]
    assert warnings[0].node == "t"


# --- what it writes ---------------------------------------------------------------------------------


async def whole(session: Session, parts: tuple[Mapping[str, Any], ...]) -> bytes:
    found = [await session.store.get_blob(bytes.fromhex(part["hash"])) for part in parts]
    assert [len(data) for data in found] == [part["size"] for part in parts]
    return b"".join(found)


async def test_output_that_is_no_text_is_whole_in_the_store(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20
    (tmp_path / "data").write_bytes(data)
    session = await tooled(node("cat data"), tmp_path)
    event = executed(session)
    assert await whole(session, event.output_parts) == data
    assert event.output_bytes == len(data)
    assert "\ufffd" in str(session.state.context["tool.output"])


async def test_long_output_is_whole_in_the_store_and_in_the_context(tmp_path: Path) -> None:
    count = 2_000_000  # in hex: letters of all kinds come to look like a key now and then, which would be redacted
    session = await tooled(node(f"head -c {count} /dev/urandom | od -An -v -tx1 | tee copy"), tmp_path)
    event = executed(session)
    data = (tmp_path / "copy").read_bytes()
    assert event.output_bytes == len(data) > 6_000_000
    assert await whole(session, event.output_parts) == data
    shown = session.state.context["tools.t.output"]
    assert isinstance(shown, BlobRef)
    text = await session.journal.resolve(shown)
    assert text == data.decode().rstrip("\n")


class Forgetful(CountingStore):
    """A store that forgets its blobs, so that only the tool's own memory is measured."""

    size = 0

    async def put_blob(self, data: bytes) -> bytes:
        self.size += len(data)
        return blake3(data).digest()


@pytest.mark.long
async def test_output_of_a_hundred_megabytes_takes_bounded_memory(tmp_path: Path) -> None:
    store = Forgetful()
    session = await prepared(node("head -c 100000000 /dev/zero; echo"), tmp_path, store=store)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await session.walk()
    assert store.size == 100_000_001
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


class Lost(CountingStore):
    """A store that takes no blobs."""

    async def put_blob(self, data: bytes) -> bytes:
        raise StoreUnreachable("no blob was taken", fix="none")


async def test_a_store_that_fails_in_the_middle_stops_the_run_and_ends_the_command(
    tmp_path: Path,
) -> None:
    session = await prepared(node("head -c 3000000 /dev/zero; sleep 70 & sleep 71"), tmp_path, store=Lost())
    with pytest.raises(StoreUnreachable):
        await asyncio.wait_for(session.walk(), 10)
    assert nothing_runs(started(session).marker)


async def test_a_secret_in_the_output_is_stored_nowhere(tmp_path: Path) -> None:
    secret = "correct-horse-battery"
    (tmp_path / "log").write_bytes(b"x" * 700_000 + b"\nkey " + secret.encode() + b"\n" + b"\xff" * 700_000)
    session = await tooled(node(f"cat log; echo {secret} >&2"), tmp_path, secrets={"KEY": secret})
    event = executed(session)
    stored = await whole(session, event.output_parts)
    assert secret.encode() not in stored
    assert b"[redacted:KEY]" in stored
    assert event.stderr == "[redacted:KEY]\n"
    assert secret not in repr(session.events)


@pytest.mark.parametrize("place", [PART - 10, SHOWN - 10, PART + 40 - SHOWN])
async def test_a_secret_where_a_long_output_is_cut_is_stored_and_shown_nowhere(tmp_path: Path, place: int) -> None:
    """One line without an end: the parts, and the ends that the context has, are cut between words of no secret."""
    secret = "correct-horse-battery"
    data = b"x" * place + secret.encode() + b"y" * (PART + 60 - place - len(secret))
    (tmp_path / "log").write_bytes(data)
    session = await tooled(node("cat log"), tmp_path, secrets={"KEY": secret})
    event = executed(session)
    ends = str(await session.journal.resolve(event.output))
    stored = await whole(session, event.output_parts)
    assert stored.replace(b"[redacted:KEY]", secret.encode()) == data
    shown = "".join(e.text for e in session.of(ToolOutput) if isinstance(e, ToolOutput))
    for some in (secret[:9], secret[9:]):
        assert some not in shown
        assert some not in ends
        assert some.encode() not in stored


async def test_a_private_key_that_comes_line_by_line_is_not_shown(tmp_path: Path) -> None:
    lines = ["-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "-----END PRIVATE KEY-----", "done"]
    (tmp_path / "key").write_text("\n".join(lines) + "\n")
    session = await tooled(node('while read line; do echo "$line"; sleep 0.05; done < key'), tmp_path)
    shown = "".join(e.text for e in session.of(ToolOutput) if isinstance(e, ToolOutput))
    assert shown == "[redacted:private-key]\ndone\n"


async def test_a_tool_cannot_see_what_its_environment_does_not_hold(tmp_path: Path) -> None:
    os.environ["ORCHESTRA_TEST_LEAK"] = "yes"
    session = await tooled(node("env"), tmp_path)
    del os.environ["ORCHESTRA_TEST_LEAK"]
    assert "LEAK" not in str(session.state.context["tool.output"])


# --- what is shown as it happens --------------------------------------------------------------------


async def test_output_is_shown_as_it_comes_and_not_recorded_piece_by_piece(tmp_path: Path) -> None:
    session = await prepared(node("echo one; echo two >&2; touch ready; sleep 0.5; printf three"), tmp_path)
    walk = asyncio.create_task(session.walk())
    await ready(tmp_path)
    await asyncio.sleep(0.1)
    early = [event for event in session.of(ToolOutput) if isinstance(event, ToolOutput)]
    assert sorted((event.stream, event.text) for event in early) == [("stderr", "two\n"), ("stdout", "one\n")]
    await walk
    last = session.of(ToolOutput)[-1]
    assert isinstance(last, ToolOutput)
    assert (last.node, last.stream, last.text) == ("t", "stdout", "three")
    turns = await session.store.turns(session.context_id, limit=100)
    recorded = [event for event in session.events if not isinstance(event, ToolOutput)]
    assert len(turns) == len(recorded)


async def test_a_secret_is_not_shown_either(tmp_path: Path) -> None:
    secret = "correct-horse-battery"
    session = await tooled(
        node(f"printf %s {secret[:9]}; sleep 0.2; echo {secret[9:]}"), tmp_path, secrets={"K": secret}
    )
    assert [e.text for e in session.of(ToolOutput) if isinstance(e, ToolOutput)] == ["[redacted:K]\n"]


async def test_characters_that_come_in_pieces_are_shown_whole(tmp_path: Path) -> None:
    session = await tooled(node("printf 'a\\303'; sleep 0.2; printf '\\251\\n\\377\\n'"), tmp_path)
    assert "".join(e.text for e in session.of(ToolOutput) if isinstance(e, ToolOutput)) == "aé\n\ufffd\n"
