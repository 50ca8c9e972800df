"""Where output goes and in which form (C1): full, closed and foreign outputs, JSON that is always JSON."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from pathlib import Path
from random import Random

import pytest
from calls import PLAN, call, elsewhere, environment, on_terminal, only_session, shell, slow

from orchestra.cli.errors import exit_code

WORDS = "Grüße 😀 日本語 …"
STEERING = "a\x9b31mb\u202ec\x7fd\x1b[2J"
COMMANDS = (
    ("run", "p.dot", "--json"),
    ("run", "p.dot", "--json-stream"),
    ("log", "last", "--json"),
    ("log", "last", "--json-stream"),
    ("show", "last:0", "--json"),
    ("status", "--json"),
    ("status", "last", "--detail", "--json"),
    ("compile", "p.dot", "--json"),
    ("compile", "p.dot", "--format", "sarif"),
)


def pipeline(folder: Path, words: str = WORDS) -> None:
    (folder / "p.dot").write_text(
        f'digraph g {{ graph [goal="{words}"] start [shape=Mdiamond] exit [shape=Msquare]'
        f' work [prompt="{words}"] start -> work -> exit }}'
    )


def failing(folder: Path) -> None:
    """A script whose node fails for a reason that would steer a terminal."""
    (folder / "s.yaml").write_text(f"nodes: {{work: [{{status: fail, reason: {json.dumps(STEERING)}}}]}}")


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_json_is_json_in_every_encoding(command: tuple[str, ...], encoding: str, tmp_path: Path) -> None:
    pipeline(tmp_path)
    call(tmp_path, "run", "p.dot", "-q")
    done = call(tmp_path, *command, encoding=encoding)
    assert done.returncode == 0
    lines = done.stdout.splitlines() if "--json-stream" in command else [done.stdout]
    assert all(isinstance(json.loads(line), dict) for line in lines)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_contains_every_word(encoding: str, tmp_path: Path) -> None:
    pipeline(tmp_path)
    call(tmp_path, "run", "p.dot", "-q")
    assert json.loads(call(tmp_path, "show", "last:0", "--json", encoding=encoding).stdout)["goal"] == WORDS


def test_json_escapes_control_characters_of_a_nodes_output(tmp_path: Path) -> None:
    pipeline(tmp_path)
    failing(tmp_path)
    done = call(tmp_path, "run", "p.dot", "--simulate", "s.yaml", "--json")
    assert not set(done.stdout) & set(STEERING) - set("a31mbcd[2J")
    assert json.loads(done.stdout)["detail"] == STEERING


def test_the_pipeline_written_back_is_utf8_whatever_the_terminal_is(tmp_path: Path) -> None:
    pipeline(tmp_path)
    done = call(tmp_path, "compile", "p.dot", "--format", "dot", encoding="ascii")
    assert WORDS in done.stdout


def test_an_invalid_pipeline_is_an_object_too(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text("digraph g { a }")
    done = call(tmp_path, "run", "p.dot", "--json")
    assert done.returncode == 3
    data = json.loads(done.stdout)
    assert data["exit_code"] == 3
    assert {"start_node", "terminal_node"} <= {one["rule"] for one in data["diagnostics"]}


@pytest.mark.parametrize(("blocks", "begun"), [(8, False), (9000, True)])
def test_a_store_that_fails_is_an_object_too(blocks: int, begun: bool, tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        "digraph loop { graph [max_steps=100000] start [shape=Mdiamond] exit [shape=Msquare] start -> work"
        ' work [prompt="x"] work -> work [condition="context.done!=1"] work -> exit [condition="context.done=1"] }'
    )
    answers = [{"text": Random(number).randbytes(100_000).hex()} for number in range(50)]
    (tmp_path / "s.yaml").write_text(json.dumps({"nodes": {"work": answers}}))
    limited = f"ulimit -f {blocks}; orchestra run p.dot --simulate s.yaml --json"
    done = shell(tmp_path, limited, PYTHONDONTWRITEBYTECODE="1")  # Python leaves modules cut off where it may not
    assert done.returncode == 7
    data = json.loads(done.stdout)
    assert (data["status"], data["exit_code"]) == ("stopped", 7)
    assert (data["session"] is not None) is begun
    if begun:
        session = only_session(tmp_path)
        assert session["session"] == data["session"]
        assert session["phase"] == "stopped (store)"


@pytest.mark.parametrize(
    "command",
    [
        ("run", str(PLAN), "--json", "--json-stream"),
        ("log", "last", "--json", "--json-stream"),
        ("compile", str(PLAN), "--json", "--format", "dot"),
        ("run", str(PLAN), "-q", "-v"),
    ],
)
def test_two_forms_at_once_are_refused(command: tuple[str, ...], tmp_path: Path) -> None:
    done = call(tmp_path, *command)
    assert done.returncode == 2
    assert not (tmp_path / "store").exists()


# --- outputs that are not there --------------------------------------------------------------------


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_is_cut_off_is_no_success(unbuffered: str, tmp_path: Path) -> None:
    call(tmp_path, "run", str(PLAN), "-q")
    limited = "ulimit -f 1; orchestra log last --json > out.json"
    done = shell(tmp_path, limited, PYTHONUNBUFFERED=unbuffered, PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 7
    assert "cannot write to standard output" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("orchestra --help", 7),
        (f"orchestra compile '{PLAN}'", 7),
        (f"orchestra compile '{PLAN}' --format dot", 7),
        ("orchestra status", 7),
        (f"orchestra run '{PLAN}' --json", 7),
        (f"orchestra run '{PLAN}'", 0),
        (f"orchestra run '{PLAN}' --json-stream", 0),
    ],
)
def test_a_full_output_is_one_message_and_a_run_continues(command: str, code: int, tmp_path: Path) -> None:
    done = shell(tmp_path, f"{command} > /dev/full")
    assert done.returncode == code
    assert done.stderr.count("standard output") >= 1
    assert "internal" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    if command.startswith("orchestra run"):
        assert only_session(tmp_path)["phase"] == "completed"


def test_closed_standard_streams_do_a_run_and_its_store_no_harm(tmp_path: Path) -> None:
    done = shell(tmp_path, f"orchestra run '{PLAN}' <&- >&- 2>&-")
    assert done.returncode == 0
    assert only_session(tmp_path)["phase"] == "completed"
    assert call(tmp_path, "doctor", "--deep").returncode == 0


def test_a_message_that_nobody_can_read_keeps_its_exit_code(tmp_path: Path) -> None:
    assert shell(tmp_path, "orchestra run nosuch.dot 2>&-").returncode == 2


@pytest.mark.parametrize(
    "command",
    [
        "log last",
        "log last --json-stream",
        "status",
        f"compile '{PLAN}'",
        "explain",
        "--help",
        "run --help",
        "--version",
    ],
)
def test_a_reader_that_leaves_is_no_failure(command: str, tmp_path: Path) -> None:
    call(tmp_path, "run", str(PLAN), "-q")
    done = shell(tmp_path, f"orchestra {command} | head -0; echo ${{PIPESTATUS[0]}}")
    assert done.stdout == "0\n"
    assert done.stderr == ""


def test_a_working_directory_that_is_gone_is_named(tmp_path: Path) -> None:
    for command in ("status", "compile -", f"run '{PLAN}'"):
        done = shell(tmp_path, f"mkdir gone; cd gone; rmdir ../gone; orchestra {command} </dev/null")
        assert done.returncode == 2
        assert "working directory" in done.stderr


# --- what is suggested ---------------------------------------------------------------------------


def followed(folder: Path, done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """The command that a run suggests last, followed."""
    command = done.stdout.splitlines()[-1].partition(": ")[2]
    return shell(folder, command, ORCHESTRA_CXDB_PATH="")


@pytest.mark.parametrize(
    "arguments",
    [("p.dot",), ("sub/p.dot",), ("p.dot", "--config", "sub/orchestra.yaml"), ("p.dot", "--store", "it's a b/s")],
)
def test_the_command_that_a_run_suggests_finds_its_session(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for folder in (tmp_path, tmp_path / "sub"):
        pipeline(folder)
    (tmp_path / "sub" / "orchestra.yaml").write_text("cxdb: {path: mine}\n")
    done = call(tmp_path, "run", *arguments, ORCHESTRA_CXDB_PATH="")
    assert "work" in followed(tmp_path, done).stdout
    assert followed(tmp_path, done).returncode == 0


def test_a_run_in_memory_suggests_no_command_that_finds_nothing(tmp_path: Path) -> None:
    pipeline(tmp_path)
    done = call(tmp_path, "run", "p.dot", "--store", "memory")
    assert done.returncode == 0
    assert "orchestra status" not in done.stdout


def test_a_store_that_is_a_file_is_not_an_empty_store(tmp_path: Path) -> None:
    pipeline(tmp_path)
    done = call(tmp_path, "status", "--store", "p.dot")
    assert done.returncode == 6
    assert "not a folder" in done.stderr


@pytest.mark.parametrize("depth", ["²", "-1", "9" * 5000, "x"])
def test_a_depth_that_is_no_number_is_named(depth: str, tmp_path: Path) -> None:
    done = call(tmp_path, "show", f"last:{depth}")
    assert done.returncode == 2
    assert len(done.stderr) < 1000


# --- the terminal --------------------------------------------------------------------------------


def test_no_command_lets_a_node_steer_the_terminal(tmp_path: Path) -> None:
    pipeline(tmp_path, words="a\x9bb")
    failing(tmp_path)
    shown = on_terminal(tmp_path, 80, "run", "p.dot", "--simulate", "s.yaml", "--plain", "--color", "never")
    for command in (["status"], ["status", "last", "--detail"], ["log", "last"], ["show", "last"]):
        shown += on_terminal(tmp_path, 80, *command, NO_COLOR="1")
    shown += on_terminal(tmp_path, 80, "compile", "p.dot", "--format", "dot")
    assert not set(shown) & {"\x1b", "\x9b", "\u202e", "\x7f"}


def test_no_warning_is_shown_twice_in_a_run(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        "digraph g { start [shape=Mdiamond] exit [shape=Msquare] work [shape=parallelogram] start -> work -> exit }"
    )
    done = call(tmp_path, "run", "p.dot")
    assert done.returncode == 1
    assert done.stderr.count("[tool_command_on_tool_nodes]") == 1


def test_a_quick_run_leaves_nothing_but_its_lines(tmp_path: Path) -> None:
    shown = on_terminal(tmp_path, 80, "run", str(PLAN), "--simulate", str(slow(tmp_path, "0s")), NO_COLOR="1")
    assert shown.count("✓ plan") == 1
    assert "\x1b[?25h" in shown


# --- internal errors -----------------------------------------------------------------------------


def broken(folder: Path, capsys: pytest.CaptureFixture[str], **more: str) -> str:
    """What is said of an error that nobody foresaw."""
    (folder / "orchestra.yaml").write_text("secrets: [MINE]\n")
    secrets = {"MINE": "correct-horse-battery", "SOME_TOKEN": "another-secret-value"}
    with elsewhere(folder, environment(folder, **{**secrets, **more})):
        words = " ".join(secrets.values())
        assert exit_code(RuntimeError(f"boom {words}")) == 70
    return capsys.readouterr().err


def test_an_internal_error_leaves_a_report_without_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = broken(tmp_path, capsys)
    (report,) = (tmp_path / "home" / ".local" / "state" / "orchestra" / "reports").iterdir()
    assert str(report) in said
    text = said + report.read_text()
    assert "boom" in text
    assert "correct-horse" not in text
    assert "another-secret" not in text
    assert "Traceback" not in said


def test_an_internal_error_is_shown_where_no_report_can_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert "boom" in broken(tmp_path, capsys, HOME=str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("run", "none.dot"), 2),
        (("run", "plan.dot", "--simulate", "none.yaml"), 2),
        (("run", "plan.dot", "--label", "x", "--config", "none.yaml"), 2),
        (("status", "nobody"), 9),
        (("merge", "nobody"), 9),
        (("resume", "last"), 9),
    ],
)
def test_an_error_is_an_object_too(tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    (tmp_path / "plan.dot").write_text(PLAN.read_text())
    done = call(tmp_path, *words, "--json")
    data = json.loads(done.stdout)
    assert (done.returncode, data["exit_code"], data["status"]) == (code, code, "error")
    assert data["detail"] in " ".join(done.stderr.split())


def test_an_empty_home_is_the_users_home_and_not_the_root_of_the_machine(tmp_path: Path) -> None:
    home = pwd.getpwuid(os.getuid()).pw_dir
    assert f" {home}/.local/state/orchestra" in call(tmp_path, "doctor", HOME="", ORCHESTRA_CXDB_PATH="").stdout
