"""Transcripts in the documents are real: their commands are typed again, and print what the page shows.

Times, sizes, costs, processes, people, machines and session ids differ each time; everything else is the same.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import warm

ROOT = Path(__file__).resolve().parent.parent
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "```console" in page.read_text(encoding="utf-8")]

_CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`(\w+\.yaml)`.*?^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ID = r"\b[a-hjkmnp-z][2-9a-hjkmnp-z]{5}\b"
_DIFFERENT = (
    (re.compile(r"\d{4}-\d\d-\d\d "), ""),
    (re.compile(r"\d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\d+(\.\d)? (ms|s|min)\b( \d+ s\b)?"), "LONG"),
    (re.compile(r"process \d+( on \S+)?"), "PROCESS"),
    (re.compile(r"by \S+ on [^\s,)]+"), "by SOMEBODY"),
    (re.compile(r"\d+ (bytes|tokens)"), "SIZE"),
    (re.compile(r"\$\d+\.\d+"), "COST"),
    (re.compile(r"\b[0-9a-f]{10,12}\b"), "COMMIT"),
    (re.compile(r"(?<=trash/)20\d{6}\b"), "DAY"),
    (re.compile(r"git -C \S+/"), "git -C "),
    (re.compile(r" +"), " "),
)


def steps(page: str) -> list[tuple[str, str]]:
    """The commands of a page, and what it shows below each."""
    found = []
    for block in _CONSOLE.findall(page):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = step.partition("\n")
            found.append((command, shown))
    return found


def ids_of(text: str) -> list[str]:
    """Session ids in the order in which they appear: a word of their form that has a digit, or is named as one."""
    named = re.findall(rf"(?:session|resume|attach|status|^) ?({_ID})", text, flags=re.MULTILINE)
    return list(dict.fromkeys(named))


def plain(text: str, ids: dict[str, str]) -> list[str]:
    for name, number in ids.items():
        text = text.replace(name, number)
    for pattern, instead in _DIFFERENT:
        text = pattern.sub(instead, text)
    return [line.rstrip() for line in text.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reader's folder, in which ``orchestra`` is a program."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    program = tmp_path / "bin" / "orchestra"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m orchestra "$@"\n')
    program.chmod(0o755)
    return tmp_path


def typed(folder: Path, command: str) -> str:
    environment = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder),
        "ORCHESTRA_CXDB_PATH": str(folder / "store"),
        "COLUMNS": "100",
        "LANG": "C.UTF-8",
    }
    done = subprocess.run(
        warm.plain(command) or ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_transcript_is_what_really_happens(page: Path, folder: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name, content in _FILE.findall(text):
        (folder / name).write_text(content)
    here: dict[str, str] = {}
    there: dict[str, str] = {}
    for command, shown in steps(text):
        for name, number in there.items():
            command = command.replace(name, next(own for own, mine in here.items() if mine == number))
        for _ in range(100):
            printed = typed(folder, command)
            for known, told in ((here, printed), (there, shown)):
                for name in ids_of(told):
                    known.setdefault(name, f"SESSION{len(known)}")
            if plain(printed, here) == plain(shown, there) or not command.startswith("orchestra status"):
                break
            time.sleep(0.05)  # a run in the background is on its way to what the page shows
        assert plain(printed, here) == plain(shown, there), command
