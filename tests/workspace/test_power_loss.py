"""The power fails while a run works: whatever was not synced is gone, and no recorded commit is (W13)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from calls import call
from scratch import environment, git, project, repository, tool

STRACE = shutil.which("strace")
CALLS = "openat,mkdir,rename,renameat2,link,linkat,unlink,fsync,fdatasync"
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)(?:<(.*)>)?")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FD = re.compile(r"\d+<([^>]*)>")


class Disk:
    """Which files' contents and names a disk holds for sure, from the system calls of a run.

    ``ordered``: what is synced takes all names with it that were made before, as in a journal.
    """

    def __init__(self, below: tuple[Path, ...], *, ordered: bool) -> None:
        self.ordered = ordered
        self.below = tuple(map(str, below))
        self.contents: dict[str, bool] = {}
        self.names: dict[str, bool] = {}
        self._begun: dict[str, str] = {}

    def read(self, log: Path) -> None:
        for line in log.read_text(errors="surrogateescape").splitlines():
            pid, _, text = line.partition(" ")
            text = text.strip()
            if text.endswith("<unfinished ...>"):
                self._begun[pid] = text.removesuffix("<unfinished ...>")
                continue
            if text.startswith("<... "):
                text = self._begun.pop(pid, "") + text.partition("resumed>")[2]
            match = _CALL.match(text)
            if match is not None and not match[3].startswith("-"):
                self._called(match[1], match[2], match[4] or "")

    def _called(self, name: str, given: str, opened: str) -> None:
        texts = [os.path.normpath(text) for text in _TEXT.findall(given)]
        if name == "openat" and ("O_TRUNC" in given or "O_CREAT" in given) and self._ours(opened):
            self.contents[opened] = False
            if not self.names.get(opened):
                self.names[opened] = False
        elif name == "mkdir" and self._ours(texts[0]):
            self.names[texts[0]] = False
        elif name.startswith(("rename", "link")):
            old, new = texts[-2:]
            assert os.path.isabs(new) or not self._ours(new), given
            self.contents[new] = self.contents.get(old, True)
            self.names[new] = False
            if name.startswith("rename"):
                self._gone(old)
        elif name == "unlink":
            self._gone(texts[0])
        elif name in ("fsync", "fdatasync") and (match := _FD.match(given)) is not None:
            self._synced(os.path.normpath(match[1]))

    def _ours(self, path: str) -> bool:
        return path.startswith(self.below)

    def _gone(self, path: str) -> None:
        self.contents.pop(path, None)
        self.names.pop(path, None)

    def _synced(self, path: str) -> None:
        if path in self.contents:
            self.contents[path] = True
        for name in self.names:
            if self.ordered or os.path.dirname(name) == path:
                self.names[name] = True

    def lose(self, *, names: bool) -> list[str]:
        """Take away the contents that were not synced, and with ``names`` the files whose names were not."""
        lost = []
        for path in sorted({*self.contents, *self.names}, reverse=True):
            file = Path(path)
            if not self._ours(path) or file.is_symlink() or not file.is_file():
                continue
            if names and not self.names.get(path, True):
                file.unlink()
                lost.append(path)
            elif not self.contents.get(path, True):
                file.write_bytes(b"")
                lost.append(path)
        return lost


NODES = (
    tool("one", "echo 1 > one.txt")
    + tool("own", "echo o > own.txt && git add own.txt && git commit -qm 'made by the command'")
    + tool("last", "test -e {folder}/again || {{ touch {folder}/again; kill -9 $(cat {folder}/pid); sleep 5; }}")
    + "start -> one -> own -> "
)
STRAIGHT = "last -> exit"
FAN = (
    "fan -> left -> join; fan -> right -> join -> last -> exit\n"
    "fan [shape=component] join [shape=tripleoctagon]\n"
    + tool("left", "echo l > l.txt")
    + tool("right", "echo r > r.txt")
)
RUN = 'echo $$ > "$1/pid"; exec "$2" -c "$3" run "$1/p.dot"'
PLAIN = "from orchestra.cli import main; main()"
STRICT = f"from orchestra.workspace import durable; durable.ORDERED = frozenset(); {PLAIN}"


@pytest.mark.skipif(STRACE is None, reason="needs strace")
@pytest.mark.parametrize("ordered", [False, True])
def test_a_recorded_commit_survives_the_loss_of_everything_that_was_not_synced(
    tmp_path: Path, ordered: bool, request: pytest.FixtureRequest
) -> None:
    long = bool(request.config.getoption("--long"))
    if ordered and not long:
        pytest.skip("run by --long")
    nodes = NODES.format(folder=tmp_path) + (FAN if long else STRAIGHT)
    code = repository(project(tmp_path, nodes) / "code")
    around = environment(tmp_path, ORCHESTRA_CXDB_PATH=str(tmp_path / "store"))
    around |= {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    log = tmp_path / "calls.log"
    command = [
        str(STRACE),
        "-f",
        "--seccomp-bpf",
        "-y",
        "-qq",
        "-e",
        "signal=none",
        "-e",
        f"trace={CALLS}",
        "-o",
        str(log),
    ]
    traced = subprocess.run(
        [*command, "sh", "-c", RUN, "sh", str(tmp_path), sys.executable, PLAIN if ordered else STRICT],
        cwd=tmp_path,
        env=around,
        capture_output=True,
    )
    if b"ptrace" in traced.stderr:
        pytest.skip("no process may be traced here")
    assert (tmp_path / "again").exists(), traced.stderr
    disk = Disk((code / ".git", tmp_path / ".orchestra"), ordered=ordered)
    disk.read(log)
    kept = [code, tmp_path / ".orchestra", tmp_path / "store"]
    for folder in kept:
        shutil.copytree(folder, tmp_path / "kept" / folder.name, symlinks=True)
    for names in (True, False):
        lost = disk.lose(names=names)
        assert any("/worktrees/" in path for path in lost), "what can be made again is not synced"
        assert not [path for path in lost if "/objects/" in path and "tmp_obj" not in path], lost
        check(tmp_path, code, ("l.txt", "r.txt") if long else ())
        for folder in kept:
            shutil.rmtree(folder)
            shutil.copytree(tmp_path / "kept" / folder.name, folder, symlinks=True)


def check(folder: Path, code: Path, more: tuple[str, ...]) -> None:
    done = call(folder, "resume", "last", "--json")
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout)
    assert ended["status"] == "success", done.stderr
    branch = f"orchestra/p/{ended['session']}"
    files = sorted(("a.txt", "b.txt", "one.txt", "own.txt", *more))
    assert git(code, "ls-tree", "--name-only", branch).split() == files
    commits = git(code, "log", "--no-merges", "--format=%s", f"main..{branch}").split("\n")
    assert len(commits) == len(set(commits)) == 2 + len(more), commits
    assert git(code, "fsck", "--strict", "--no-dangling") == ""
    assert git(folder / ".orchestra" / "worktrees" / ended["session"] / "code", "status", "--porcelain") == ""
