from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from orchestra.processes.sandbox import NO_SANDBOX, Sandbox, policy, prove, sandbox_command, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "bwrap works")


def run(script: str, folder: Path, sandbox: Sandbox | None = None) -> subprocess.CompletedProcess[str]:
    sandbox = sandbox or policy("bwrap", "none", [folder])
    argv = sandbox_command(("/bin/sh", "-c", script), sandbox, folder)
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)


def test_without_a_sandbox_the_command_line_is_as_it_was(tmp_path: Path) -> None:
    assert sandbox_command(("ls",), NO_SANDBOX, tmp_path) == ("ls",)


def test_what_it_promises_holds_when_it_is_tried() -> None:
    proofs = prove()
    assert len(proofs) == 7
    assert [proof.what for proof in proofs if not proof.held] == []


def test_the_folder_is_writable_and_its_history_is_not(tmp_path: Path) -> None:
    (tmp_path / ".git" / "hooks").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    assert run("echo x > a; mkdir b; rm -f a", tmp_path).returncode == 0
    for attack in (
        "echo x > .git/config",
        "echo x > .git/hooks/pre-commit",
        "mv .git gone",
        "rm -rf .git/hooks",
        "mount --bind b .git",
        "umount .git",
        "ln .git/HEAD head && echo x > head",
    ):
        run(attack, tmp_path)
        assert (tmp_path / ".git" / "HEAD").read_text() == "ref: refs/heads/main\n", attack
        assert sorted(os.listdir(tmp_path / ".git")) == ["HEAD", "hooks"], attack
        assert os.listdir(tmp_path / ".git" / "hooks") == [], attack


def test_the_history_of_a_worktree_is_seen_and_not_written(tmp_path: Path) -> None:
    main, tree = tmp_path / "main", tmp_path / "tree"
    main.mkdir()
    for command in (
        ("init", "-q"),
        ("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "x"),
        ("worktree", "add", "-q", str(tree)),
    ):
        subprocess.run(("git", *command), cwd=main, check=True, capture_output=True)
    assert "x" in run("git log --oneline", tree).stdout
    assert run("git commit --allow-empty -m y", tree).returncode != 0
    assert run(f"echo x > {main}/.git/config", tree).returncode != 0
    assert run(f"ls {main}/.git/..", tree).stdout.strip() == ""


def test_a_pointer_that_an_agent_wrote_shows_nothing_else(tmp_path: Path) -> None:
    secret, work = tmp_path / "secret", tmp_path / "work"
    for folder in (secret, work):
        folder.mkdir()
    (secret / "key").write_text("precious")
    (work / ".git").write_text(f"gitdir: {secret}\n")
    assert "precious" not in run(f"cat {secret}/key", work).stdout


def test_home_and_temporary_folders_are_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    for folder in (home, work):
        folder.mkdir()
    (home / "id_rsa").write_text("precious")
    monkeypatch.setenv("HOME", str(home))
    assert run(f"cat {home}/id_rsa", work).returncode != 0
    assert run(f"cat /proc/1/root{home}/id_rsa", work).returncode != 0
    assert run(f"cat /proc/self/root{home}/id_rsa", work).returncode != 0
    shown = policy("bwrap", "none", [work]).also(read=[home / "id_rsa"])
    assert run(f"cat {home}/id_rsa", work, shown).stdout == "precious"
    assert run(f"echo x > {home}/id_rsa", work, shown).returncode != 0


def test_no_process_outside_is_reached(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "30"])
    try:
        run(f"kill -9 {sleeper.pid}; kill -9 -1; kill -9 $PPID", tmp_path)
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_the_network_is_there_only_when_it_is_asked_for(tmp_path: Path) -> None:
    listing = "cat /proc/net/dev | grep -c :"
    assert run(listing, tmp_path).stdout.strip() == "1"
    full = policy("bwrap", "full", [tmp_path])
    here = Path("/proc/net/dev").read_text().count(":")
    assert int(run(listing, tmp_path, full).stdout) == here
