"""What the shell offers (C3): commands, options, and the sessions of the store in force."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from calls import PLAN, call, environment, only_session

PROGRAM = "import sys; sys.argv = ['orchestra']; from orchestra.__main__ import main; main()"


def offered(folder: Path, line: str, shell: str = "bash", **more: str) -> str:
    """What a shell is given for a line that is not finished."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=environment(
            folder,
            _ORCHESTRA_COMPLETE=f"complete_{shell}",
            COMP_WORDS=line,
            COMP_CWORD=str(line.count(" ")),
            _TYPER_COMPLETE_ARGS=line,
            **more,
        ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


def test_commands_are_offered(tmp_path: Path) -> None:
    assert {"status", "show"} <= set(offered(tmp_path, "orchestra s").split())


def test_sessions_are_offered_where_one_is_wanted(tmp_path: Path) -> None:
    call(tmp_path, "run", str(PLAN), "-q")
    session = str(only_session(tmp_path)["session"])
    for command in ("status", "show", "log"):
        assert offered(tmp_path, f"orchestra {command} ").split() == [session]
        assert offered(tmp_path, f"orchestra {command} {session[:2]}").split() == [session]
        assert offered(tmp_path, f"orchestra {command} 1").split() == []


def test_the_store_that_the_line_names_is_looked_into(tmp_path: Path) -> None:
    call(tmp_path, "run", str(PLAN), "-q", "--store", "other")
    assert offered(tmp_path, "orchestra log ").split() == []
    assert len(offered(tmp_path, "orchestra log --store other ").split()) == 1


def test_completion_is_silent_where_there_is_nothing_to_complete(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    assert offered(tmp_path, "orchestra status ").strip() == ""
    (tmp_path / "orchestra.yaml").write_text("no: setting\n")
    assert offered(tmp_path, "orchestra status ").strip() == ""


def test_a_title_is_only_words_to_a_shell_that_evaluates_the_offer(tmp_path: Path) -> None:
    call(tmp_path, "run", str(PLAN), "-q", "--label", 'a\\$(touch made)`b`";$x')
    shown = offered(tmp_path, "orchestra status ", "zsh")
    assert "touch made" in shown
    assert not set(shown.partition("_arguments")[2]) & set("\\$`;")
