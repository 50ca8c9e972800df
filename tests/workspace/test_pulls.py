"""Pull requests: by gh on GitHub, as a branch and a text anywhere else; the text holds what the record says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from calls import call
from scratch import git, project, repository, row, run, tool

from orchestra.app.pulls import on_github

GH = """#!/bin/sh
for one in "$@"; do printf '%s\\n' "$one"; done > "$HOME/called"
cat > "$HOME/body"
{answer}
"""
CREATED = "echo 'Creating pull request for x into main in org/code' >&2; echo https://github.com/org/code/pull/7"
EXISTS = (
    'echo \'a pull request for branch "x" into branch "main" already exists:\' >&2; '
    "echo https://github.com/org/code/pull/5 >&2; exit 1"
)
REFUSES = "echo 'To get started with GitHub CLI, please run:  gh auth login' >&2; exit 4"
URL = "https://github.com/org/code.git"
NODES = row(("write", "echo new > c.txt"), ("tests", "test -e c.txt"))


def pushed(folder: Path, answer: str, url: str = URL, *, code: int = 0) -> tuple[str, str]:
    """The output of ``orchestra pr`` with a program that stands for gh; and the session branch."""
    repository(project(folder, NODES, f"      remote: {url}\n      push: never\n") / "code")
    git(folder, "init", "-q", "--bare", "there.git")
    (folder / "home").mkdir(exist_ok=True)
    (folder / "home" / ".gitconfig").write_text(f'[url "{folder}/there.git"]\n  insteadOf = {url}\n')
    program = folder / "bin" / "gh"
    program.parent.mkdir()
    program.write_text(GH.replace("{answer}", answer))
    program.chmod(0o755)
    branch = f"orchestra/p/{run(folder)['session']}"
    done = call(folder, "pr", "last", PATH=f"{program.parent}:{os.environ['PATH']}")
    assert done.returncode == code, done.stderr
    assert git(folder / "there.git", "show", f"{branch}:c.txt") == "new"
    return done.stdout, branch


def test_on_github_gh_creates_it_without_a_prompt_and_gets_the_text_on_its_input(tmp_path: Path) -> None:
    said, branch = pushed(tmp_path, CREATED)
    assert said == f"code: {branch} pushed, pull request: https://github.com/org/code/pull/7\n"
    called = (tmp_path / "home" / "called").read_text().splitlines()
    assert called[:2] == ["pr", "create"]
    given = dict(zip(called[2::2], called[3::2], strict=True))
    assert given == {
        "--repo": "github.com/org/code",
        "--head": branch,
        "--base": "main",
        "--title": "p",
        "--body-file": "-",
    }
    body = (tmp_path / "home" / "body").read_text()
    assert "| tests | success | `test -e c.txt`: exit code 0 |" in body
    assert "- write: echo new > c.txt" in body
    assert "1 file changed, 1 insertion" in body


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://github.com/org/code.git", "github.com/org/code"),
        ("https://me:secret@github.com/org/code", "github.com/org/code"),
        ("git@github.com:org/my.code.git", "github.com/org/my.code"),
        ("ssh://git@ssh.github.com:443/org/code.git", "github.com/org/code"),
        ("https://ghe.example/org/code", "ghe.example/org/code"),
        ("https://gitlab.example/github.com/code.git", ""),
        ("/srv/github.com/org/code.git", ""),
    ],
)
def test_remotes_of_github_are_known_by_their_host(url: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GH_HOST", "ghe.example")
    assert on_github(url) == place


def test_one_that_exists_is_named_and_has_the_new_commits(tmp_path: Path) -> None:
    said, branch = pushed(tmp_path, EXISTS)
    assert f"{branch} pushed, pull request: https://github.com/org/code/pull/5" in said
    assert "existed already" in said


def test_an_error_of_gh_is_shown_and_fails_with_the_text_printed(tmp_path: Path) -> None:
    said, _branch = pushed(tmp_path, REFUSES, code=1)
    assert "gh could not create it" in said
    assert "gh auth login" in said
    assert "| write | success |" in said


@pytest.mark.parametrize("url", ["https://gitlab.example/org/code.git", "git@gitlab.example:org/code.git"])
def test_elsewhere_gh_is_not_asked_and_the_text_printed(tmp_path: Path, url: str) -> None:
    said, branch = pushed(tmp_path, CREATED, url)
    assert not (tmp_path / "home" / "called").exists()
    assert f"{branch} pushed to {url}; open a pull request into main with this text:" in said


def test_the_address_that_a_server_offers_is_shown(tmp_path: Path) -> None:
    code = repository(project(tmp_path, NODES) / "code")
    git(tmp_path, "init", "-q", "--bare", "there.git")
    hook = tmp_path / "there.git" / "hooks" / "post-receive"
    hook.write_text(
        "#!/bin/sh\necho 'To create a merge request, visit:'\necho '  https://gitlab.example/new?b=1'\n"
    )
    hook.chmod(0o755)
    git(code, "remote", "add", "origin", str(tmp_path / "there.git"))
    run(tmp_path)
    assert "  open: https://gitlab.example/new?b=1\n" in call(tmp_path, "pr", "last").stdout


def test_a_dry_run_prints_the_text_with_verdicts_without_a_remote(tmp_path: Path) -> None:
    command = r"printf 'a\351\n' > c.txt; test -n {{ last_response }} | cat"
    nodes = 'review [prompt="look"]\n' + tool("write", command) + "start -> review -> write -> exit"
    project(tmp_path, nodes)
    repository(tmp_path / "code")
    (tmp_path / "s.yaml").write_text("nodes:\n  review: [{text: 'Looks good | ship it'}]\n")
    run(tmp_path, "--simulate", str(tmp_path / "s.yaml"))
    done = call(tmp_path, "pr", "last", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "nothing is pushed or created" in done.stdout
    assert "| review | success | Looks good \\| ship it |" in done.stdout
    shown = r"printf 'a\351\n' > c.txt; test -n 'Looks good \| ship it' \| cat"
    assert f"| write | success | `{shown}`: exit code 0 |" in done.stdout
    assert call(tmp_path, "pr", "last").returncode == 2
