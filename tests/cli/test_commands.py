"""The commands as a user calls them: what they print, where, and how they end."""

from __future__ import annotations

import inspect
import json
import os
import pty
import re
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from calls import ORCHESTRA, PLAN, begin, call, environment, on_terminal, only_session, shell, slow

from orchestra.cli import COMMANDS
from orchestra.cli.options import spread

# --- running -------------------------------------------------------------------------------------


def test_a_run_names_its_session_first_and_how_it_ended_last(tmp_path: Path) -> None:
    done = call(tmp_path, "run", str(PLAN), "--simulate", str(slow(tmp_path, "0s")))
    lines = done.stdout.splitlines()
    session = re.match(r"session ([a-z][a-z0-9]{5})  plan_build_review", lines[0])
    assert session is not None
    assert done.returncode == 0
    assert lines[-2].startswith("completed")
    assert f"orchestra status {session[1]} --detail" in lines[-1]
    assert any("judge" in line and "report" in line for line in lines)
    assert done.stderr == ""


def test_a_pipeline_that_fails_exits_with_one_and_says_where_and_why(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        'digraph g { start [shape=Mdiamond] exit [shape=Msquare] work [prompt="x"] start -> work -> exit }'
    )
    (tmp_path / "s.yaml").write_text("nodes: {work: [{status: fail, reason: out of paper}]}")
    done = call(tmp_path, "run", "p.dot", "--simulate", "s.yaml")
    assert done.returncode == 1
    assert "failed  at work: out of paper" in done.stdout


def test_json_is_one_object_and_nothing_else(tmp_path: Path) -> None:
    done = call(tmp_path, "run", str(PLAN), "--simulate", str(slow(tmp_path, "0s")), "--json")
    data = json.loads(done.stdout)
    assert data["status"] == "success"
    assert data["exit_code"] == 0
    assert data["nodes"]["review"]["reason"] == "no test"


def test_a_json_stream_is_an_event_a_line_and_begins_with_schema_and_session(tmp_path: Path) -> None:
    done = call(tmp_path, "run", str(PLAN), "--simulate", str(slow(tmp_path, "0s")), "--json-stream")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["schema"] == "orchestra.events.v1"
    assert events[0]["event"] == "PipelineStarted"
    assert {event["session"] for event in events} == {events[0]["session"]}
    assert [event["depth"] for event in events] == list(range(len(events)))
    assert events[-1]["event"] == "PipelineCompleted"


def test_quiet_says_only_how_it_ended(tmp_path: Path) -> None:
    done = call(tmp_path, "run", str(PLAN), "--simulate", str(slow(tmp_path, "0s")), "-q")
    assert done.stdout.startswith("completed")


def test_a_pipeline_comes_from_standard_input(tmp_path: Path) -> None:
    done = call(tmp_path, "run", "-", "-q", given=PLAN.read_text())
    assert done.returncode == 0


def test_variables_reach_prompts_and_the_record(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        'digraph g { start [shape=Mdiamond] exit [shape=Msquare] work [prompt="Paint it $colour, not $x"]'
        ' start -> work -> exit [condition="colour=blue"] }'
    )
    assert call(tmp_path, "run", "p.dot", "colour=blue", "-q").returncode == 0
    events = json.loads(call(tmp_path, "log", "last", "--json").stdout)["events"]
    prompts = [event["prompt"] for event in events if "prompt" in event]
    assert prompts == ["Paint it blue, not $x"]
    assert events[0]["variables"] == {"colour": "blue"}


def test_a_secret_in_an_answer_is_in_no_output_and_in_no_file(tmp_path: Path) -> None:
    (tmp_path / "orchestra.yaml").write_text("secrets: [MY_TOKEN]\n")
    secret = "correct-horse-battery"
    (tmp_path / "p.dot").write_text(
        'digraph g { start [shape=Mdiamond] exit [shape=Msquare] work [prompt="x"] start -> work -> exit }'
    )
    (tmp_path / "s.yaml").write_text("nodes: {work: [{text: the token is VALUE}]}".replace("VALUE", "@"))
    script = (tmp_path / "s.yaml").read_text().replace("@", secret)
    (tmp_path / "s.yaml").write_text(script)
    refused = call(tmp_path, "run", "p.dot", "--simulate", "s.yaml", MY_TOKEN=secret)
    assert refused.returncode == 2
    assert secret not in refused.stdout + refused.stderr
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != "s.yaml":
            assert secret.encode() not in path.read_bytes()


def test_a_reader_that_leaves_neither_stops_the_run_nor_gets_a_traceback(tmp_path: Path) -> None:
    done = shell(tmp_path, f"orchestra run '{PLAN}' --simulate '{slow(tmp_path, '300ms')}' | head -1")
    assert done.stderr == ""
    assert only_session(tmp_path)["phase"] == "completed"


# --- signals -------------------------------------------------------------------------------------


def test_an_interrupt_twice_pauses_at_once_and_the_record_says_so(tmp_path: Path) -> None:
    process = begin(tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "finish" in process.stderr.readline()  # two signals at once are one
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    session = only_session(tmp_path)
    assert (session["phase"], session["detail"], session["node"]) == ("paused", "interrupt", "plan")


def test_one_interrupt_lets_the_running_node_finish(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*ORCHESTRA, "run", str(PLAN), "--simulate", str(slow(tmp_path, "1s"))],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "session" in process.stdout.readline()
    assert "start" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, _err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "plan" in out
    session = only_session(tmp_path)
    assert (session["phase"], session["node"], session["steps"]) == ("paused", "build", 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_pauses_at_once(number: signal.Signals, tmp_path: Path) -> None:
    process = begin(tmp_path)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert only_session(tmp_path)["phase"] == "paused"


def test_a_killed_run_is_running_before_and_crashed_after(tmp_path: Path) -> None:
    process = begin(tmp_path)
    before = only_session(tmp_path)
    assert before["phase"] == "running"
    assert str(process.pid) in str(before["detail"])
    process.kill()
    process.communicate(timeout=20)
    after = only_session(tmp_path)
    assert (after["phase"], after["node"], after["steps"]) == ("crashed", "plan", 1)


# --- looking -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ran")
    call(folder, "run", str(PLAN), "--simulate", str(slow(folder, "0s")), "-q")
    return folder


def test_status_without_a_store_is_a_friendly_line(tmp_path: Path) -> None:
    done = call(tmp_path, "status")
    assert done.returncode == 0
    assert "no sessions in" in done.stdout
    assert not (tmp_path / "store").exists()


def test_status_with_detail_says_why_each_edge_was_taken(ran: Path) -> None:
    done = call(ran, "status", "last", "--detail")
    assert done.returncode == 0
    assert "no test" in done.stdout
    assert "judge handles the failure" in done.stdout


def test_a_session_is_found_by_a_beginning_a_context_and_the_word_last(ran: Path) -> None:
    session = str(only_session(ran)["session"])
    context = only_session(ran)["context_id"]
    for name in (session, session[:3], "last", f"#{context}"):
        data = json.loads(call(ran, "status", name, "--json").stdout)
        assert data["session"] == session


def test_show_prints_a_turn_by_its_depth(ran: Path) -> None:
    data = json.loads(call(ran, "show", "last:0", "--json").stdout)
    assert data["event"] == "PipelineStarted"
    assert data["dot"] == PLAN.read_text()
    newest = call(ran, "show", "last")
    assert "PipelineCompleted" in newest.stdout


def test_show_of_a_depth_that_is_not_there_says_what_is(ran: Path) -> None:
    done = call(ran, "show", "last:999")
    assert done.returncode == 9
    assert "newest is" in done.stderr


def test_the_log_is_every_event_in_order(ran: Path) -> None:
    text = call(ran, "log", "last").stdout.splitlines()
    data = json.loads(call(ran, "log", "last", "--json").stdout)["events"]
    assert len(text) == len(data)
    assert [event["sequence"] for event in data] == list(range(1, len(data) + 1))
    stream = call(ran, "log", "last", "--json-stream").stdout.splitlines()
    assert json.loads(stream[0])["schema"] == "orchestra.events.v1"


def test_the_log_can_begin_at_a_depth_as_show_does(ran: Path) -> None:
    whole = json.loads(call(ran, "log", "last", "--json").stdout)["events"]
    part = json.loads(call(ran, "log", "last:3", "--json").stdout)["events"]
    assert part == whole[3:]
    assert "at depth 3" in call(ran, "show", "last:3").stdout
    for command in ("log", "show"):
        assert call(ran, command, "last:9999").returncode == 9


def test_status_shows_the_label_of_a_run(tmp_path: Path) -> None:
    call(tmp_path, "run", str(PLAN), "--simulate", str(slow(tmp_path, "0s")), "--label", "nightly check")
    assert "(nightly check)" in call(tmp_path, "status", COLUMNS="200").stdout


def test_looking_changes_no_file(ran: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in (ran / "store").rglob("*") if p.is_file()}

    before = state()
    for command in (["status"], ["status", "last", "--detail"], ["log", "last"], ["show", "last"]):
        assert call(ran, *command).returncode == 0
    assert state() == before


def test_doctor_is_content_with_a_store_that_works(ran: Path) -> None:
    done = call(ran, "doctor", "--deep")
    assert done.returncode == 0, done.stdout
    assert "every record is intact" in done.stdout


def test_doctor_finds_damage_and_names_file_and_place(tmp_path: Path) -> None:
    call(tmp_path, "run", str(PLAN), "-q")
    pack = tmp_path / "store" / "blobs" / "blobs.pack"
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0x40
    pack.write_bytes(data)
    done = call(tmp_path, "doctor", "--deep")
    assert done.returncode == 1
    assert "blobs.pack" in done.stdout


def test_explain_lists_every_rule_and_shows_one(tmp_path: Path) -> None:
    listed = call(tmp_path, "explain").stdout
    assert "unbounded_loop" in listed
    shown = call(tmp_path, "explain", "unbounded_loop").stdout
    assert "Wrong:" in shown
    assert "Right:" in shown


# --- the terminal --------------------------------------------------------------------------------


def test_the_live_view_shows_the_running_node_and_leaves_a_line_per_node(tmp_path: Path) -> None:
    shown = on_terminal(tmp_path, 80, "run", str(PLAN), "--simulate", str(slow(tmp_path, "700ms")))
    assert "done)" in shown
    assert re.search(r"✓.*plan", shown)
    assert re.search(r"✗.*review", shown)
    assert "\x1b[" in shown


def test_forty_columns_without_colour_are_enough(tmp_path: Path) -> None:
    shown = on_terminal(tmp_path, 40, "run", str(PLAN), "--simulate", str(slow(tmp_path, "300ms")), NO_COLOR="1")
    assert "completed" in shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", shown)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert all(len(line) <= 60 for line in plain.replace("\r", "\n").splitlines())


def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    done = subprocess.run(
        [*ORCHESTRA, "run", str(PLAN), "--simulate", str(slow(tmp_path, "0s"))],
        cwd=tmp_path,
        env=environment(tmp_path, TERM="dumb"),
        stdin=follower,
        stdout=follower,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert done.returncode == 0
    assert "\x1b" not in shown


def test_no_text_of_a_node_reaches_the_terminal_as_a_control(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        'digraph g { graph [goal="a\x1b[2Jb\x07"] start [shape=Mdiamond] exit [shape=Msquare]'
        ' work [prompt="x"] start -> work -> exit }'
    )
    (tmp_path / "s.yaml").write_text('nodes: {work: [{status: fail, reason: "\\e[31mred\\a\\e]0;title\\a"}]}')
    outputs = [call(tmp_path, "run", "p.dot", "--simulate", "s.yaml")]
    outputs += [
        call(tmp_path, *c) for c in (["status"], ["status", "last", "--detail"], ["log", "last"], ["show", "last"])
    ]
    for done in outputs:
        assert "\x1b" not in done.stdout + done.stderr
        assert "\x07" not in done.stdout + done.stderr


# --- start-up ------------------------------------------------------------------------------------


HEAVY = (
    "msgspec",
    "asyncio",
    "yaml",
    "blake3",
    "re2",
    "orchestra.run.events",
    "orchestra.engine",
    "orchestra.cxdb",
)


@pytest.mark.parametrize("arguments", [["--help"], ["compile", str(PLAN)], ["explain", "syntax"]])
def test_a_quick_command_loads_nothing_that_runs_pipelines(arguments: list[str], tmp_path: Path) -> None:
    program = (
        "import sys, atexit\n"
        f"heavy = {HEAVY!r}\n"
        "atexit.register(lambda: print('LOADED', [name for name in heavy if name in sys.modules]))\n"
        f"sys.argv = ['orchestra', *{arguments!r}]\n"
        "from orchestra.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "LOADED []" in done.stdout, done.stdout + done.stderr


def test_importing_the_package_loads_none_of_it() -> None:
    program = "import sys, orchestra; print([m for m in sys.modules if m.startswith('orchestra.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_the_list_of_commands_says_of_each_what_its_own_help_says() -> None:
    for name, (place, text) in COMMANDS.items():
        module, _, function = place.partition(":")
        declared = getattr(import_module(f"orchestra.cli.commands.{module}"), function)
        assert " ".join((inspect.getdoc(declared) or "").split("\n\n")[0].split()) == text, name


@pytest.mark.parametrize("name", ["run", "resume", "replay", "attach", "answer", "inbox", "trust"])
def test_every_command_that_could_ask_has_no_input(name: str) -> None:
    module, _, function = COMMANDS[name][0].partition(":")
    command = spread(getattr(import_module(f"orchestra.cli.commands.{module}"), function))
    assert "no_input" in inspect.signature(command).parameters


def test_a_run_whose_agents_are_all_simulated_says_so(tmp_path: Path) -> None:
    ends = "start [shape=Mdiamond] exit [shape=Msquare]"
    (tmp_path / "agent.dot").write_text(f'digraph g {{ {ends} work [prompt="x"] start -> work -> exit }}')
    (tmp_path / "tool.dot").write_text(
        f'digraph g {{ {ends} work [shape=parallelogram, tool_command="true"] start -> work -> exit }}'
    )
    for name, words in (("agent", "simulation"), ("tool", "")):
        done = call(tmp_path, "run", f"{name}.dot")
        assert ("no model was asked" in done.stdout) == bool(words)
        assert ("agents: simulation" in call(tmp_path, "status", "last", "--detail").stdout) == bool(words)
        assert json.loads(call(tmp_path, "run", f"{name}.dot", "--json").stdout)["backend"] == words


def test_a_written_answer_that_fits_no_choice_is_shown_with_its_place_and_no_class(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        "digraph g { start [shape=Mdiamond] exit [shape=Msquare] gate [shape=hexagon]"
        ' start -> gate gate -> exit [label="[Y] Yes"] gate -> exit [label="[N] No"] }'
    )
    (tmp_path / "a.yaml").write_text("answers:\n  gate: [Maybe]\n")
    done = call(tmp_path, "run", "p.dot", "--answers", "a.yaml")
    assert done.returncode == 1
    assert "a.yaml:2: 'Maybe' is not an answer to gate" in done.stdout
    assert "ConfigError" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["orchestra/absent", "0123456789abcdef"])
def test_show_of_what_is_no_session_says_that_it_is_no_commit_of_one_either(name: str, ran: Path) -> None:
    done = call(ran, "show", name)
    assert done.returncode == 9
    assert f"{name!r} is neither a session nor a commit of one" in done.stderr


@pytest.mark.parametrize(("name", "does"), [("inbox", "List the questions only"), ("trust", "nothing is allowed")])
def test_a_command_that_starts_no_run_says_what_it_does_where_it_may_not_ask(
    name: str, does: str, tmp_path: Path
) -> None:
    words = " ".join(call(tmp_path, name, "--help", COLUMNS="200").stdout.split())
    assert does in words
    assert "pause until" not in words


def test_a_variable_that_the_pipeline_uses_nowhere_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        'digraph g { start [shape=Mdiamond] exit [shape=Msquare] work [prompt="Paint it $colour"]'
        " start -> work -> exit }"
    )
    done = call(tmp_path, "run", "p.dot", "color=blue")
    assert done.returncode == 0
    assert "warning: nothing in the pipeline uses the variable 'color'\n  help: did you mean colour?" in done.stderr
    assert "warning: nothing" not in call(tmp_path, "run", "p.dot", "colour=blue").stderr


def test_usage_lines_read_as_those_of_other_programs(tmp_path: Path) -> None:
    shown = call(tmp_path, "help", "run", COLUMNS="120", NO_COLOR="1").stdout
    assert "Usage: orchestra run [OPTIONS] PIPELINE [KEY=VALUE]..." in shown
    assert "<" not in shown
    wrong = call(tmp_path, "run", "p.dot", "--max-cost", "five", COLUMNS="120", NO_COLOR="1")
    assert wrong.returncode == 2
    assert "--max-cost must be dollars such as 5 or 0.50, not 'five'" in wrong.stderr
