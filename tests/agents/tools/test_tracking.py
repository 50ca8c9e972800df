"""Which files count as changed by an agent: not those of the run's own store (A33)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agents.backends.talking import world
from orchestra.agents.tools.tracking import WriteTracker
from orchestra.run.events import AgentTurnCompleted


@pytest.mark.parametrize("has_git", [False, True])
@pytest.mark.parametrize("place", ["store", "below/store"])
async def test_the_store_in_a_working_folder_does_not_count(place: str, has_git: bool, tmp_path: Path) -> None:
    if has_git:
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / place).mkdir(parents=True)
    async with WriteTracker({"": tmp_path}, tmp_path / place).around() as changes:
        (tmp_path / place / "turns").write_text("x")
        (tmp_path / "store.txt").write_text("x")
    assert changes.files == ("store.txt",)


async def test_the_store_of_the_settings_does_not_count_as_written_by_an_agent(tmp_path: Path) -> None:
    shell = '{tool_calls: [{name: shell, arguments: {command: "mkdir store; echo 1 > store/a; echo 2 > b"}}]}'
    with world(tmp_path, f"answers: [{shell}, done]", "openai", "cxdb: {path: store}\n") as here:
        session = await here.ran()
    assert next(turn.files_written for turn in session.of(AgentTurnCompleted)) == ("b",)
