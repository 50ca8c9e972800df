"""The pull-request review: what it makes of a change in a real repository, with simulated reviewers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from calls import call

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "examples" / "pr-review"
PROGRAM = TEMPLATE / "review" / "findings.py"


def git(folder: Path, *args: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@b", *args],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the review in it, on a branch that changes a file."""
    folder = tmp_path / "project"
    shutil.copytree(TEMPLATE, folder)
    git(folder, "init", "-q", "-b", "main")
    (folder / "app.py").write_text("def find(db, name):\n    return None\n")
    (folder / "old.bin").write_bytes(bytes(range(256)))
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "base")
    git(folder, "checkout", "-qb", "change")
    (folder / "app.py").write_text("def find(db, name):\n    return db.execute(name).fetchone()[0]\n")
    git(folder, "commit", "-qam", "look users up")
    return folder


def orchestra(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    home = folder.parent
    return call(folder, *args, COLUMNS="100", HOME=str(home), ORCHESTRA_CXDB_PATH=str(home / "store"))


def findings(folder: Path, *args: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), *args], cwd=folder, input=given, capture_output=True, text=True
    )


def written(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "review.json").read_text())
    return found


def test_the_critic_sends_the_reviewers_back_and_the_review_holds_what_fits_the_diff(repository: Path) -> None:
    done = orchestra(
        repository, "run", "pr-review.dot", "--simulate", "simulation.yaml", "--answers", "answers.yaml"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    review = written(repository)
    assert [(f["severity"], f["file"], f["line"], f["found_by"]) for f in review["findings"]] == [
        ("critical", "app.py", 2, ["security"]),
        ("major", "app.py", 2, ["tests"]),
    ]
    assert ["other.py" in line for line in review["dropped"]] == [True]
    sarif = json.loads((repository / "review.sarif").read_text())
    assert [result["level"] for result in sarif["runs"][0]["results"]] == ["error", "error"]
    assert "Do not merge yet" in (repository / "review.md").read_text()
    assert done.stdout.count("reviewers/security") == 2


def test_without_a_terminal_the_review_waits_for_a_person_and_continues_with_the_answer(repository: Path) -> None:
    done = orchestra(repository, "run", "pr-review.dot", "--simulate", "simulation.yaml")
    assert done.returncode == 5, done.stdout + done.stderr
    for words in ("Name the worst first.", "/approve"):
        assert orchestra(repository, "answer", "last", words).returncode == 0
        assert not (repository / "review.md").exists()
        assert orchestra(repository, "resume", "last").returncode == 5
    done = orchestra(repository, "resume", "last", "--answers", "answers.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (repository / "review.md").read_text().startswith("Do not merge yet")


def test_a_critic_that_rejects_nothing_need_not_say_so(repository: Path) -> None:
    script = (repository / "simulation.yaml").read_text()
    (repository / "silent.yaml").write_text(script.replace('updates: {review.rejected: ""}', "notes: fine"))
    done = orchestra(repository, "run", "pr-review.dot", "--simulate", "silent.yaml", "--answers", "answers.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (repository / "review.md").exists()


def test_a_review_that_the_person_rejects_is_not_written(repository: Path) -> None:
    (repository / "no.yaml").write_text("answers: {synthesis: /approve, approve: N}")
    done = orchestra(repository, "run", "pr-review.dot", "--simulate", "simulation.yaml", "--answers", "no.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (repository / "review.md").exists()


def test_a_critic_who_is_never_satisfied_sends_back_three_times_then_a_person_decides(
    repository: Path,
) -> None:
    script = (repository / "simulation.yaml").read_text().replace('- text: "Both hold."', "- status: fail")
    (repository / "simulation.yaml").write_text(script)
    done = orchestra(repository, "run", "pr-review.dot", "--simulate", "simulation.yaml", "--no-input")
    assert done.returncode == 5, done.stdout + done.stderr
    assert done.stdout.count("reviewers/security") == 4
    assert orchestra(repository, "answer", "last", "S").returncode == 0
    done = orchestra(repository, "resume", "last")
    assert done.returncode == 1
    assert "the critic did not uphold the review" in done.stdout
    assert not (repository / "review.md").exists()


def test_a_branch_without_changes_fails_by_name(repository: Path) -> None:
    done = orchestra(repository, "run", "pr-review.dot", "base=HEAD", "--simulate", "simulation.yaml")
    assert done.returncode == 1
    assert "no change between HEAD and HEAD" in done.stdout


def test_a_large_change_is_parted_by_files_and_what_is_left_out_is_named(repository: Path) -> None:
    for number in range(40):
        (repository / f"file{number}.py").write_text("".join(f"line {n} of {number}\n" for n in range(500)))
    (repository / "package-lock.json").write_text("{}\n" * 2000)
    (repository / "old.bin").write_bytes(bytes(range(255, -1, -1)))
    git(repository, "mv", "answers.yaml", "replies.yaml")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "large")
    done = findings(repository, "diff", "--base", "main", "--budget", "10000")
    assert done.returncode == 0, done.stderr
    parts = sorted((repository / ".review").glob("part-*.patch"))
    assert len(parts) > 5
    assert all(part.stat().st_size <= 40_000 for part in parts)
    text = "".join(part.read_text() for part in parts)
    assert all(f"+++ b/file{number}.py" in text for number in range(40))
    assert "binary: old.bin" in done.stdout
    assert "generated: package-lock.json" in done.stdout
    assert "renamed: replies.yaml" in done.stdout


def test_findings_are_merged_and_the_critics_rejections_are_kept_apart(repository: Path) -> None:
    assert findings(repository, "diff", "--base", "main").returncode == 0

    def one(title: str, **more: Any) -> dict[str, Any]:
        return {"file": "app.py", "line": 2, "severity": "minor", "title": title, "why": "so", **more}

    results = [
        {"id": "security", "response": json.dumps({"findings": [one("Bad query!"), one("x", line=99)]})},
        {"id": "tests", "response": "Here: " + json.dumps({"findings": [one("bad query", severity="major")]})},
        {"id": "architecture", "response": "I found nothing."},
    ]
    assert findings(repository, "check", given=json.dumps(results)).returncode == 0
    known = json.loads((repository / ".review" / "findings.json").read_text())
    assert [(f["id"], f["severity"], f["found_by"]) for f in known["findings"]] == [
        ("F1", "major", ["security", "tests"])
    ]
    assert len(known["dropped"]) == 2
    assert findings(repository, "write", "--rejected", "F1", given="Fine.").returncode == 0
    assert [f["upheld"] for f in written(repository)["findings"]] == [False]
    assert "Rejected by the critic" in (repository / "review.md").read_text()


def test_a_reviewer_that_did_not_finish_is_named_in_the_review(repository: Path) -> None:
    findings(repository, "diff", "--base", "main")
    results = [{"id": "security", "status": "fail", "failure_reason": "overloaded", "response": ""}]
    done = findings(repository, "check", given=json.dumps(results))
    assert "NOT REVIEWED: security did not finish: overloaded" in done.stdout
    findings(repository, "write", given="Fine.")
    assert (repository / "review.md").read_text().startswith("**Not reviewed:** security")


def test_reviewers_see_a_note_when_the_files_are_not_those_of_the_change(repository: Path) -> None:
    assert "NOTE" not in findings(repository, "diff", "--base", "main").stdout
    git(repository, "checkout", "-q", "main")
    done = findings(repository, "diff", "--base", "main", "--head", "change")
    assert done.returncode == 0, done.stderr
    assert "To review with its code: git checkout change" in done.stdout


def test_a_pull_request_is_read_by_gh(repository: Path) -> None:
    change = git(repository, "diff", "main...change")
    program = repository.parent / "bin" / "gh"
    program.parent.mkdir()
    (repository.parent / "change").write_text(change)
    program.write_text(
        '#!/bin/sh\ncase "$*" in "pr diff 7") cat ../change;; "pr view 7"*) echo 0123456789abcdef;; esac\n'
    )
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "diff", "--pr", "7"],
        cwd=repository,
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "app.py" in done.stdout
    assert "gh pr checkout 7" in done.stdout


def test_posting_needs_the_number_of_the_pull_request(repository: Path) -> None:
    findings(repository, "diff", "--base", "main")
    findings(repository, "check", given="[]")
    done = findings(repository, "write", "--post", "true", given="Fine.")
    assert done.returncode == 1
    assert "pr=42" in done.stderr


def test_posting_sends_one_review_by_gh(repository: Path) -> None:
    program = repository.parent / "bin" / "gh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@" > ../called\ncat > ../sent\n')
    program.chmod(0o755)
    findings(repository, "diff", "--base", "main")
    found = {"findings": [{"file": "app.py", "line": 2, "severity": "major", "title": "t", "why": "w"}]}
    findings(repository, "check", given=json.dumps([{"id": "tests", "response": json.dumps(found)}]))
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "write", "--post", "true", "--pr", "42"],
        cwd=repository,
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        input="Fine.",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "pulls/42/reviews" in (repository.parent / "called").read_text()
    sent = json.loads((repository.parent / "sent").read_text())
    assert [(c["path"], c["line"]) for c in sent["comments"]] == [("app.py", 2)]


CHEAP = {
    "ANTHROPIC_API_KEY": ("anthropic", "claude-haiku-4-5"),
    "OPENAI_API_KEY": ("openai", "gpt-5-mini"),
    "GOOGLE_API_KEY": ("google", "gemini-2.5-flash"),
}
"""A cheap model of each provider, by the variable that holds its key."""

FLAW = """import sqlite3


def find(db: sqlite3.Connection, name: str) -> str:
    return db.execute("select email from users where name = '" + name + "'").fetchone()[0]
"""


@pytest.mark.live
@pytest.mark.timeout(900)
@pytest.mark.parametrize("key", CHEAP)
def test_real_models_find_a_flaw_in_a_change(key: str, repository: Path) -> None:
    """A query made of its input: at least one reviewer says so, on its line. Costs a few cents."""
    if key not in os.environ:
        pytest.skip(f"{key} is not set")
    provider, model = CHEAP[key]
    (repository / "app.py").write_text(FLAW)
    git(repository, "commit", "-qam", "look e-mail addresses up")
    settings = (repository / "orchestra.yaml").read_text().replace("backend: simulation", "backend: langgraph")
    head, _, agents = settings.partition("providers:")
    _, _, agents = agents.partition("limits:")
    providers = (
        f"providers:\n  default: {provider}\n  {provider}:\n    models: {{smart: {model}, worker: {model}}}\n\n"
    )
    (repository / "orchestra.yaml").write_text(f"{head}{providers}limits:{agents}")
    (repository / "yes.yaml").write_text("answers: {synthesis: /approve, approve: D, undecided: S}")
    done = subprocess.run(
        [sys.executable, "-m", "orchestra", "run", "pr-review.dot", "--answers", "yes.yaml", "--max-cost", "1"],
        cwd=repository,
        env={**os.environ, "HOME": str(repository.parent)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    review = written(repository)
    assert [finding for finding in review["findings"] if (finding["file"], finding["line"]) == ("app.py", 5)]
    assert review["missing"] == []


MODELS = """
rules:
  - when: {contains: "for security"}
    answers:
      - tool_calls: [{name: read-file, arguments: {path: .review/part-1.patch}}]
  - when: {contains: "execute(name)"}
    answers:
      - text: >-
          {"findings": [{"file": "app.py", "line": 2, "severity": "critical",
          "title": "SQL from input", "why": "so"}]}
  - when: {contains: "for its design"}
    answers: [{tool_calls: [{name: "notes__add", arguments: {a: 40, b: 2}}]}]
  - when: {contains: "42"}
    answers: [{text: '{"findings": []}'}]
  - when: {contains: "for correctness"}
    answers: [{text: '{"findings": []}'}]
  - when: {contains: "call report_outcome"}
    answers:
      - tool_calls: [{name: report_outcome, arguments: {status: success, context_updates: {"review.rejected": ""}}}]
  - when: {contains: "opening of the review"}
    answers: [{text: "There is one finding."}]
  - when: {contains: "before a merge"}
    answers: [{text: "Do not merge yet."}]
"""

WORKSPACE = """
workspace: {repos: {project: {path: .}}}
mcp: {notes: {command: "PYTHON", args: ["SERVER"]}}
"""


def test_the_review_runs_with_real_agents_tools_mcp_and_git_on_a_model_server(repository: Path) -> None:
    """Agents are LangGraph's, the diff is made in a worktree, the review is a commit of the session's branch."""
    server = ROOT / "tests" / "agents" / "tools" / "mcp_example.py"
    settings = (repository / "orchestra.yaml").read_text()
    settings = settings.replace("backend: simulation", "backend: langgraph")
    settings = settings.replace(
        "    task: prompts/architecture.yaml\n", "    task: prompts/architecture.yaml\n    mcp: [notes]\n"
    )
    settings += WORKSPACE.replace("PYTHON", sys.executable).replace("SERVER", str(server))
    (repository / "orchestra.yaml").write_text(settings)
    (repository.parent / "models.yaml").write_text(MODELS)
    before = git(repository, "status", "--short", "--branch")
    done = orchestra(
        repository,
        *("model-server", "../models.yaml", "-q", "--"),
        *(sys.executable, "-m", "orchestra", "run", "pr-review.dot", "--answers", "answers.yaml"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert git(repository, "status", "--short", "--branch") == before
    branch, *_ = git(repository, "for-each-ref", "--format=%(refname:short)", "refs/heads/orchestra").splitlines()
    review = json.loads(git(repository, "show", f"{branch}:review.json"))
    assert [(f["title"], f["found_by"], f["upheld"]) for f in review["findings"]] == [
        ("SQL from input", ["security"], True)
    ]
    assert (review["missing"], review["dropped"], review["summary"]) == ([], [], "Do not merge yet.")
    files = git(repository, "ls-tree", "-r", "--name-only", branch).splitlines()
    assert {"review.md", "review.json", "review.sarif"} <= set(files)
    assert not [file for file in files if file.startswith(".review/")]
    assert "notes" in orchestra(repository, "log", "last").stdout
