from __future__ import annotations

from pathlib import Path

import pytest
from toolbox import Box

from orchestra.agents.tools import Hooks
from orchestra.processes.sandbox import Sandbox, unavailable


def test_a_hook_gets_the_call_as_json_and_in_the_environment(tmp_path: Path) -> None:
    command = 'cat > ../seen.json; printf \'%s %s\' "$ORCHESTRA_TOOL_NAME" "$ORCHESTRA_NODE" > ../seen.env'
    folder = tmp_path / "work"
    folder.mkdir()
    box = Box(folder, hooks=Hooks(pre=command))
    assert not box.run("write-file", path="a", content="x").is_error
    assert '"tool":"write-file"' in (tmp_path / "seen.json").read_text()
    assert '"path":"a"' in (tmp_path / "seen.json").read_text()
    assert (tmp_path / "seen.env").read_text() == "write-file work"


@pytest.mark.parametrize(
    ("command", "words"),
    [("echo forbidden >&2; exit 1", "forbidden"), ("kill -9 $$", "no reason"), ("sleep 60", "more than 1 second")],
)
def test_a_hook_that_fails_or_does_not_answer_denies_the_call(tmp_path: Path, command: str, words: str) -> None:
    box = Box(tmp_path, hooks=Hooks(pre=command, timeout=1))
    result = box.run("write-file", path="a", content="x")
    assert result.is_error
    assert words in result.text
    assert not (tmp_path / "a").exists()
    assert any(getattr(event, "rule", "") == "tool_denied" for event in box.scope.events)


@pytest.mark.skipif(bool(unavailable()), reason="bwrap does not work here")
def test_hooks_run_in_the_sandbox_of_the_tools(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "secret").write_text("x")
    sandbox = Sandbox(mode="bwrap", write=(work,))
    reads = Box(work, hooks=Hooks(pre=f"cat '{tmp_path}/secret'"), sandbox=sandbox).run("list-files", pattern="*")
    assert reads.is_error
    assert "No such file" in reads.text
    box = Box(work, hooks=Hooks(pre="cat > seen", post="touch ../after"), sandbox=sandbox)
    assert not box.run("list-files", pattern="*").is_error
    assert '"tool":"list-files"' in (work / "seen").read_text()
    assert not (tmp_path / "after").exists()


def test_a_hook_after_a_call_gets_its_result(tmp_path: Path) -> None:
    box = Box(tmp_path, hooks=Hooks(post='grep -q \'"files_written":\\["a"\\]\' || exit 1'))
    assert not box.run("write-file", path="a", content="x").is_error
    complaint = box.run("write-file", path="b", content="x")
    assert complaint.is_error
    assert "created b" in complaint.text
