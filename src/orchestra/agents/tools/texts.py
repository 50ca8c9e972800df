"""Files as texts: encoding and line ends are detected on reading and kept on writing."""

from __future__ import annotations

import codecs
import contextlib
import os
import secrets
import stat
from dataclasses import dataclass

from orchestra.agents.tools import ToolError
from orchestra.agents.tools.paths import FilePlace, regular
from orchestra.graph.report import plural

LARGEST = 16 * 1024 * 1024
"""Bytes of a file that is edited or overwritten as a whole."""

_LOOKED_AT = 8192

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a text is kept: encoding, byte order mark, and ``newline`` where all its lines end alike."""

    encoding: str = "utf-8"
    mark: bytes = b""
    newline: str = "\n"


def form_of(data: bytes, path: str, size: int) -> Form:
    """Return the form of a file by its first bytes. Raises ``ToolError`` for a binary file, with its size."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return Form(encoding=encoding, mark=mark)
    if b"\0" in data[:_LOOKED_AT]:
        raise ToolError(f"{path} is a binary file of {plural(size, 'byte')}; it is not shown")
    with contextlib.suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(data)
        return Form()
    return Form(encoding="latin-1")


@dataclass(frozen=True, slots=True)
class TextFile:
    """A whole file: its text, its form, its permissions, and the status by which a change is noticed."""

    text: str
    form: Form
    mode: int
    facts: tuple[int, int]


def facts_of(found: os.stat_result) -> tuple[int, int]:
    """Return the modification time and the size, by which a change is noticed."""
    return (found.st_mtime_ns, found.st_size)


def load(place: FilePlace) -> TextFile:
    """A file as a text. Raises ``ToolError`` for one that is missing, binary or too large."""
    try:
        descriptor = place.open(os.O_RDONLY)
    except FileNotFoundError:
        raise place.missing() from None
    with open(descriptor, "rb", buffering=0) as file:
        found = regular(descriptor, place.path)
        if found.st_size > LARGEST:
            raise ToolError(f"{place.path} has {found.st_size} bytes; at most {LARGEST} can be edited as a whole")
        data = file.readall() or b""
    form = form_of(data, place.path, len(data))
    text = data[len(form.mark) :].decode(form.encoding, "surrogateescape" if form.encoding == "utf-8" else "strict")
    ends = {"\r\n" if "\r\n" in text and text.count("\n") == text.count("\r\n") else "\n"}
    return TextFile(
        text,
        Form(encoding=form.encoding, mark=form.mark, newline=ends.pop()),
        stat.S_IMODE(found.st_mode),
        facts_of(found),
    )


def encode(text: str, form: Form, path: str) -> bytes:
    """A text's bytes in a file's form. Raises ``ToolError`` for characters that it has not."""
    try:
        return form.mark + text.encode(form.encoding, "surrogateescape" if form.encoding == "utf-8" else "strict")
    except UnicodeEncodeError as error:
        raise ToolError(
            f"{path} is encoded in {form.encoding}, which has no {error.object[error.start]!r}"
        ) from error


def store(place: FilePlace, data: bytes, mode: int | None) -> tuple[int, int]:
    """Replace a file atomically: no reader sees half of it, and no other link is written through.

    ``mode`` are the permissions to keep, None for a new file. Returns the new facts.
    """
    if place.name == ".":
        raise ToolError("that is the working folder itself")
    found = place.stat()
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise ToolError(f"{place.path} is not a regular file")
    name = f".orchestra-{secrets.token_hex(8)}"
    descriptor = os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=place.parent
    )
    try:
        with open(descriptor, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            if mode is not None:
                os.fchmod(descriptor, mode)
            facts = facts_of(os.fstat(descriptor))
        os.rename(name, place.name, src_dir_fd=place.parent, dst_dir_fd=place.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=place.parent)
        raise
    return facts
