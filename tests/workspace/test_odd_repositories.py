"""Repositories that are not plain: each works, or is a clear error before anything is written (W1, W9)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from calls import call
from scratch import branch_of, everything, git, project, repository, row, run

WRITES = row(("write", "echo new > c.txt; ls"))


def refused(folder: Path, *words: str) -> None:
    """The run is refused with these words, and nothing is written."""
    before = everything(folder / "code") if (folder / "code").exists() else {}
    done = call(folder, "run", str(folder / "p.dot"))
    assert done.returncode == 2, done.stdout
    for word in words:
        assert word in done.stderr
    assert not (folder / ".orchestra").exists()
    assert (everything(folder / "code") if (folder / "code").exists() else {}) == before


def test_a_bare_repository(tmp_path: Path) -> None:
    repository(tmp_path / "first")
    git(tmp_path, "clone", "-q", "--bare", str(tmp_path / "first"), "code")
    project(tmp_path, WRITES)
    assert run(tmp_path)["status"] == "success"
    assert git(tmp_path / "code", "show", f"{branch_of(tmp_path)}:c.txt") == "new"
    assert "bare repository" in call(tmp_path, "merge", "last").stderr


def test_a_detached_head(tmp_path: Path) -> None:
    code = repository(project(tmp_path, WRITES) / "code")
    git(code, "checkout", "-q", "--detach")
    before = everything(code)
    assert run(tmp_path)["status"] == "success"
    assert everything(code) == before
    assert "no branch is checked out" in call(tmp_path, "merge", "last").stderr


def test_a_shallow_checkout(tmp_path: Path) -> None:
    first = repository(tmp_path / "first")
    for number in range(3):
        git(first, "commit", "-q", "--allow-empty", "-m", f"c{number}")
    git(tmp_path, "clone", "-q", "--depth", "1", first.as_uri(), "code")
    project(tmp_path, WRITES)
    assert run(tmp_path)["status"] == "success"


def test_a_sparse_checkout(tmp_path: Path) -> None:
    code = repository(tmp_path / "code", {"in/a.txt": "a\n", "out/b.txt": "b\n", "top.txt": "t\n"})
    git(code, "sparse-checkout", "set", "in")
    project(tmp_path, row(("write", "echo new > in/c.txt; echo x > out.txt")))
    before = everything(code)
    assert run(tmp_path)["status"] == "success"
    assert everything(code) == before
    branch = branch_of(tmp_path)
    assert git(code, "show", "--format=", "--name-status", branch).split("\n") == ["A\tin/c.txt", "A\tout.txt"]


def test_what_is_written_outside_a_sparse_checkout_is_committed_too(tmp_path: Path) -> None:
    nodes = row(("write", "mkdir out; echo n > in/n.txt; echo o > out/o.txt"))
    code = repository(project(tmp_path, nodes) / "code", {"in/a.txt": "1\n", "out/b.txt": "2\n"})
    git(code, "sparse-checkout", "set", "in")
    assert run(tmp_path)["status"] == "success"
    branch = branch_of(tmp_path)
    assert git(code, "ls-tree", "-r", "--name-only", branch).split() == [
        *("in/a.txt", "in/n.txt", "out/b.txt", "out/o.txt")
    ]
    assert not (code / "out").exists()


def test_a_file_whose_name_is_no_unicode_is_committed_and_recorded_with_question_marks(tmp_path: Path) -> None:
    make = r"""printf x > "$(printf 'bad\377byte')"; printf y > "$(printf 'caf\351')" """
    repository(project(tmp_path, row(("make", make), ("next", "ls"))) / "code")
    assert run(tmp_path)["status"] == "success"
    listed = git(tmp_path / "code", "ls-tree", "--name-only", branch_of(tmp_path))
    assert {r'"bad\377byte"', r'"caf\351"'} <= set(listed.splitlines())
    assert '"bad?byte"' in call(tmp_path, "log", "last", "--json").stdout


def test_submodules_stay_as_they_are(tmp_path: Path) -> None:
    sub = repository(tmp_path / "sub")
    code = repository(tmp_path / "code")
    git(code, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(sub), "lib")
    git(code, "commit", "-q", "-m", "with a submodule")
    project(tmp_path, WRITES)
    before = everything(code)
    assert run(tmp_path)["status"] == "success"
    assert everything(code) == before
    assert git(code, "show", "--format=", "--name-status", branch_of(tmp_path)) == "A\tc.txt"


def test_an_lfs_pointer_stays_a_pointer_where_the_user_says_so(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12\n"
    code = repository(
        tmp_path / "code", {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "x.bin": pointer}
    )
    project(tmp_path, WRITES)
    # without git-lfs there is no filter; with it the variable keeps it from fetching what is nowhere
    assert run(tmp_path, GIT_LFS_SKIP_SMUDGE="1")["status"] == "success"
    assert git(code, "show", "--format=", "--name-only", branch_of(tmp_path)) == "c.txt"


def test_a_repository_and_a_user_without_a_name(tmp_path: Path) -> None:
    repository(project(tmp_path, WRITES) / "code")
    assert run(tmp_path)["status"] == "success"
    assert call(tmp_path, "merge", "last").returncode == 0


def test_an_empty_repository_is_refused(tmp_path: Path) -> None:
    project(tmp_path, WRITES)
    git(tmp_path, "init", "-q", "code")
    refused(tmp_path, "has no commit to begin from", "commit --allow-empty")


def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    project(tmp_path, WRITES)
    (tmp_path / "code").mkdir()
    refused(tmp_path, "is not the top folder of a git repository")


def test_a_folder_inside_a_repository_is_refused(tmp_path: Path) -> None:
    repository(tmp_path / "code", {"sub/a.txt": "x"})
    project(tmp_path, WRITES, repo="code/sub")
    refused(tmp_path, "is not the top folder of a git repository", f"write path: {tmp_path / 'code'}")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    project(tmp_path, WRITES)
    refused(tmp_path, "does not exist", "remote")


def test_files_that_differ_only_by_case_are_refused_where_the_file_system_ignores_it(tmp_path: Path) -> None:
    code = repository(project(tmp_path, WRITES) / "code", {"A.txt": "1", "a.txt": "2"})
    git(code, "config", "core.ignoreCase", "true")
    refused(tmp_path, "A.txt and a.txt differ only by case")


def test_a_branch_that_is_in_the_way_of_the_prefix_is_refused(tmp_path: Path) -> None:
    code = repository(project(tmp_path, WRITES) / "code")
    git(code, "branch", "orchestra")
    refused(tmp_path, "the branch orchestra exists", "branch_prefix")


def test_a_branch_in_the_way_of_the_pipelines_own_is_refused(tmp_path: Path) -> None:
    code = repository(project(tmp_path, WRITES) / "code")
    git(code, "branch", "orchestra/p")
    refused(tmp_path, "the branch orchestra/p exists", "branch_prefix")


def test_a_prefix_that_no_branch_can_have_is_refused(tmp_path: Path) -> None:
    repository(project(tmp_path, WRITES, '      branch_prefix: "bad prefix/"\n') / "code")
    refused(tmp_path, "is not a name for a branch", "branch_prefix")


def test_a_worktree_of_a_repository_can_be_the_checkout(tmp_path: Path) -> None:
    main = repository(tmp_path / "main")
    git(main, "worktree", "add", "-q", "-b", "side", str(tmp_path / "code"))
    project(tmp_path, WRITES)
    assert run(tmp_path)["status"] == "success"
    assert git(main, "rev-parse", f"{branch_of(tmp_path)}~1") == git(main, "rev-parse", "side")


def test_several_repositories_get_a_commit_each(tmp_path: Path) -> None:
    command = "echo 1 > one.txt; echo 2 > ../other/two.txt"
    project(tmp_path, row(("write", command)), "    other:\n      path: more\n")
    code, more = repository(tmp_path / "code"), repository(tmp_path / "more")
    ended = run(tmp_path)
    assert ended["status"] == "success"
    branch = f"orchestra/p/{ended['session']}"
    assert git(code, "show", f"{branch}:one.txt") == "1"
    assert git(more, "show", f"{branch}:two.txt") == "2"


def test_in_place_works_in_the_checkout_and_restores_it(tmp_path: Path) -> None:
    code = repository(project(tmp_path, WRITES, "      in_place: true\n") / "code")
    ended = run(tmp_path)
    assert ended["status"] == "success"
    assert git(code, "symbolic-ref", "--short", "HEAD") == "main"
    assert not (code / "c.txt").exists()
    assert git(code, "show", f"orchestra/p/{ended['session']}:c.txt") == "new"
    assert git(code, "worktree", "list").count("\n") == 0


def test_in_place_is_refused_for_a_dirty_checkout(tmp_path: Path) -> None:
    code = repository(project(tmp_path, WRITES, "      in_place: true\n") / "code")
    (code / "a.txt").write_text("changed")
    refused(tmp_path, "needs a clean checkout")


def test_the_settings_may_be_in_the_repository_itself(tmp_path: Path) -> None:
    settings = "workspace:\n  repos:\n    code:\n      path: .\n"
    code = repository(tmp_path / "code", {"orchestra.yaml": settings})
    project(code, WRITES, repo=".")
    git(code, "add", "--all")
    git(code, "commit", "-q", "-m", "with a pipeline")
    done = call(code, "run", "p.dot", ORCHESTRA_CXDB_PATH=str(code / ".orchestra" / "cxdb"))
    assert done.returncode == 0
    assert "not included" not in done.stdout
    assert git(code, "status", "--porcelain") == ""


def test_setup_copy_and_link_make_a_worktree_usable(tmp_path: Path) -> None:
    more = "      setup: echo built > built.txt\n      copy: [.env, conf]\n      link: [node_modules]\n"
    nodes = row(("look", "cat .env conf/x node_modules/m built.txt"))
    code = repository(
        project(tmp_path, nodes, more) / "code", {".gitignore": ".env\nconf/\nnode_modules\nbuilt.txt\n"}
    )
    (code / ".env").write_text("env\n")
    (code / "conf").mkdir()
    (code / "conf" / "x").write_text("x\n")
    (code / "node_modules").mkdir()
    (code / "node_modules" / "m").write_text("m\n")
    ended = run(tmp_path)
    assert ended["status"] == "success"
    worktree = tmp_path / ".orchestra" / "worktrees" / ended["session"] / "code"
    assert (worktree / "node_modules").is_symlink()
    assert git(code, "rev-parse", branch_of(tmp_path)) == git(code, "rev-parse", "main")


def test_a_failed_setup_fails_the_run_before_its_first_node(tmp_path: Path) -> None:
    repository(project(tmp_path, WRITES, "      setup: echo no such thing; exit 3\n") / "code")
    ended = run(tmp_path)
    assert ended["status"] == "fail"
    assert "`echo no such thing; exit 3`, failed with exit code 3: no such thing" in ended["detail"]
    assert ended["nodes"] == {}


def test_a_failed_setup_that_wrote_nothing_says_so(tmp_path: Path) -> None:
    repository(project(tmp_path, WRITES, "      setup: 'false'\n") / "code")
    assert "`false`, failed with exit code 1 and wrote nothing" in run(tmp_path)["detail"]


def test_a_file_to_bring_along_that_is_missing_is_one_warning_for_all_worktrees(tmp_path: Path) -> None:
    fan = """fan [shape=component] meet [shape=tripleoctagon] a [prompt=x] b [prompt=x]
    start -> fan -> a -> meet fan -> b -> meet -> exit"""
    repository(project(tmp_path, fan, "      copy: [nofile]\n") / "code")
    done = call(tmp_path, "run", "p.dot")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nofile is not in") == 1


@pytest.mark.parametrize("has_git", [True, False])
def test_doctor_looks_for_git_where_a_workspace_needs_it(has_git: bool, tmp_path: Path) -> None:
    repository(project(tmp_path, WRITES) / "code")
    done = call(tmp_path, "doctor", PATH=os.environ["PATH"] if has_git else str(tmp_path))
    assert ("✓ git 2." in done.stdout) == has_git
    assert ("✗ no git found" in done.stdout) != has_git
    assert done.returncode == (0 if has_git else 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_repository_that_may_not_be_written_is_an_error(tmp_path: Path) -> None:
    code = repository(project(tmp_path, WRITES) / "code")
    (code / ".git").chmod(0o555)
    assert call(tmp_path, "run", str(tmp_path / "p.dot")).returncode != 0
    (code / ".git").chmod(0o755)
