"""``orchestra resume``: from every end but success, from the recorded text, by one runner at a time (S16, S26)."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from calls import PLAN, Terminal, begin, call, only_session

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.engine.loading import history

LINE = """digraph line {
    start [shape=Mdiamond]
    exit [shape=Msquare]
    a [prompt="x"]
    b [prompt="$colour"MORE]
    start -> a -> b -> exit
}
"""


def line(folder: Path, more: str = "", name: str = "line.dot") -> str:
    (folder / name).write_text(LINE.replace("MORE", more))
    return name


def script(folder: Path, text: str, name: str = "script.yaml") -> str:
    (folder / name).write_text(f"nodes: {text}")
    return name


def events(folder: Path) -> list[dict[str, object]]:
    return [json.loads(text) for text in call(folder, "log", "last", "--json-stream").stdout.splitlines()]


def killed(folder: Path, *args: str) -> str:
    process = begin(folder, *args)
    process.kill()
    process.communicate()
    assert only_session(folder)["phase"] == "crashed"
    return str(only_session(folder)["session"])


def quick(folder: Path) -> str:
    return script(folder, "{plan: [{text: a}], review: [{status: fail, reason: no test}]}")


def test_a_killed_run_continues_to_its_end(tmp_path: Path) -> None:
    session = killed(tmp_path)
    done = call(tmp_path, "resume", session[:3], "--simulate", quick(tmp_path))
    assert done.returncode == 0, done.stderr
    assert session in done.stdout
    assert "run again" in done.stdout
    assert only_session(tmp_path)["phase"] == "completed"
    ended = [event["node"] for event in events(tmp_path) if event["event"] in ("StageCompleted", "StageFailed")]
    assert ended == ["start", "plan", "build", "review", "judge", "report", "exit"]


def test_a_paused_run_continues(tmp_path: Path) -> None:
    process = begin(tmp_path)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert only_session(tmp_path)["phase"] == "paused"
    done = call(tmp_path, "resume", "last", "--simulate", quick(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["session"], told["status"]) == (only_session(tmp_path)["session"], "success")


def test_the_recorded_script_is_used_until_another_is_given(tmp_path: Path) -> None:
    call(
        tmp_path,
        "run",
        line(tmp_path),
        "colour=blue",
        "--simulate",
        script(tmp_path, "{b: [{status: fail}, {text: first}]}"),
    )
    (tmp_path / "script.yaml").write_text("nodes: {b: {text: edited}}")
    done = call(tmp_path, "resume", "last")
    assert done.returncode == 0, done.stderr
    ends = [event for event in events(tmp_path) if event.get("node") == "b" and "response" in event]
    assert ends[-1]["response"] == "first"
    assert ends[-1]["prompt"] == "blue"


def test_a_failed_run_continues_at_its_node_and_may_fail_again(tmp_path: Path) -> None:
    failing = script(tmp_path, "{b: {status: fail, reason: not yet}}")
    first = call(tmp_path, "run", line(tmp_path), "colour=blue", "--simulate", failing)
    assert first.returncode == 1
    assert "orchestra resume" in first.stdout
    assert call(tmp_path, "resume", "last").returncode == 1
    done = call(tmp_path, "resume", "last", "--simulate", script(tmp_path, "{b: {text: done}}"))
    assert done.returncode == 0, done.stderr
    assert [event["node"] for event in events(tmp_path) if event["event"] == "PipelineResumed"] == ["b", "b"]


def test_a_run_that_ended_well_is_left_as_it_is(tmp_path: Path) -> None:
    call(tmp_path, "run", line(tmp_path), "colour=blue")
    before, session = events(tmp_path), str(only_session(tmp_path)["session"])
    done = call(tmp_path, "resume", session)
    assert done.returncode == 0
    assert "already" in done.stdout
    assert json.loads(call(tmp_path, "resume", session, "--json").stdout)["status"] == "success"
    assert events(tmp_path) == before


def test_a_resume_of_last_does_not_report_an_older_success(tmp_path: Path) -> None:
    call(tmp_path, "run", line(tmp_path), "colour=blue")
    before, session = events(tmp_path), str(only_session(tmp_path)["session"])
    for more in ([], ["--json"], ["-q"]):
        done = call(tmp_path, "resume", "last", *more)
        assert done.returncode == 9
        assert (json.loads(done.stdout)["exit_code"] if more == ["--json"] else done.stdout) in (9, "")
        assert f"session {session}" in done.stderr
        assert "nothing to resume" in done.stderr
    assert events(tmp_path) == before


def test_a_node_that_no_edge_led_on_from_is_routed_again_and_not_run_again(tmp_path: Path) -> None:
    text = (
        "digraph r { start [shape=Mdiamond] exit [shape=Msquare] node [shape=parallelogram]"
        ' work [tool_command="echo did >> did"] other [tool_command=true] start -> work other -> exit'
        ' work -> other [condition="context.colour=WANTED"] }'
    )
    (tmp_path / "p.dot").write_text(text.replace("WANTED", "red"))
    assert call(tmp_path, "run", "p.dot", "colour=blue").returncode == 1
    session = str(only_session(tmp_path)["session"])
    assert call(tmp_path, "resume", session).returncode == 1
    (tmp_path / "new.dot").write_text(text.replace("WANTED", "blue"))
    done = call(tmp_path, "resume", session, "--graph", "new.dot")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "did").read_text() == "did\n"


def test_a_run_that_ended_at_its_abort_node_is_replayed_from_the_node_before(tmp_path: Path) -> None:
    (tmp_path / "abort.dot").write_text(
        "digraph a { start [shape=Mdiamond] exit [shape=Msquare] node [shape=parallelogram]"
        ' work [tool_command="exit 1"] abort [tool_command="exit 2"] start -> work abort -> exit'
        ' work -> exit [condition="outcome=success"] work -> abort [condition="outcome=fail"] }'
    )
    first = call(tmp_path, "run", "abort.dot")
    session = str(only_session(tmp_path)["session"])
    assert first.returncode == 1
    assert f"orchestra replay {session} --node work" in first.stdout
    assert f"orchestra replay {session} --node work" in call(tmp_path, "resume", session).stdout


def test_a_session_that_runs_elsewhere_is_left_alone(tmp_path: Path) -> None:
    process = begin(tmp_path)
    done = call(tmp_path, "resume", "last")
    assert done.returncode == 8
    assert f"process {process.pid}" in done.stderr
    process.kill()
    process.communicate()


def test_an_unknown_session_is_answered_with_those_that_are_near(tmp_path: Path) -> None:
    assert call(tmp_path, "resume", "last").returncode == 9
    call(tmp_path, "run", line(tmp_path), "colour=blue")
    session = str(only_session(tmp_path)["session"])
    typo = session[:2] + "1" + session[3:]
    done = call(tmp_path, "resume", typo)
    assert done.returncode == 9
    assert session in done.stderr
    assert call(tmp_path, "resume", "#77").returncode == 9
    assert call(tmp_path, "resume", f"#{only_session(tmp_path)['context_id']}").returncode == 0


def failed(folder: Path) -> None:
    failing = script(folder, "{b: {status: fail, reason: not yet}}")
    assert call(folder, "run", line(folder), "colour=blue", "--simulate", failing).returncode == 1


def test_a_changed_file_is_reported_and_not_taken(tmp_path: Path) -> None:
    failed(tmp_path)
    line(tmp_path, ", max_retries=1")
    (tmp_path / "elsewhere").mkdir()
    done = call(tmp_path, "resume", "last")
    assert "has changed" in done.stderr
    assert "--graph" in done.stderr
    assert events(tmp_path)[-1]["event"] == "PipelineFailed"
    assert all(event.get("of", 1) == 1 for event in events(tmp_path))


def test_a_changed_file_of_a_child_is_reported_and_the_parents_taken_with_it(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        "digraph p { start [shape=Mdiamond] exit [shape=Msquare] start -> sub -> exit "
        'sub [type=pipeline, stack.child_dotfile="kid.dot"] }'
    )
    kid = 'digraph k { start [shape=Mdiamond] exit [shape=Msquare] w [shape=parallelogram, tool_command="COMMAND"] '
    kid += "start -> w -> exit }"
    (tmp_path / "kid.dot").write_text(kid.replace("COMMAND", "false"))
    assert call(tmp_path, "run", "p.dot").returncode == 1
    (tmp_path / "kid.dot").write_text(kid.replace("COMMAND", "true"))
    told = call(tmp_path, "resume", "last", COLUMNS="400").stderr
    assert "kid.dot has changed" in told
    (command,) = re.findall("orchestra (resume .*)", told)
    assert call(tmp_path, *shlex.split(command)).returncode == 0


def test_the_command_that_takes_a_changed_file_can_be_pasted(tmp_path: Path) -> None:
    name = "my line.dot"
    assert call(tmp_path, "run", line(tmp_path, name=name), "--simulate", script(tmp_path, "{b: [{status: fail}]}"))
    (tmp_path / name).write_text((tmp_path / name).read_text() + "\n")
    told = call(tmp_path, "resume", "last", COLUMNS="400").stderr
    (command,) = re.findall("orchestra (resume .*)", told)
    assert shlex.split(command)[-1] == str(tmp_path / name)


def test_another_pipeline_may_take_over(tmp_path: Path) -> None:
    failed(tmp_path)
    call(tmp_path, "resume", "last", "--graph", line(tmp_path, ", max_retries=1, retry_policy=linear", "new.dot"))
    assert [event["of"] for event in events(tmp_path) if event["event"] == "StageRetrying"] == [2]
    again = call(tmp_path, "resume", "last")
    assert "has changed" not in again.stderr
    assert [event["of"] for event in events(tmp_path) if event["event"] == "StageRetrying"] == [2, 2]


def test_the_goal_of_a_pipeline_that_takes_over_is_the_sessions_from_then_on(tmp_path: Path) -> None:
    failed(tmp_path)
    (tmp_path / "new.dot").write_text(LINE.replace("MORE", "").replace("{", '{ goal="another"', 1))
    call(tmp_path, "resume", "last", "--graph", "new.dot")
    resumed = [event for event in events(tmp_path) if event["event"] == "PipelineResumed"]
    assert resumed[-1]["goal"] == "another"
    again = call(tmp_path, "resume", "last")
    assert "has changed" not in again.stderr
    for more in ((), ("--detail",)):
        assert ": another\n" in call(tmp_path, "status", "last", *more).stdout


def test_a_pipeline_without_a_recorded_node_is_refused(tmp_path: Path) -> None:
    failed(tmp_path)
    before = events(tmp_path)
    (tmp_path / "new.dot").write_text(LINE.replace("MORE", "").replace("b", "bb"))
    done = call(tmp_path, "resume", "last", "--graph", "new.dot")
    assert done.returncode == 2
    assert "'b'" in done.stderr
    assert events(tmp_path) == before


def test_a_secret_that_the_session_had_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "orchestra.yaml").write_text("secrets: [DEPLOY_TOKEN]")
    failing = script(tmp_path, "{b: {status: fail, reason: no}}")
    call(tmp_path, "run", line(tmp_path), "colour=x", "--simulate", failing, DEPLOY_TOKEN="hunter22hunter22")
    done = call(tmp_path, "resume", "last")
    assert done.returncode == 4
    assert "DEPLOY_TOKEN" in done.stderr
    assert only_session(tmp_path)["phase"] == "failed"
    (tmp_path / "orchestra.yaml").unlink()
    leaking = script(tmp_path, "{b: {status: fail, reason: hunter22hunter22}}")
    again = call(tmp_path, "resume", "last", "--simulate", leaking, DEPLOY_TOKEN="hunter22hunter22")
    assert again.returncode == 2, "a script that holds a secret is refused, though the settings are gone"


# --- what was cut off ----------------------------------------------------------------------------


def cut_off(folder: Path, how: str) -> None:
    text = PLAN.read_text().replace("plan ", f"plan [on_interrupt={how}]\n    plan ", 1)
    copy = folder / "plan.dot"
    copy.write_text(text)
    process = begin(folder, pipeline=copy)
    process.kill()
    process.communicate()


def test_a_node_may_count_as_failed_when_it_was_cut_off(tmp_path: Path) -> None:
    cut_off(tmp_path, "fail")
    done = call(tmp_path, "resume", "last")
    assert done.returncode == 1
    assert "interrupted" in done.stdout


def test_a_node_may_ask_what_becomes_of_it(tmp_path: Path) -> None:
    cut_off(tmp_path, "ask")
    done = call(tmp_path, "resume", "last")
    assert done.returncode == 5
    assert "--interrupted rerun" in done.stderr
    assert only_session(tmp_path)["phase"] == "crashed"
    assert call(tmp_path, "resume", "last", "--interrupted", "fail").returncode == 1


def test_a_node_asks_on_the_terminal(tmp_path: Path) -> None:
    cut_off(tmp_path, "ask")
    terminal = Terminal(tmp_path, 80, "resume", "last", "--simulate", quick(tmp_path))
    terminal.until("failed (f)?")
    terminal.press("r\n")
    assert terminal.ended() == 0
    assert "run again" in terminal.shown


def test_no_input_asks_nothing_on_a_terminal(tmp_path: Path) -> None:
    cut_off(tmp_path, "ask")
    terminal = Terminal(tmp_path, 80, "resume", "last", "--no-input", "--simulate", quick(tmp_path))
    assert terminal.ended() == 5
    assert "(f)?" not in terminal.shown


@pytest.mark.parametrize("command", ["run", "resume", "replay", "attach", "inbox", "trust"])
def test_a_command_that_could_ask_takes_no_input(command: str, tmp_path: Path) -> None:
    assert "--no-input" in call(tmp_path, command, "--help", COLUMNS="120", NO_COLOR="1").stdout


@pytest.mark.parametrize("wrong", [["--interrupted", "maybe"], ["-q", "-v"], ["--json", "--json-stream"]])
def test_options_that_say_nothing_are_refused(wrong: list[str], tmp_path: Path) -> None:
    assert call(tmp_path, "resume", "last", *wrong).returncode == 2


def turns(folder: Path) -> dict[int, list[bytes]]:
    """Every turn of every context of the store."""

    async def read() -> dict[int, list[bytes]]:
        store = EmbeddedStore.open(folder / "store", read_only=True)
        listed = [row.context_id for row in await store.contexts()]
        found = {one: [turn.payload for turn in await history(store, one)] for one in listed}
        await store.close()
        return found

    return asyncio.run(read())


def lost_a_node(folder: Path) -> list[str]:
    failed(folder)
    (folder / "new.dot").write_text(LINE.replace("MORE", "").replace("b", "bb"))
    return ["--graph", "new.dot"]


def lost_a_secret(folder: Path) -> list[str]:
    (folder / "orchestra.yaml").write_text("secrets: [DEPLOY_TOKEN]")
    failing = script(folder, "{b: {status: fail, reason: no}}")
    call(folder, "run", line(folder), "colour=x", "--simulate", failing, DEPLOY_TOKEN="hunter22hunter22")
    return []


def undecided(folder: Path) -> list[str]:
    cut_off(folder, "ask")
    return []


def wrong_script(folder: Path) -> list[str]:
    failed(folder)
    return ["--simulate", script(folder, "{nobody: {text: a}}")]


@pytest.mark.parametrize(
    ("made", "code"), [(lost_a_node, 2), (wrong_script, 2), (lost_a_secret, 4), (undecided, 5)]
)
def test_a_resume_that_is_refused_writes_nothing(
    made: Callable[[Path], list[str]], code: int, tmp_path: Path
) -> None:
    args = made(tmp_path)
    before = turns(tmp_path)
    assert call(tmp_path, "resume", "last", *args).returncode == code
    assert turns(tmp_path) == before


def test_a_resume_of_what_runs_elsewhere_writes_nothing(tmp_path: Path) -> None:
    process = begin(tmp_path)
    before = turns(tmp_path)
    assert call(tmp_path, "resume", "last").returncode == 8
    assert turns(tmp_path) == before
    process.kill()
    process.communicate()
