"""README, docs and examples show only what works: every command and pipeline in them is run here."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestra.config.reading import read_config
from orchestra.config.yaml import load
from orchestra.errors import Source

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{page.relative_to(ROOT)}#{number}", found[2])
        for page in PAGES
        for number, found in enumerate(_BLOCK.finditer(page.read_text(encoding="utf-8")))
        if found[1] == language and not _shown_as_wrong(found)
    ]


def _shown_as_wrong(found: re.Match[str]) -> bool:
    """Whether the page says itself that the example is wrong."""
    return found.string[: found.start()].rstrip().lower().endswith(("wrong:", "wrong:**"))


def commands(text: str) -> list[list[str]]:
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.startswith("orchestra ")]
    return [shlex.split(line, comments=True) for line in lines]


SHELL = [
    (name, kept)
    for name, text in blocks("sh")
    # cxdb serve serves until it is stopped, cxdb mirror needs a server: tests/cli/test_serve.py, test_mirroring.py
    if (kept := [command for command in commands(text) if command[1] != "cxdb"])
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the reader has it: the examples are there, and one run is in the store."""
    made = tmp_path / "reader"
    made.mkdir()
    (made / "examples").symlink_to(ROOT / "examples")
    (made / "draft.dot").write_text((ROOT / "examples" / "hello.dot").read_text())
    orchestra(made, "run", "examples/hello.dot")
    return made


def orchestra(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "ORCHESTRA_CXDB_PATH": str(folder / "store"),
        "COLUMNS": "100",
    }
    return subprocess.run(
        [sys.executable, "-m", "orchestra", *args],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


@pytest.mark.parametrize(("page", "block"), SHELL, ids=[page for page, _block in SHELL])
def test_the_commands_in_the_documents_work(page: str, block: list[list[str]], folder: Path) -> None:
    """In the order in which they stand: a later one may use what an earlier one left."""
    for command in block:
        done = orchestra(folder, *command[1:])
        assert done.returncode == 0, (command, done.stdout + done.stderr)


@pytest.mark.parametrize(("page", "text"), blocks("dot"), ids=[page for page, _text in blocks("dot")])
def test_a_pipeline_in_the_documents_compiles(page: str, text: str, tmp_path: Path) -> None:
    if "digraph" not in text:
        pytest.skip("a fragment")
    (tmp_path / "p.dot").write_text(text)
    (tmp_path / "ship.dot").write_text((ROOT / "examples" / "hello.dot").read_text())  # the child that pages name
    (tmp_path / "design.md").touch()  # files that pages attach or check answers by
    (tmp_path / "findings.json").write_text("{}")
    (tmp_path / "bin").mkdir()
    claude = tmp_path / "bin" / "claude"  # the command-line agent that pages name
    claude.write_text("#!/bin/sh\n")
    claude.chmod(0o755)
    done = orchestra(tmp_path, "compile", "p.dot")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pipeline_in_the_readme_is_the_example() -> None:
    shown = [text for page, text in blocks("dot") if page.startswith("README.md")]
    assert (ROOT / "examples" / "hello.dot").read_text() in shown


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.dot")), ids=lambda path: path.stem)
def test_an_example_runs_as_the_documents_say(example: Path, tmp_path: Path) -> None:
    script = example.with_suffix(".yaml")
    before = everything_in(ROOT / "examples")
    answers = example.with_suffix(".answers.yaml")
    more = ["--simulate", str(script)] if script.exists() else []
    more += ["--answers", str(answers)] if answers.exists() else []
    done = orchestra(tmp_path, "run", str(example), *more)
    assert done.returncode == 0, done.stdout + done.stderr
    told = " ".join(word.replace(str(ROOT / "examples"), "examples") for word in (str(example), *more))
    pages = [ROOT / "docs" / "examples.md", ROOT / "docs" / "humans.md"]
    assert any(f"orchestra run {told}\n" in page.read_text() for page in pages)
    assert everything_in(ROOT / "examples") == before


def everything_in(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder, and what it holds."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.dot")), ids=lambda path: path.stem)
def test_an_example_has_no_finding(example: Path, tmp_path: Path) -> None:
    done = orchestra(tmp_path, "compile", "--strict", str(example))
    assert done.returncode == 0, done.stdout + done.stderr


SETTINGS = [(page, text) for page, text in blocks("yaml") if page.startswith("docs/configuration.md")]
LAYERS = [
    (page, text)
    for page, text in blocks("yaml")
    if page.startswith("docs/prompts.md") and text.startswith("# prompts/")
]


@pytest.mark.parametrize(("page", "text"), SETTINGS, ids=[page for page, _text in SETTINGS])
def test_the_settings_in_the_documents_are_read_without_a_fault(page: str, text: str) -> None:
    config, faults = read_config(load(Source(page, text)))
    assert not [fault.message for fault in faults]
    assert config.agents["reviewer"].model == "smart"


@pytest.mark.parametrize(("page", "text"), LAYERS, ids=[page for page, _text in LAYERS])
def test_a_layer_file_in_the_documents_is_read(page: str, text: str, tmp_path: Path) -> None:
    orchestra(tmp_path, "init", "first")
    file = tmp_path / "first" / text.splitlines()[0].removeprefix("# ")
    file.write_text(text)
    done = orchestra(tmp_path, "compile", "--strict", "first/pipeline.dot")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_first_agent_runs_as_the_readme_says(tmp_path: Path) -> None:
    """With its script; and as it is, where every agent gives a canned answer."""
    folder = tmp_path / "first-agent"
    shutil.copytree(ROOT / "examples" / "first-agent", folder, ignore=shutil.ignore_patterns(".orchestra"))
    assert orchestra(folder, "compile", "--strict", "pipeline.dot").returncode == 0
    scripted = orchestra(folder, "run", "pipeline.dot", "--simulate", "simulation.yaml")
    assert scripted.returncode == 0, scripted.stdout + scripted.stderr
    assert "a test is missing" in scripted.stdout
    assert orchestra(folder, "run", "pipeline.dot").returncode == 0


def test_the_first_agent_works_with_real_tools_and_the_model_server(tmp_path: Path) -> None:
    folder = tmp_path / "first-agent"
    shutil.copytree(ROOT / "examples" / "first-agent", folder, ignore=shutil.ignore_patterns(".orchestra"))
    settings = folder / "orchestra.yaml"
    settings.write_text(settings.read_text().replace("backend: simulation", "backend: langgraph"))
    program = [sys.executable, "-m", "orchestra", "run", "pipeline.dot"]
    done = orchestra(folder, "model-server", "model.yaml", "--", *program)
    assert done.returncode == 0, done.stdout + done.stderr
    greeted = subprocess.run(
        [sys.executable, "greet.py", "Ada", "Grace"], cwd=folder, capture_output=True, text=True
    )
    assert greeted.stdout == "Hello, Ada and Grace!\n"
