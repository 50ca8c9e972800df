"""``list-files`` and ``search-code``: by ripgrep where it is present, else by Python (A30)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import re2

from orchestra.agents.tools import FunctionTool, ToolContext, ToolError, ToolResult
from orchestra.agents.tools.paths import FORBIDDEN, FilePlace, forbidden, inside
from orchestra.agents.tools.schemas import schema, string, text
from orchestra.run.outcome import Json

MOST_FILES = 1000
"""Files that a listing shows."""

MOST_BYTES = 1024 * 1024
"""Bytes of matches after which a search is ended."""

SECONDS = 60.0
"""Seconds after which a search is ended."""

_COLUMNS = 500
_SEARCHED = 4 * 1024 * 1024


@cache
def ripgrep() -> str | None:
    """Where ripgrep is; None where it is not, or cannot be run in a folder by its descriptor."""
    return shutil.which("rg") if Path("/proc/self/fd").exists() else None


@dataclass(frozen=True, slots=True)
class _Found:
    """What ripgrep wrote, and whether it was ended before it was done."""

    data: bytes
    cut: bool


async def _ripgrep(place: FilePlace, arguments: Sequence[str]) -> _Found:
    """Run ripgrep in a folder that is open, so that it cannot be led to another. Raises ``ToolError``."""
    descriptor = place.open(os.O_RDONLY | os.O_DIRECTORY)
    try:
        process = await asyncio.create_subprocess_exec(
            ripgrep() or "rg",
            "--no-config",
            *arguments,
            cwd=f"/proc/self/fd/{descriptor}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
        )
    finally:
        os.close(descriptor)
    try:
        async with asyncio.timeout(SECONDS):
            return await _read(process)
    except TimeoutError:
        raise ToolError(f"the search took more than {SECONDS:g} seconds; narrow it down by path or glob") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _read(process: asyncio.subprocess.Process) -> _Found:
    assert process.stdout is not None
    assert process.stderr is not None
    data = bytearray()
    while piece := await process.stdout.read(256 * 1024):
        data += piece
        if len(data) > MOST_BYTES:
            return _Found(
                bytes(data[: data.rindex(b"\n", 0, MOST_BYTES) + 1 if b"\n" in data else MOST_BYTES]), True
            )
    problem = await process.stderr.read(4096)
    code = await process.wait()
    if code > 1 and not data:
        raise ToolError(problem.decode("utf-8", "replace").strip() or f"ripgrep ended with {code}")
    return _Found(bytes(data), False)


_WITHOUT = [word for name in sorted(FORBIDDEN) for word in ("--iglob", f"!{name}")]


async def list_files(repo: str, arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
    """The files whose path matches a pattern, sorted."""
    pattern = string(arguments, "pattern", "**/*")
    with inside(context.folder(repo), string(arguments, "path", ".")) as place:
        _folder(place)
        if ripgrep():
            found = await _ripgrep(place, ("--files", "--hidden", *_WITHOUT, "--null"))
            paths = [_join(place, path) for path in found.data.decode("utf-8", "replace").split("\0") if path]
        else:
            paths = await asyncio.to_thread(lambda: [_join(place, path) for path in _walk(place)])
    matching = sorted(path for path in paths if _matches(path, pattern, place))
    if not matching:
        return ToolResult(text=f"no file matches {pattern}")
    more = len(matching) - MOST_FILES
    listed = "\n".join(matching[:MOST_FILES])
    return ToolResult(text=f"{listed}\n[… {more} more files; narrow the pattern]" if more > 0 else listed)


def _folder(place: FilePlace) -> None:
    found = place.stat()
    if found is None:
        raise place.missing()
    if not stat.S_ISDIR(found.st_mode):
        raise ToolError(f"{place.path} is not a folder")


def _join(place: FilePlace, path: str) -> str:
    path = path.removeprefix("./")
    return path if place.path == "." else f"{place.path}/{path}"


def _matches(path: str, pattern: str, place: FilePlace) -> bool:
    """Whether a path matches a pattern; one without a slash is compared with the name."""
    own = path if place.path == "." else path.removeprefix(f"{place.path}/")
    pattern = pattern.removeprefix("./")
    if "/" not in pattern:
        return PurePosixPath(own).match(pattern) or pattern in ("**", "")
    return _glob(pattern).fullmatch(own) is not None


@cache
def _glob(pattern: str):  # type: ignore[no-untyped-def]
    """Return a glob as a regular expression: ``**``, ``*``, ``?`` and ``{a,b}``."""
    words: list[str] = []
    index = depth = 0
    while index < len(pattern):
        rest, character = pattern[index:], pattern[index]
        if rest.startswith("**/"):
            words.append("(?:[^/]+/)*")
            index += 3
            continue
        if rest.startswith("**"):
            words.append(".*")
            index += 2
            continue
        depth += (character == "{") - (character == "}" and depth > 0)
        words.append(_GLOB.get(character, "|" if character == "," and depth else re2.escape(character)))
        index += 1
    try:
        return re2.compile("".join(words))
    except re2.error as error:
        raise ToolError(f"{pattern} is not a glob pattern") from error


_GLOB = {"*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")"}


def _walk(place: FilePlace) -> Iterator[str]:
    """Every file below a folder, by descriptors, links not followed."""
    top = place.open(os.O_RDONLY | os.O_DIRECTORY)
    try:
        for here, folders, names, _descriptor in os.fwalk(".", dir_fd=top, follow_symlinks=False):
            folders[:] = sorted(name for name in folders if not forbidden(name))
            for name in sorted(names):
                if not forbidden(name):
                    yield f"{here}/{name}".removeprefix("./")
    finally:
        os.close(top)


async def search_code(repo: str, arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
    """Lines that match a regular expression, as ``path:line:text``."""
    pattern, glob = string(arguments, "pattern"), string(arguments, "glob")
    if not pattern:
        raise ToolError("pattern is empty")
    with inside(context.folder(repo), string(arguments, "path", ".")) as place:
        found = place.stat()
        if found is None:
            raise place.missing()
        if stat.S_ISREG(found.st_mode):
            single = place.name
            target = FilePlace(place.parent, ".", place.path.rpartition("/")[0] or ".", place.root)
        else:
            _folder(place)
            single, target = "", place
        if ripgrep():
            lines, cut = await _by_ripgrep(target, pattern, glob, single)
        else:
            lines, cut = await asyncio.to_thread(_by_python, target, pattern, glob, single)
    if not lines:
        return ToolResult(text=f"no match for {pattern}")
    body = "\n".join(lines)
    return ToolResult(
        text=f"{body}\n[… ended after {MOST_BYTES} bytes; narrow it by path or glob]" if cut else body
    )


async def _by_ripgrep(place: FilePlace, pattern: str, glob: str, single: str) -> tuple[list[str], bool]:
    arguments = ["--line-number", "--no-heading", "--with-filename", "--null", "--color=never", "--hidden"]
    arguments += [f"--max-columns={_COLUMNS}", "--max-columns-preview", *_WITHOUT]
    arguments += ["--glob", glob] if glob else []
    found = await _ripgrep(place, (*arguments, "--regexp", pattern, "--", f"./{single}"))
    rows = [line.split("\0", 1) for line in found.data.decode("utf-8", "replace").splitlines() if "\0" in line]
    rows.sort(key=lambda row: row[0])
    return [f"{_join(place, path)}:{rest}" for path, rest in rows], found.cut


def _by_python(place: FilePlace, pattern: str, glob: str, single: str) -> tuple[list[str], bool]:
    try:
        wanted = re2.compile(pattern)
    except re2.error as error:
        raise ToolError(f"{pattern} is not a regular expression: {error}") from error
    lines: list[str] = []
    size = 0
    for path in [single] if single else _walk(place):
        if glob and not _matches(_join(place, path), glob, place):
            continue
        for number, line in _content(place, path):
            if wanted.search(line):
                shown = line if len(line) <= _COLUMNS else f"{line[:_COLUMNS]} […]"
                lines.append(f"{_join(place, path)}:{number}:{shown}")
                size += len(lines[-1])
        if size > MOST_BYTES:
            return lines, True
    return lines, False


def _content(place: FilePlace, path: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file; none if it is binary, too large or missing."""
    try:
        top = os.open(place.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place.parent)
    except OSError:
        return
    data = b""
    try:
        with inside(Path(f"/proc/self/fd/{top}"), path) as file:
            descriptor = file.open(os.O_RDONLY)
            with open(descriptor, "rb", buffering=0) as opened:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    data = opened.read(_SEARCHED) or b""
    except (OSError, ToolError):
        return
    finally:
        os.close(top)
    if b"\0" not in data[:8192]:
        yield from enumerate(data.decode("utf-8", "replace").splitlines(), 1)


def search_tools(repo: str, prefix: str) -> list[FunctionTool]:
    """The two tools for one repository."""

    async def listing(arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
        return await list_files(repo, arguments, context)

    async def searching(arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
        return await search_code(repo, arguments, context)

    return [
        FunctionTool(
            name=f"{prefix}list-files",
            description="List files by a glob pattern such as **/*.py or src/**; a pattern without a slash is "
            f"matched with the file's name. At most {MOST_FILES} are shown; ignored files are left out.",
            parameters=schema(
                "", pattern=text("Glob pattern; all files without it."), path=text("Folder to list.")
            ),
            function=listing,
            read_only=True,
        ),
        FunctionTool(
            name=f"{prefix}search-code",
            description="Search files for a regular expression (Rust syntax, by line). Shows path:line:text.",
            parameters=schema(
                "pattern",
                pattern=text("Regular expression."),
                path=text("Folder or file to search in."),
                glob=text("Only files that match this glob, such as *.py."),
            ),
            function=searching,
            read_only=True,
        ),
    ]
