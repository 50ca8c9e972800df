"""What a newcomer gets for a mistake: an exit code, one message on the right token, a fix, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ORCHESTRA = [sys.executable, "-m", "orchestra"]
OK = 'digraph g { start [shape=Mdiamond] exit [shape=Msquare] work [prompt="Do it"] start -> work -> exit }\n'


@dataclass(frozen=True)
class Mistake:
    """``text`` is written to p.dot; ``at`` is the line and column that the message must name."""

    name: str
    text: str | bytes
    says: tuple[str, ...]
    code: int = 3
    at: tuple[int, int] | None = None
    args: tuple[str, ...] = ("compile", "p.dot")
    files: dict[str, str] = field(default_factory=dict)


def graph(body: str) -> str:
    """A valid frame with one faulty body on line 4."""
    return f"digraph g {{\n  start [shape=Mdiamond]\n  exit [shape=Msquare]\n{body}\n  start -> work -> exit\n}}\n"


KEY = "sk-ant-" + "a1" * 20
WORK = '  work [prompt="Do it"]\n'
IN_FILE = [
    # --- attributes and values -------------------------------------------------------------------
    Mistake("typo in an attribute key", graph('  work [promt="Do it"]'), ("promt", "prompt"), 0, (4, 9)),
    Mistake("typo in a graph key", graph('  gaol = "ship"\n' + WORK), ("gaol", "goal"), 0, (4, 3)),
    Mistake("typo in a shape", graph('  work [shape=diamnd, prompt="x"]'), ("diamnd", "diamond"), 0, (4, 15)),
    Mistake("bad integer", graph('  work [prompt="x", max_retries=three]'), ("three",), 3, (4, 33)),
    Mistake("bad integer in quotes", graph('  work [prompt="x", max_retries="3x"]'), ("3x",), 3, (4, 33)),
    Mistake("bad boolean", graph('  work [prompt="x", goal_gate=yes]'), ("yes", "true"), 3, (4, 31)),
    Mistake(
        "bad duration unit", graph('  work [prompt="x", timeout="15 minutes"]'), ("15 minutes", "15m"), 3, (4, 29)
    ),
    Mistake("duration with a fraction", graph('  work [prompt="x", timeout="1.5h"]'), ("1.5h",), 3, (4, 29)),
    Mistake(
        "unknown retry policy",
        graph('  work [prompt="x", retry_policy=agressive]'),
        ("agressive", "aggressive"),
        3,
        (4, 34),
    ),
    Mistake("missing comma is accepted", graph('  work [prompt="x" timeout=5s]'), (), 0),
    Mistake("colon instead of equals", graph('  work [prompt: "x"]'), ("=",), 3, (4, 15)),
    Mistake("missing value", graph("  work [prompt=]"), ("prompt",), 3, (4, 16)),
    Mistake("missing equals", graph('  work [prompt "x"]'), ("=",), 3, (4, 16)),
    Mistake("unclosed bracket", graph('  work [prompt="x"'), ("]",), 3),
    Mistake("unclosed quote", graph('  work [prompt="x]'), ("quote",), 3, (4, 16)),
    Mistake("unclosed comment", graph("  /* note\n" + WORK), ("comment",), 3, (4, 3)),
    Mistake("single quotes", graph("  work [prompt='x']"), ('"',), 3, (4, 16)),
    Mistake("typographic quotes", graph("  work [prompt=“x”]"), ('"',), 3, (4, 16)),
    Mistake("HTML label", graph("  work [label=<b>Do</b>]"), ("HTML", "quote"), 3, (4, 15)),
    Mistake("old word for prompt", graph('  work [llm_prompt="x"]'), ("prompt",), 0, (4, 9)),
    Mistake("bare seconds", graph('  work [prompt="x", timeout=30]'), ("30s",), 0, (4, 29)),
    Mistake("bad fidelity", graph('  work [prompt="x", fidelity=ful]'), ("ful",), 0, (4, 30)),
    # --- statements ------------------------------------------------------------------------------
    Mistake("quoted id with a space", graph('  "my work" [prompt="x"]\n' + WORK), ("my work", "label"), 3, (4, 3)),
    Mistake("id with a dash", graph("  my-work [label=x]\n" + WORK), ("my",), 3),
    Mistake("id that begins with a digit", graph("  2nd [label=x]\n" + WORK), ("2nd",), 3, (4, 3)),
    Mistake("port", graph("  start -> work:n\n" + WORK), ("port",), 3),
    Mistake("undirected edge", graph("  start -- work\n" + WORK), ("--", "->"), 3, (4, 9)),
    Mistake("wrong arrow", graph("  start => work\n" + WORK), ("->",), 3, (4, 9)),
    Mistake("edge without a target", graph("  start -> ;\n" + WORK), ("target",), 3, (4, 12)),
    Mistake("missing closing brace", "digraph g {\n start [shape=Mdiamond]\n", ("}",), 3),
    Mistake("stray closing brace", OK + "}\n", ("}",), 3, (2, 1)),
    Mistake("two graphs", OK + "digraph h { a -> b }\n", ("one",), 3, (2, 1)),
    Mistake("undirected graph", "graph g { a -- b }\n", ("digraph",), 3, (1, 1)),
    Mistake("strict digraph", "strict digraph g { a -> b }\n", ("strict",), 3, (1, 1)),
    Mistake("misspelt digraph", "diagraph g { a -> b }\n", ("digraph",), 3, (1, 1)),
    Mistake("text before the graph", "pipeline\n" + OK, ("digraph",), 3, (1, 1)),
    Mistake("JSON", '{"nodes": []}\n', ("digraph",), 3, (1, 1)),
    Mistake("YAML", "nodes:\n  - a\n", ("digraph",), 3, (1, 1)),
    # --- structure -------------------------------------------------------------------------------
    Mistake(
        "no start", 'digraph g { work [prompt="x"] exit [shape=Msquare] work -> exit }', ("start", "Mdiamond"), 3
    ),
    Mistake(
        "no exit", 'digraph g { start [shape=Mdiamond] work [prompt="x"] start -> work }', ("exit", "Msquare"), 3
    ),
    Mistake("two starts", graph("  begin [shape=Mdiamond]\n  begin -> work\n" + WORK), ("begin", "start"), 3),
    Mistake("unreachable node", graph('  lost [prompt="x"]\n  lost -> exit\n' + WORK), ("lost",), 3, (4, 3)),
    Mistake(
        "edge to a misspelt node",
        graph('  review [prompt="x"]\n  work -> review -> exit\n  work -> reveiw\n' + WORK),
        ("reveiw", "review"),
        3,
        (6, 11),
    ),
    Mistake("edge into the start", graph('  work -> start [condition="outcome=fail"]\n' + WORK), ("start",), 3),
    Mistake("edge out of the exit", graph("  exit -> work\n" + WORK), ("exit",), 3),
    Mistake(
        "node without a way on", graph('  stuck [prompt="x"]\n  start -> stuck\n' + WORK), ("stuck",), 0, (4, 3)
    ),
    Mistake("retry target that is no node", graph('  work [prompt="x", retry_target=plam]'), ("plam",), 0, (4, 34)),
    Mistake("gate without a retry target", graph('  work [prompt="x", goal_gate=true]'), ("work",), 0),
    Mistake("node without a prompt", graph("  work [timeout=5s]"), ("work", "prompt"), 0),
    # --- conditions and stylesheets --------------------------------------------------------------
    Mistake(
        "double equals in a condition",
        graph('  work [prompt="x"]\n  work -> exit [condition="outcome==success"]'),
        ("==", "="),
        3,
        (5, 35),
    ),
    Mistake(
        "condition that ends early", graph('  work [prompt="x"]\n  work -> exit [condition="outcome="]'), (), 3
    ),
    Mistake(
        "condition with a single ampersand",
        graph('  work [prompt="x"]\n  work -> exit [condition="a=1 & b=2"]'),
        ("&&",),
        3,
        (5, 32),
    ),
    Mistake(
        "condition with and",
        graph('  work [prompt="x"]\n  work -> exit [condition="a=1 and b=2"]'),
        ("&&",),
        3,
        (5, 32),
    ),
    Mistake(
        "bad pattern in a condition",
        graph('  work [prompt="x"]\n  work -> exit [condition="a matches \\"(\\""]'),
        (),
        3,
    ),
    Mistake(
        "bad stylesheet",
        graph('  graph [model_stylesheet="* { llm_modle: x }"]\n' + WORK),
        ("llm_modle", "llm_model"),
        3,
        (4, 32),
    ),
    Mistake("unclosed stylesheet rule", graph('  graph [model_stylesheet="* { llm_model: x"]\n' + WORK), ("}",), 3),
    Mistake("secret in the text", graph(f'  work [prompt="use {KEY}"]'), ("secret",), 3, (4, 21)),
    # --- files that are no pipelines -------------------------------------------------------------
    Mistake("empty file", "", ("digraph",), 3),
    Mistake("only a comment", "// nothing yet\n", ("digraph",), 3),
    Mistake("binary file", bytes(range(256)) * 4, (), 3),
    Mistake("UTF-16 file", OK.encode("utf-16"), ("UTF-8",), 3),
    Mistake("1 000 nested subgraphs", "digraph g { " + "subgraph { " * 1000 + "a" + " }" * 1000 + " }", (), 3),
    # --- running ---------------------------------------------------------------------------------
    Mistake("missing file", OK, ("q.dot", "p.dot"), 2, args=("run", "q.dot")),
    Mistake("folder as file", OK, ("folder", "p.dot"), 2, args=("run", ".")),
    Mistake("variable without a name", OK, ("=x",), 2, args=("run", "p.dot", "=x")),
    Mistake("variable without a value", OK, ("colour", "KEY=VALUE"), 2, args=("run", "p.dot", "colour")),
    Mistake("variable of the engine", OK, ("outcome",), 2, args=("run", "p.dot", "outcome=fail")),
    Mistake("unknown option", OK, ("--simulat", "--simulate"), 2, args=("run", "p.dot", "--simulat", "s.yaml")),
    Mistake("unknown command", OK, ("compil", "compile"), 2, args=("compil", "p.dot")),
    Mistake("no such script", OK, ("s.yaml",), 2, args=("run", "p.dot", "--simulate", "s.yaml")),
    Mistake(
        "script with a misspelt node",
        OK,
        ("wrok", "work"),
        2,
        (2, 3),
        args=("run", "p.dot", "--simulate", "s.yaml"),
        files={"s.yaml": "nodes:\n  wrok:\n    - {text: hi}\n"},
    ),
    Mistake(
        "script with a misspelt key",
        OK,
        ("staus", "status"),
        2,
        (3, 8),
        args=("run", "p.dot", "--simulate", "s.yaml"),
        files={"s.yaml": "nodes:\n  work:\n    - {staus: fail}\n"},
    ),
    Mistake(
        "script that is no YAML",
        OK,
        ("s.yaml",),
        2,
        args=("run", "p.dot", "--simulate", "s.yaml"),
        files={"s.yaml": "nodes: [\n"},
    ),
    Mistake(
        "config with a misspelt key",
        OK,
        ("cxbd", "cxdb"),
        2,
        (1, 1),
        args=("run", "p.dot"),
        files={"orchestra.yaml": "cxbd:\n  path: x\n"},
    ),
    Mistake(
        "config with a key twice",
        OK,
        ("backend",),
        2,
        (2, 1),
        args=("run", "p.dot"),
        files={"orchestra.yaml": "backend: simulation\nbackend: simulation\n"},
    ),
    Mistake("no such session", OK, ("nosuch",), 9, args=("show", "nosuch")),
    Mistake(
        "explain of a rule that is none",
        OK,
        ("unbouded_loop", "unbounded_loop"),
        2,
        args=("explain", "unbouded_loop"),
    ),
]


def call(folder: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "ORCHESTRA_CXDB_PATH": str(folder / "store"),
        "COLUMNS": "100",
        **environment,
    }
    return subprocess.run(
        [*ORCHESTRA, *args],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


@pytest.mark.parametrize("mistake", IN_FILE, ids=[m.name.replace(" ", "-") for m in IN_FILE])
def test_a_mistake_is_named_where_it_is(mistake: Mistake, tmp_path: Path) -> None:
    text = mistake.text if isinstance(mistake.text, bytes) else mistake.text.encode()
    (tmp_path / "p.dot").write_bytes(text)
    for name, content in mistake.files.items():
        (tmp_path / name).write_text(content)
    done = call(tmp_path, *mistake.args)
    shown = done.stdout + done.stderr
    assert done.returncode == mistake.code, shown
    assert "Traceback" not in shown
    for word in mistake.says:
        assert word in shown
    if mistake.at is not None:
        assert f":{mistake.at[0]}:{mistake.at[1]}" in shown


def test_no_fault_here_says_more_than_it_should(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(OK)
    done = call(tmp_path, "compile", "p.dot")
    assert done.returncode == 0
    assert "error" not in done.stdout.lower().replace("0 errors", "").replace("no errors", "")


def test_a_file_nobody_may_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(OK)
    (tmp_path / "p.dot").chmod(0)
    if os.access(tmp_path / "p.dot", os.R_OK):
        pytest.skip("this user reads everything")
    done = call(tmp_path, "compile", "p.dot")
    assert done.returncode == 2
    assert "p.dot" in done.stderr


@pytest.mark.parametrize("command", ["status", "log last", "run p.dot", "doctor", "doctor --deep", "resume last"])
def test_a_stores_name_that_the_system_refuses_is_no_internal_error(command: str, tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(OK)
    done = call(tmp_path, *command.split(), "--store", "x" * 300)
    assert done.returncode in {1, 6}
    assert "internal" not in done.stderr
    assert "name too long" in " ".join((done.stdout + done.stderr).split())


def test_a_prompt_of_a_megabyte_compiles_and_a_fault_beside_it_is_shown_briefly(tmp_path: Path) -> None:
    prompt = "x" * 1_000_000
    (tmp_path / "p.dot").write_text(graph(f'  work [prompt="{prompt}", max_retries=none]'))
    done = call(tmp_path, "compile", "p.dot")
    assert done.returncode == 3
    assert "none" in done.stdout + done.stderr
    assert len(done.stdout + done.stderr) < 4000


def test_forty_columns_are_enough_for_a_message(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(graph('  work [prompt="x", max_retries=three]'))
    done = call(tmp_path, "compile", "p.dot", COLUMNS="40")
    assert done.returncode == 3
    assert "three" in done.stdout + done.stderr


def test_a_store_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(OK)
    (tmp_path / "store").write_text("not a folder")
    done = call(tmp_path, "run", "p.dot")
    assert done.returncode in {6, 7}
    assert "store" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_fills_up_during_a_run_advises_to_resume(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        "digraph g { start [shape=Mdiamond] exit [shape=Msquare]"
        ' work [shape=parallelogram, tool_command="head -c 9000000 /dev/urandom | base64"] start -> work -> exit }'
    )
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 5000; exec '{sys.executable}' -B -m orchestra run p.dot"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ORCHESTRA_CXDB_PATH": str(tmp_path / "store")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 7, done.stderr
    status = call(tmp_path, "status", "--json", ORCHESTRA_CXDB_PATH=str(tmp_path / "store"))
    session = json.loads(status.stdout)["sessions"][0]["session"]
    assert f"orchestra resume {session}" in " ".join(done.stderr.split())
    assert "run again" not in done.stderr


def test_a_store_on_a_full_disk_stops_the_run_with_seven(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(OK)
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 8; exec '{sys.executable}' -B -m orchestra run p.dot"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ORCHESTRA_CXDB_PATH": str(tmp_path / "store")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 7, done.stderr
    assert "Traceback" not in done.stderr
