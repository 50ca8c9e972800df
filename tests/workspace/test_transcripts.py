"""What docs/git.md shows is what its commands print."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from scratch import environment

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "git.md"
SHOWN = "b6wf3z"
"""The session's id on the page."""

VARYING = (
    (re.compile(r"\b[0-9a-f]{7,40}\b"), "HASH"),
    (re.compile(r"\d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\d+\.\d s"), "SECONDS"),
    (re.compile(r"/20\d{6}/"), "/DAY/"),
)


def transcripts() -> list[tuple[str, list[str]]]:
    """The commands of the page in order, each with the lines it prints."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            elif line or found[-1][1]:
                found[-1][1].append(line)
    return [(command, _trimmed(lines)) for command, lines in found]


def _trimmed(lines: list[str]) -> list[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return [line.rstrip() for line in lines]


def plain(text: str, session: str, folder: Path) -> list[str]:
    text = text.replace(str(folder), "/home/you").replace(session or SHOWN, SHOWN)
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return _trimmed(text.splitlines())


def test_the_transcripts_of_the_page_are_real(tmp_path: Path) -> None:
    folder = tmp_path / "you"
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    around = environment(tmp_path, ORCHESTRA_CXDB_PATH=str(tmp_path / "store"), COLUMNS="200")
    around["PATH"] = f"{Path(sys.executable).parent}:{around['PATH']}"
    session = ""
    for command, lines in transcripts():
        ran = command.replace(SHOWN, session) if session else command
        done = subprocess.run(["sh", "-c", ran], cwd=folder, env=around, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)
        if match := re.match(r"session (\w+)", done.stdout):
            session = match[1]
        assert plain(done.stdout, session, folder) == plain("\n".join(lines), session, folder), command
