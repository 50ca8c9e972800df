"""``orchestra skill``: every pipeline, script and command in it works, and it covers all that the tables know."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from calls import call

from orchestra.cli import COMMANDS
from orchestra.cli.commands.project import HANDLERS, SKILL_FOLDERS, SKILL_NAME, skill_text
from orchestra.graph.attributes import EDGE, GRAPH, NODE, SHAPES
from orchestra.graph.explain import entries

TEXT = skill_text()
BLOCKS = re.findall(r"^(?:`(\S+)`:\n\n)?```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
FILES = {name: text for name, _language, text in BLOCKS if name}
SHELL = [shlex.split(line)[1:] for _n, kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with every file that the skill shows, and the ones that its prose calls by other names."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (whole,) = [text for name, kind, text in BLOCKS if kind == "dot" and not name]
    script, answers = [text for name, kind, text in BLOCKS if kind == "yaml" and not name]
    (tmp_path / "name.dot").write_text(whole)
    (tmp_path / "name.yaml").write_text(script)
    (tmp_path / "answers.yaml").write_text(answers)
    hello = Path(__file__).parents[2] / "examples" / "hello"
    for suffix in (".dot", ".yaml"):
        (tmp_path / f"hello{suffix}").write_text(hello.with_suffix(suffix).read_text())
    return tmp_path


def test_every_pipeline_in_the_skill_has_no_finding(folder: Path) -> None:
    pipelines = sorted(path.name for path in folder.glob("*.dot"))
    assert len(pipelines) > 5
    done = call(folder, "compile", "--strict", *pipelines)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_in_the_skill_works(folder: Path) -> None:
    assert len(SHELL) > 10
    for words in SHELL:
        done = call(folder, *words)
        assert done.returncode == 0, (words, done.stdout + done.stderr)


def test_the_pipeline_of_the_language_runs_as_the_skill_says(folder: Path) -> None:
    loop = ("run", "name.dot", "--simulate", "name.yaml", "--answers", "answers.yaml")
    done = call(folder, *loop)
    assert done.returncode == 0, done.stdout + done.stderr
    assert call(folder, "run", "name.dot", "--simulate", "name.yaml", "--no-input").returncode == 5
    assert call(folder, "answer", "last", "Y").returncode == 0
    assert call(folder, "resume", "last").returncode == 0


def test_the_skill_covers_every_shape_attribute_rule_and_command() -> None:
    assert set(HANDLERS) == set(SHAPES.values())
    rows = set(re.findall(r"^\| `([^`]+)`", TEXT, re.MULTILINE))
    wanted = {*SHAPES, *entries(), *(f"orchestra {name}" for name in COMMANDS)}
    wanted |= {key for scope in (GRAPH, NODE, EDGE) for key in scope.entries}
    assert wanted <= rows


def test_the_skill_is_installed_where_agents_look_and_updated_but_nothing_of_others_is_lost(tmp_path: Path) -> None:
    places = [tmp_path / below / SKILL_NAME / "SKILL.md" for below in SKILL_FOLDERS]
    assert call(tmp_path, "skill", "--install").stdout.count("wrote") == 2
    assert [place.read_text() for place in places] == [TEXT, TEXT]
    places[0].write_text(TEXT.replace("retries", "tries"))
    done = call(tmp_path, "skill", str(tmp_path), "--install")
    assert ("updated" in done.stdout, "unchanged" in done.stdout) == (True, True)
    places[0].write_text("mine")
    assert call(tmp_path, "skill", "--install").returncode == 2
    assert places[0].read_text() == "mine"


def test_the_skill_begins_as_agents_expect() -> None:
    head = re.match(r"---\nname: (\S+)\ndescription: ([^\n]+)\n---\n", TEXT)
    assert head is not None
    assert head[1] == SKILL_NAME
    assert len(head[2]) < 1024
    assert len(TEXT) < 40_000


def test_the_skill_is_not_installed_into_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    done = call(tmp_path, "skill", "--install", "absent")
    assert done.returncode == 2
    assert "absent is not a folder" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "absent").exists()
