"""What a sceptical first user tries: nothing is silently ignored, garbled or shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calls import ROOT, call, shell

HELLO = str(ROOT / "examples" / "hello.dot")
SECRET = "correct-horse-battery"


def pipeline(work: str) -> str:
    return f"digraph g {{ start [shape=Mdiamond] exit [shape=Msquare]\n {work}\n start -> work -> exit }}"


@pytest.mark.parametrize("format_", ["text", "json", "dot", "svg", "github", "sarif"])
@pytest.mark.parametrize(
    "work",
    [
        f'work [prompt="use {SECRET}"]',
        f'work [prompt="use", timeout="{SECRET}"]',
        f'work [prompt="use", shape={SECRET.replace("-", "_")}]',
    ],
)
def test_a_secret_in_a_pipeline_is_named_and_not_shown(tmp_path: Path, work: str, format_: str) -> None:
    secret = SECRET if SECRET in work else SECRET.replace("-", "_")
    (tmp_path / "p.dot").write_text(pipeline(work))
    done = call(tmp_path, "compile", "p.dot", "--format", format_, OPENAI_API_KEY=secret)
    assert done.returncode == 3
    assert "OPENAI_API_KEY" in done.stdout + done.stderr
    assert secret not in done.stdout + done.stderr


def test_one_key_in_a_pipeline_is_one_finding(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        pipeline('work [prompt="use sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789ABC"]')
    )
    found = json.loads(call(tmp_path, "compile", "p.dot", "--format", "json").stdout)["diagnostics"]
    assert [one["rule"] for one in found].count("secret_in_pipeline") == 1


def test_a_run_of_a_pipeline_with_a_secret_does_not_show_it(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(pipeline(f'work [prompt="use {SECRET}"]'))
    for form in ("--plain", "--json", "--json-stream"):
        done = call(tmp_path, "run", "p.dot", form, OPENAI_API_KEY=SECRET)
        assert done.returncode == 3
        assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["folder", "loop", "dangling"])
def test_settings_that_are_there_and_cannot_be_read_are_not_passed_over(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "orchestra.yaml"
    if kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("orchestra.yaml" if kind == "loop" else "nowhere.yaml")
    done = call(tmp_path, "run", HELLO)
    assert done.returncode == 2
    assert "orchestra.yaml" in done.stderr


def test_a_variable_that_is_no_text_is_refused_and_not_garbled(tmp_path: Path) -> None:
    done = shell(tmp_path, f"orchestra run '{HELLO}' $'colour=\\xff'")
    assert done.returncode == 2
    assert "colour" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("node", ["start", "exit"])
def test_a_script_for_a_node_that_never_asks_an_agent_is_refused(tmp_path: Path, node: str) -> None:
    (tmp_path / "s.yaml").write_text(f"nodes:\n  {node}: {{status: fail}}\n")
    done = call(tmp_path, "run", HELLO, "--simulate", "s.yaml")
    assert done.returncode == 2
    assert "s.yaml:2:3" in done.stderr
    assert node in done.stderr


def test_one_edge_is_counted_as_one(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text("digraph g { start [shape=Mdiamond] exit [shape=Msquare] start -> exit }")
    assert "2 nodes, 1 edge)" in call(tmp_path, "compile", "p.dot").stdout
