"""What an agent or a command does with git itself is kept, and leads nowhere else (W4)."""

from __future__ import annotations

from pathlib import Path

from calls import call
from scratch import branch_of, everything, git, project, repository, row, run

MINE = "git -c user.name=me -c user.email=me@x"


def test_commits_that_a_command_makes_itself_are_kept_with_a_note(tmp_path: Path) -> None:
    command = f"echo x > x.txt; git add x.txt; {MINE} commit -qm 'my own'; echo y > y.txt"
    code = repository(project(tmp_path, row(("work", command))) / "code")
    ended = run(tmp_path)
    branch = branch_of(tmp_path)
    assert git(code, "log", "--format=%s", branch).split("\n")[1:] == ["my own", "first"]
    note = git(code, "notes", "--ref=orchestra", "show", f"{branch}~1")
    assert f"Orchestra-Session: {ended['session']}" in note
    assert "Orchestra-Turn: work.1.1" in note
    assert "made by the agent" in call(tmp_path, "log", ended["session"]).stdout


def test_a_head_that_was_moved_is_put_back_and_its_commits_are_rescued(tmp_path: Path) -> None:
    command = f"git switch -qc other; echo x > x.txt; git add x.txt; {MINE} commit -qm 'elsewhere'; echo y > y.txt"
    code = repository(project(tmp_path, row(("work", command), ("next", "ls"))) / "code")
    before = everything(code)
    ended = run(tmp_path)
    assert ended["status"] == "success"
    branch = branch_of(tmp_path)
    assert git(code, "show", "--format=%an", "--name-only", branch) == "work (tool)\n\nx.txt\ny.txt"
    assert git(code, "show", "-s", "--format=%s", f"refs/orchestra/rescue/{ended['session']}/1") == "elsewhere"
    assert everything(code) == before


def test_a_branch_that_was_reset_is_put_back(tmp_path: Path) -> None:
    code = repository(
        project(tmp_path, row(("one", "echo 1 > 1.txt"), ("two", "git reset -q --hard HEAD~1"))) / "code"
    )
    assert run(tmp_path)["status"] == "success"
    branch = branch_of(tmp_path)
    assert git(code, "log", "--format=%an", branch).split("\n") == ["two (tool)", "one (tool)", "A User"]
    assert git(code, "show", "--format=", "--name-status", branch) == "D\t1.txt"


def test_a_repository_inside_the_worktree_is_left_out_and_named_once(tmp_path: Path) -> None:
    command = f"git init -q sub && cd sub && echo x > x && git add x && {MINE} commit -qm x; cd ..; echo y > y.txt"
    more = "git init -q unborn && echo z > unborn/z"
    repository(project(tmp_path, row(("work", command), ("more", more))) / "code")
    assert run(tmp_path)["status"] == "success"
    assert git(tmp_path / "code", "show", "--format=", "--name-only", branch_of(tmp_path)) == "y.txt"
    shown = call(tmp_path, "log", "last").stdout
    assert shown.count("sub is a repository of its own") == 1
    assert shown.count("unborn is a repository of its own") == 1


def test_a_secret_in_a_file_stops_the_commit_and_the_file_stays(tmp_path: Path) -> None:
    command = "printf 'a\\nkey = \"sk-ant-api03-%s\"\\n' q7Zk2Lm9Xw4Rt8Vb3Nc6Yd1Fg5Hj0SaPe2Uo9TiMk3Bn7Cv1Qz > k.txt"
    code = repository(project(tmp_path, row(("work", command))) / "code")
    ended = run(tmp_path)
    assert ended["status"] == "fail"
    assert "secret in k.txt:2" in ended["nodes"]["work"]["reason"]
    assert git(code, "rev-parse", branch_of(tmp_path)) == git(code, "rev-parse", "main")
    assert (tmp_path / ".orchestra" / "worktrees" / ended["session"] / "code" / "k.txt").exists()
