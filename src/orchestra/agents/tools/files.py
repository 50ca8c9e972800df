"""``read-file``, ``write-file`` and ``edit-file``, as models know them from coding agents (A30, A31)."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import BinaryIO

from orchestra.agents.tools import Call, FunctionTool, ToolContext, ToolError, ToolResult
from orchestra.agents.tools.paths import inside, regular
from orchestra.agents.tools.schemas import count, flag, number, schema, string, text
from orchestra.agents.tools.texts import Form, TextFile, encode, facts_of, form_of, load, store
from orchestra.graph.report import plural
from orchestra.run.outcome import Json

LINES = 2000
"""Lines that are shown without a ``limit``."""

WIDTH = 2000
"""Characters of a line that are shown."""

_SCANNED = 256 * 1024 * 1024
"""Bytes that are read over to come to a line."""

_NEAR = 3
"""Near matches that an error shows."""

_COMPARED = 20_000
"""Lines of a file in which near matches are looked for."""


def read_file(repo: str, arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
    """Lines of a file with their numbers."""
    first, limit = number(arguments, "offset", 1), number(arguments, "limit", LINES)
    folder = context.folder(repo)
    with inside(folder, string(arguments, "path")) as place:
        try:
            descriptor = place.open(os.O_RDONLY)
        except FileNotFoundError:
            raise place.missing() from None
        with open(descriptor, "rb") as file:
            found = regular(descriptor, place.path)
            form = form_of(file.peek(65536)[:65536], place.path, found.st_size)
            shown, total = _lines(file, form, first, limit)
        context.read[repo, place.path] = facts_of(found)
        return ToolResult(text=_number_lines(place.path, shown, first, total))


def _lines(file: BinaryIO, form: Form, first: int, limit: int) -> tuple[list[str], int | None]:
    """The lines wanted, and how many there are, None where there are more than were read."""
    if form.encoding.startswith("utf-16"):
        every = file.read(_SCANNED)[len(form.mark) :].decode(form.encoding, "replace").splitlines()
        return [_short(line) for line in every[first - 1 : first - 1 + limit]], len(every)
    file.read(len(form.mark))
    shown: list[str] = []
    at = passed = 0
    unfinished = False
    while passed < _SCANNED:
        piece = file.readline(1024 * 1024)
        if not piece:
            return shown, at
        passed += len(piece)
        if not unfinished:
            at += 1
            if at >= first + limit:
                return shown, None
            if at >= first:
                shown.append(_short(piece.decode(form.encoding, "replace").rstrip("\r\n")))
        unfinished = not piece.endswith(b"\n")
    return shown, None


def _short(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[:WIDTH]}… ({len(line)} characters)"


def _number_lines(path: str, shown: list[str], first: int, total: int | None) -> str:
    if not shown:
        if not total:
            return f"{path} is empty"
        raise ToolError(f"{path} has {plural(total, 'line')}; it has no line {first}")
    body = "\n".join(f"{first + index:6}\t{line}" for index, line in enumerate(shown))
    last = first + len(shown) - 1
    if total is None:
        return f"{body}\n\n[lines {first} to {last}; there are more: read on with offset={last + 1}]"
    if first > 1 or last < total:
        return f"{body}\n\n[lines {first} to {last} of {total}]"
    return body


def read_file_in(folder: Path, path: str) -> str:
    """A whole text file inside a folder, without line numbers. Raises ``ToolError``."""
    with inside(folder, path) as place:
        return load(place).text


def write_file(repo: str, arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
    """Make a file, or replace one that the agent has read."""
    content = string(arguments, "content")
    with inside(context.folder(repo), string(arguments, "path"), make=True) as place:
        old: TextFile | None = None
        if place.stat() is not None:
            _guard(repo, place.path, context, "overwrite it", place.stat())
            old = load(place)
        form = old.form if old is not None else Form()
        if form.newline == "\r\n" and "\r\n" not in content:
            content = content.replace("\n", "\r\n")
        data = encode(content, form, place.path)
        context.read[repo, place.path] = store(place, data, old.mode if old is not None else None)
        lines = content.count("\n") + (not content.endswith("\n") and bool(content))
        verb = "replaced" if old is not None else "created"
        return ToolResult(
            text=f"{verb} {place.path} ({plural(lines, 'line')}, {plural(len(data), 'byte')})",
            files_written=context.tracker.note(repo, [place.path]),
        )


def _guard(repo: str, path: str, context: ToolContext, what: str, found: os.stat_result | None) -> None:
    """Refuse to change what the agent has not seen as it is now."""
    seen = context.read.get((repo, path))
    if seen is None:
        raise ToolError(f"{path} exists and was not read yet; read it with read-file before you {what}")
    if found is not None and seen != facts_of(found):
        raise ToolError(f"{path} was changed since it was read; read it again with read-file before you {what}")


def edit_file(repo: str, arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
    """Replace exact text in a file."""
    old, new = string(arguments, "old_string"), string(arguments, "new_string")
    every = arguments.get("replace_all") is True
    if not old:
        raise ToolError("old_string is empty; use write-file to make a file")
    if old == new:
        raise ToolError("old_string and new_string are the same")
    with inside(context.folder(repo), string(arguments, "path")) as place:
        if place.stat() is None:
            raise ToolError(f"{place.missing()}; use write-file to make it")
        _guard(repo, place.path, context, "edit it", place.stat())
        file = load(place)
        pattern = _pattern(old, file.text)
        places = [match.start() for match in pattern.finditer(file.text)]
        if not places:
            raise ToolError(_missing(place.path, old, file.text))
        if len(places) > 1 and not every:
            lines = ", ".join(str(file.text.count("\n", 0, at) + 1) for at in places[:10])
            raise ToolError(
                f"old_string is {len(places)} times in {place.path} (lines {lines}); give more of the text "
                "around it, or replace_all"
            )
        replacement = _as_lines_end(new, file)
        changed = pattern.sub(lambda _match: replacement, file.text)
        context.read[repo, place.path] = store(place, encode(changed, file.form, place.path), file.mode)
        return ToolResult(
            text=f"edited {place.path}: {len(places)} replaced\n{_around(changed, places[0], replacement)}",
            files_written=context.tracker.note(repo, [place.path]),
        )


def _pattern(old: str, content: str) -> re.Pattern[str]:
    """What is looked for: the exact text, a line's end in the file's own way."""
    if "\r\n" not in content or "\r\n" in old:
        return re.compile(re.escape(old))
    return re.compile("\r?\n".join(re.escape(line) for line in old.split("\n")))


def _as_lines_end(new: str, file: TextFile) -> str:
    if file.form.newline == "\r\n" and "\r\n" not in new:
        return new.replace("\n", "\r\n")
    return new


def _around(content: str, at: int, new: str) -> str:
    """The lines that were changed, with two before and after."""
    lines = content.splitlines()
    first = content.count("\n", 0, at)
    begin, end = max(0, first - 2), min(len(lines), first + new.count("\n") + 3, first + 40)
    return "\n".join(f"{number + 1:6}\t{_short(lines[number])}" for number in range(begin, end))


def _missing(path: str, old: str, content: str) -> str:
    """Why nothing was found, with what is nearest to it."""
    numbered = re.sub(r"(?m)^ *\d+\t", "", old)
    if numbered != old and numbered in content:
        return f"old_string is not in {path}: it has line numbers from read-file in it; leave them out"
    wanted, lines = old.splitlines(), content.splitlines()[:_COMPARED]
    near = _match_spacing(wanted, lines) or _similar(wanted, lines)
    if not near:
        return f"old_string is not in {path}, nor anything like it; read the file again"
    shown = "\n---\n".join(
        "\n".join(
            f"{at + index + 1:6}\t{_short(line)}" for index, line in enumerate(lines[at : at + len(wanted)][:20])
        )
        for at in near
    )
    spaces = _match_spacing(wanted, lines)
    why = "only white space differs" if spaces else "this is nearest to it"
    return f"old_string is not in {path} exactly; {why}:\n{shown}"


def _match_spacing(wanted: list[str], lines: list[str]) -> list[int]:
    """Where the same lines are but for white space."""
    bare = [" ".join(line.split()) for line in wanted]
    plain = [" ".join(line.split()) for line in lines]
    return [at for at in range(len(plain) - len(bare) + 1) if plain[at : at + len(bare)] == bare][:_NEAR]


def _similar(wanted: list[str], lines: list[str]) -> list[int]:
    """Return where the longest wanted line is most similar to a line of the file.

    The place is that of the first wanted line.
    """
    key = max(range(len(wanted)), key=lambda index: len(wanted[index].strip()))
    matcher = SequenceMatcher(b=wanted[key].strip(), autojunk=False)
    rated: list[tuple[float, int]] = []
    for at, line in enumerate(lines):
        matcher.set_seq1(line.strip()[:WIDTH])
        if matcher.real_quick_ratio() > 0.6 and matcher.quick_ratio() > 0.6 and (ratio := matcher.ratio()) > 0.6:
            rated.append((ratio, max(0, at - key)))
    return [at for _ratio, at in sorted(rated, key=lambda pair: -pair[0])[:_NEAR]]


_Plain = Callable[[str, Mapping[str, Json], ToolContext], ToolResult]

_PATH = "Path in the working folder; absolute ones have to lead into it."


def _in_thread(function: _Plain, repo: str) -> Call:
    """A tool of plain file work, off the event loop."""

    async def call(arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
        return await asyncio.to_thread(function, repo, arguments, context)

    return call


def file_tools(repo: str, prefix: str) -> list[FunctionTool]:
    """The three tools for one repository; their names begin with ``prefix``."""
    return [
        FunctionTool(
            name=f"{prefix}read-file",
            description=f"Read a text file. Lines are numbered from 1; at most {LINES} are shown unless limit says "
            "otherwise. Line numbers and the tab after them are not part of the file.",
            parameters=schema(
                "path",
                path=text(_PATH),
                offset=count("First line to show."),
                limit=count("How many lines to show."),
            ),
            function=_in_thread(read_file, repo),
            read_only=True,
        ),
        FunctionTool(
            name=f"{prefix}write-file",
            description="Write a whole file; missing folders are made. An existing file has to be read first, "
            "and keeps its line ends, encoding and permissions.",
            parameters=schema("path content", path=text(_PATH), content=text("The whole text of the file.")),
            function=_in_thread(write_file, repo),
        ),
        FunctionTool(
            name=f"{prefix}edit-file",
            description="Replace exact text in a file that was read before. old_string has to be in it exactly "
            "once, white space included, unless replace_all is true.",
            parameters=schema(
                "path old_string new_string",
                path=text(_PATH),
                old_string=text("The exact text to replace."),
                new_string=text("The text to put in its place."),
                replace_all=flag("Replace every occurrence."),
            ),
            function=_in_thread(edit_file, repo),
        ),
    ]
