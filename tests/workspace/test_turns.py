"""A commit per agent turn: exactly its files, with at most four git processes, made once (W3, W7)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from scratch import environment, git, repository

from orchestra.config.workspace import RepoSettings, WorkspaceSettings
from orchestra.errors import WorkspaceError
from orchestra.ports import NewCommit
from orchestra.run.events import AgentCommitCreated, Event
from orchestra.run.state import RepoRecord
from orchestra.workspace.preparing import prepare
from orchestra.workspace.session import GitWorkspace


async def shell(_command: str, _folder: Path) -> tuple[int, str]:
    return 0, ""


async def settle() -> None:
    return None


async def opened(
    folder: Path, known: Mapping[str, RepoRecord] | None = None, *, keep: bool = False
) -> tuple[GitWorkspace, list[Event]]:
    """The workspace of session ``s12345`` on the folder's repository, and what it records."""
    settings = WorkspaceSettings(
        home=folder / ".orchestra", repos=(RepoSettings(name="code", path=folder / "code"),)
    )
    maker = await prepare(settings, environment(folder), shell, pipeline="p" if known is None else None)
    events: list[Event] = []
    workspace = await maker.open(
        session="s12345", pipeline="p", known=known or {}, keep=keep, record=events.append, settle=settle
    )
    return workspace, events


def turn(number: int, *files: str, **more: str) -> NewCommit:
    return NewCommit(node="write", turn=f"write.1.1.{number}", files=files, model="m-1", provider="pro", **more)  # type: ignore[arg-type]


async def test_a_turn_commits_exactly_the_files_that_it_names(tmp_path: Path) -> None:
    repository(tmp_path / "code", {"a.txt": "1\n", "b.txt": "2\n", "c.txt": "3\n", ".gitignore": "*.log\n"})
    workspace, events = await opened(tmp_path)
    folder = workspace.folder()
    (folder / "new.txt").write_text("new")
    (folder / "a.txt").unlink()
    (folder / "staged.txt").write_text("staged")
    (folder / "other.txt").write_text("other")
    (folder / "x.log").write_text("log")
    git(folder, "add", "staged.txt")
    git(folder, "rm", "-q", "--cached", "b.txt")
    (made,) = await workspace.commit(turn(1, "new.txt", "a.txt", "x.log", str(folder / "c.txt"), "never.txt"))
    assert set(made.files) == {"new.txt", "a.txt"}
    assert made.left_out == ("x.log",)
    assert git(folder, "show", "--format=", "--name-status", "HEAD") == "D\ta.txt\nA\tnew.txt"
    assert "staged.txt" in git(folder, "diff", "--cached", "--name-only")
    assert git(folder, "show", "-s", "--format=%an <%ae>", "HEAD") == "write (m-1) <orchestra@local>"
    assert git(folder, "show", "-s", "--format=%(trailers:unfold)", "HEAD").splitlines() == [
        "Orchestra-Model: m-1",
        "Orchestra-Provider: pro",
        "Orchestra-Node: write",
        "Orchestra-Pipeline: p",
        "Orchestra-Session: s12345",
        "Orchestra-Turn: write.1.1.1",
    ]
    (event,) = [event for event in events if isinstance(event, AgentCommitCreated)]
    assert (event.commit, event.left_out, event.changed) == (made.commit, ("x.log",), 2)


async def test_files_may_be_named_with_their_repository(tmp_path: Path) -> None:
    repository(tmp_path / "code")
    workspace, _events = await opened(tmp_path)
    (workspace.folder() / "new.txt").write_text("new")
    (made,) = await workspace.commit(turn(1, "code:new.txt"))
    assert made.files == ("new.txt",)


async def test_a_turn_without_changes_makes_no_commit(tmp_path: Path) -> None:
    repository(tmp_path / "code")
    workspace, _events = await opened(tmp_path)
    (workspace.folder() / "a.txt").write_text("one\n")
    assert await workspace.commit(turn(1, "a.txt")) == ()
    assert await workspace.commit(turn(1)) == ()


async def test_a_commit_takes_at_most_four_git_processes(tmp_path: Path) -> None:
    repository(tmp_path / "code")
    workspace, _events = await opened(tmp_path)
    calls = workspace.trees["code"].git.calls
    for number in range(3):
        (workspace.folder() / "a.txt").write_text(f"{number}")
        calls.clear()
        await workspace.commit(turn(number, "a.txt"))
        assert len(calls) <= 4 + (number == 0), calls


async def test_renames_links_modes_and_names_of_all_kinds_are_committed(tmp_path: Path) -> None:
    repository(tmp_path / "code", {"a.txt": "1\n" * 50, "dir/b.txt": "2\n"})
    workspace, _events = await opened(tmp_path)
    folder = workspace.folder()
    (folder / "a.txt").rename(folder / "dir" / "é ü.txt")
    (folder / "dir" / "b.txt").chmod(0o755)
    (folder / "link").symlink_to("dir")
    (folder / ":(glob)*").write_text("x")
    (folder / "-q").write_text("x")
    files = ["a.txt", "dir/é ü.txt", "dir/b.txt", "link", ":(glob)*", "-q"]
    (made,) = await workspace.commit(turn(1, *files))
    assert set(made.files) == set(files)
    assert git(folder, "status", "--porcelain") == ""


async def test_the_commit_of_a_turn_that_was_not_recorded_is_adopted_and_not_made_twice(tmp_path: Path) -> None:
    code = repository(tmp_path / "code")
    workspace, _events = await opened(tmp_path)
    known = dict(await workspace.snapshot())
    (workspace.folder() / "a.txt").write_text("changed")
    (made,) = await workspace.commit(turn(1, "a.txt"))
    (workspace.folder() / "half.txt").write_text("of the next turn")
    again, events = await opened(tmp_path, known, keep=True)
    assert (again.folder() / "half.txt").exists()
    assert await again.commit(turn(1, "a.txt")) == (made,)
    assert [event.commit for event in events if isinstance(event, AgentCommitCreated)] == [made.commit]
    assert git(code, "rev-list", "--count", "main..orchestra/p/s12345") == "1"


async def test_a_secret_in_a_file_stops_the_commit(tmp_path: Path) -> None:
    repository(tmp_path / "code")
    workspace, _events = await opened(tmp_path)
    (workspace.folder() / "k.txt").write_text("a\nhush-hush\n")

    def secret(text: str) -> tuple[str, int]:
        at = text.find("hush-hush")
        return ("KEY", text.count("\n", 0, at) + 1) if at >= 0 else ("", 0)

    with pytest.raises(WorkspaceError, match=r"secret in k.txt:2 \(KEY\)"):
        await workspace.commit(NewCommit(node="write", turn="write.1.1.1", files=("k.txt",), secret=secret))
    assert (workspace.folder() / "k.txt").read_text() == "a\nhush-hush\n"
    assert git(workspace.folder(), "diff", "--cached", "--name-only") == ""


async def test_a_message_is_cut_to_a_subject_and_a_body(tmp_path: Path) -> None:
    repository(tmp_path / "code")
    workspace, _events = await opened(tmp_path)
    (workspace.folder() / "a.txt").write_text("1")
    await workspace.commit(turn(1, "a.txt", message="Add " + "very " * 30 + "long things\n\nBecause."))
    subject, blank, *_body = git(workspace.folder(), "show", "-s", "--format=%B", "HEAD").split("\n")
    assert len(subject) <= 72
    assert blank == ""
    (workspace.folder() / "a.txt").write_text("2")
    await workspace.commit(turn(2, "a.txt", intent="Make the parser\nfaster.\n#comment"))
    assert git(workspace.folder(), "show", "-s", "--format=%s", "HEAD") == "write: Make the parser"
    assert "#comment" in git(workspace.folder(), "show", "-s", "--format=%B", "HEAD")


async def test_files_outside_the_worktree_and_in_git_are_no_concern_of_a_commit(tmp_path: Path) -> None:
    repository(tmp_path / "code")
    workspace, _events = await opened(tmp_path)
    outside = os.path.relpath(tmp_path / "outside.txt", workspace.folder())
    (tmp_path / "outside.txt").write_text("x")
    assert await workspace.commit(turn(1, outside, ".git", ".git/config", "/etc/passwd")) == ()


async def test_two_branches_that_rescue_at_once_get_a_ref_each(tmp_path: Path) -> None:
    code = repository(tmp_path / "code")
    workspace, _events = await opened(tmp_path)
    branches = [await workspace.branch(f"fan.1.1.b{number}", lambda _event: None) for number in range(4)]
    known = [dict(await branch.snapshot()) for branch in branches]
    for number, branch in enumerate(branches):
        (branch.folder() / "lost.txt").write_text(f"{number}")
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            path = f"fan.1.1.b{number}"
            group.create_task(workspace.branch(path, lambda _event: None, known[number]))
    refs = git(code, "for-each-ref", "--format=%(refname)", "refs/orchestra/rescue/").split()
    assert sorted(git(code, "show", f"{ref}:lost.txt") for ref in refs) == ["0", "1", "2", "3"]
