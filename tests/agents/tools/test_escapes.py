"""No path leads out of the working folder, by the tools that take paths and, in the sandbox, by the shell (A31)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from toolbox import Box, repository

from orchestra.processes.sandbox import policy, unavailable

SECRET = "OUTSIDE-PRECIOUS-CONTENT"
HISTORY = "HISTORY-PRECIOUS-CONTENT"


class World:
    """A working folder in a neighbourhood of what must stay as it is."""

    def __init__(self, base: Path) -> None:
        self.base = base.resolve()
        self.work = self.base / "work"
        self.work.mkdir()
        (self.work / "inside").mkdir()
        (self.work / "inside" / "ok.txt").write_text("fine\n")
        repository(self.work)
        (self.work / ".git" / "hooks" / "pre-commit").write_text(HISTORY)
        for name in ("secret.txt", "work-sibling/secret.txt", "home/secret.txt"):
            (self.base / name).parent.mkdir(exist_ok=True)
            (self.base / name).write_text(SECRET)
        self.links()
        self.before = self.outside()

    def links(self) -> None:
        work = self.work
        (work / "out").symlink_to("..")
        (work / "abs").symlink_to(self.base)
        (work / "file").symlink_to("../secret.txt")
        (work / "chain1").symlink_to("chain2")
        (work / "chain2").symlink_to("inside/chain3")
        (work / "inside" / "chain3").symlink_to("../../secret.txt")
        (work / "loop").symlink_to("loop")
        (work / "gitlink").symlink_to(".git")
        (work / "hook").symlink_to(".git/hooks/pre-commit")
        (work / "new").symlink_to("../made-outside.txt")
        (work / "root").symlink_to("/")
        (work / "proc").symlink_to("/proc/self/root")
        (work / "hard").hardlink_to(work / ".git" / "hooks" / "pre-commit")

    def outside(self) -> dict[str, bytes]:
        """Everything outside, and the history."""
        found: dict[str, bytes] = {}
        for here, folders, names in os.walk(self.base):
            if Path(here) == self.work:
                folders[:] = [".git"]
                continue
            for name in names:
                if name != "index":
                    found[str(Path(here) / name)] = (Path(here) / name).read_bytes()
        return found


def paths(world: World, many: int, seed: int) -> Iterator[str]:
    """Generated ways out: components, prefixes and spellings put together at random."""
    chance = random.Random(seed)
    starts = ["", "./", "/", "inside/", str(world.work) + "/", str(world.base) + "/", "out/", "abs/", "root/"]
    starts += [
        "proc/",
        "/proc/self/root/",
        "/proc/self/cwd/",
        "/dev/fd/",
        "~/",
        "file:",
        "//",
        "inside//",
        "gitlink/",
    ]
    middles = [
        "../",
        "..//",
        "./../",
        "inside/../",
        "inside/../../",
        "work-sibling/",
        "out/",
        "abs/",
        ".git/",
        "..%2f",
    ]
    middles += ["...", "..\\", "root/", str(world.base)[1:] + "/", "chain1/", "loop/", ".GIT/", ".git./", "GIT~1/"]
    middles += [".g\u200cit/", ".Git/hooks/", "proc/", "\uff0e\uff0e/", "..\u2215"]
    ends = ["secret.txt", "../secret.txt", "work-sibling/secret.txt", "home/secret.txt", "file", "chain1", "hook"]
    ends += [
        ".git/hooks/pre-commit",
        ".git/config",
        "etc/passwd",
        "etc/hostname",
        "new",
        "loop",
        ".git",
        "..",
        ".",
        "",
    ]
    ends += ["secret.txt\0", "gitlink/config", "hooks/pre-commit", "made-outside.txt", "proc/1/environ", "x" * 300]
    for _each in range(many):
        middle = "".join(chance.choice(middles) for _ in range(chance.randrange(4)))
        yield chance.choice(starts) + middle + chance.choice(ends)


def leaked(text: str) -> bool:
    return SECRET in text or HISTORY in text or "root:x:0" in text


def attack(box: Box, path: str) -> list[str]:
    """Try a path with every tool; what leaked."""

    async def every() -> list[str]:
        texts = []
        for tool, arguments in (
            ("read-file", {"path": path}),
            ("write-file", {"path": path, "content": "OVERWRITTEN"}),
            ("edit-file", {"path": path, "old_string": "OUTSIDE", "new_string": "CHANGED"}),
        ):
            texts.append((tool, await box.call(tool, **arguments)))
        return [f"{tool} {path!r}" for tool, result in texts if leaked(result.text)]

    return asyncio.run(every())


@pytest.mark.parametrize("seed", [1])
def test_generated_paths_lead_nowhere(tmp_path: Path, seed: int, pytestconfig: pytest.Config) -> None:
    world = World(tmp_path)
    many = 2000 if pytestconfig.getoption("--long") else 400
    for path in paths(world, many, seed):
        box = Box(world.work)
        assert attack(box, path) == []
    assert world.outside() == world.before
    assert not (world.base / "made-outside.txt").exists()


def test_searches_and_listings_stay_inside(tmp_path: Path) -> None:
    world = World(tmp_path)
    box = Box(world.work)
    (world.work / "hard").unlink()
    for path in (
        ".",
        "out",
        "abs",
        "root",
        "proc",
        "gitlink",
        "..",
        "inside/../..",
        ".git",
        str(world.base),
        "file",
    ):
        for tool, arguments in (("search-code", {"pattern": "OUTSIDE"}), ("list-files", {"pattern": "**/*"})):
            text = box.run(tool, path=path, **arguments).text
            assert SECRET not in text, (tool, path)
            assert "secret.txt" not in text, (tool, path)
            assert "pre-commit" not in text, (tool, path)


def test_patterns_lead_nowhere(tmp_path: Path) -> None:
    world = World(tmp_path)
    box = Box(world.work)
    for pattern in ("../*", "/etc/*", "out/*", ".git/**", "**/.git/**", "--files", "-e x"):
        assert "secret.txt" not in box.run("list-files", pattern=pattern).text
        assert "passwd" not in box.run("search-code", pattern=pattern, glob=pattern).text
        assert "[core]" not in box.run("search-code", pattern=r"\[core", glob=pattern).text


def test_a_hard_link_to_the_history_is_not_written_through(tmp_path: Path) -> None:
    world = World(tmp_path)
    box = Box(world.work)
    box.run("read-file", path="hard")
    assert not box.run("write-file", path="hard", content="mine").is_error
    assert world.outside() == world.before


def test_links_that_stay_inside_are_followed(tmp_path: Path) -> None:
    world = World(tmp_path)
    (world.work / "good").symlink_to("inside/ok.txt")
    (world.work / "absolute").symlink_to(world.work / "inside")
    box = Box(world.work)
    assert "fine" in box.run("read-file", path="good").text
    assert "fine" in box.run("read-file", path="absolute/ok.txt").text
    assert "fine" in box.run("read-file", path="inside/../inside/./ok.txt").text
    assert not box.run("edit-file", path="good", old_string="fine", new_string="better").is_error
    assert (world.work / "good").is_symlink()
    assert (world.work / "inside" / "ok.txt").read_text() == "better\n"


def test_a_folder_that_becomes_a_link_while_it_is_walked_leads_nowhere(tmp_path: Path) -> None:
    world = World(tmp_path)
    (world.work / "a").mkdir()
    (world.work / "a" / "secret.txt").write_text("harmless\n")
    stop = threading.Event()

    def swap() -> None:
        a, b = world.work / "a", world.work / "b"
        while not stop.is_set():
            with contextlib.suppress(OSError):
                os.rename(a, b)
            with contextlib.suppress(FileExistsError):
                os.symlink("..", a)
                os.unlink(a)
            shutil.rmtree(a, ignore_errors=True)  # write-file may have made the folder meanwhile
            with contextlib.suppress(OSError):
                os.rename(b, a)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:

        async def race() -> None:
            for _each in range(400):
                box = Box(world.work)
                assert SECRET not in (await box.call("read-file", path="a/secret.txt")).text
                await box.call("write-file", path="a/secret.txt", content="harmless\n")
                await box.call("write-file", path="a/made.txt", content="harmless\n")
                assert SECRET not in (await box.call("search-code", pattern="PRECIOUS", path="a")).text

        asyncio.run(race())
    finally:
        stop.set()
        swapping.join()
    assert world.outside() == world.before


@pytest.mark.skipif(bool(unavailable()), reason="bwrap does not work here")
def test_the_shell_in_the_sandbox_leads_nowhere(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    world = World(tmp_path)
    (world.work / "hard").unlink()
    box = Box(world.work, sandbox=policy("bwrap", "none", [world.work]))
    many = 400 if pytestconfig.getoption("--long") else 60
    for start in range(0, many, 20):
        lines = []
        for path in paths(world, 20, start):
            word = "'" + path.replace("\0", "").replace("'", "'\\''") + "'"
            lines.append(f"cat {word}; echo OVERWRITTEN > {word}; rm -f {word}; ln -f {word} stolen && cat stolen")
        lines.append(f"cat {world.base}/secret.txt; echo x > {world.base}/made; mkdir -p {world.base}/m; true")
        assert SECRET not in box.run("shell", command="\n".join(lines), timeout=30).text
    assert world.outside() == world.before
