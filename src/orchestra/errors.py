"""Where in a text something is, what is wrong with it, and the tree of our exceptions.

::

    OrchestraError
    ├─ SourceError        the author's text, with a span
    │  ├─ DotError
    │  ├─ ConditionError
    │  └─ StylesheetError
    ├─ InvalidPipeline    carries the diagnostics
    ├─ ConfigError        the operator's settings, with a span where there is a file
    │  ├─ InvalidConfig       carries every fault of a settings file
    │  └─ CredentialsMissing  a secret that is needed has no value
    ├─ Undecided          a person has to say how a session continues
    ├─ StoreError
    │  ├─ StoreUnreachable   the store does not answer
    │  ├─ StoreFull          no room, read-only, or too many open files (S20)
    │  ├─ SessionNotFound    nothing by that name
    │  ├─ SessionTaken       another process holds the session (S16)
    │  ├─ UnknownEvent       written by a newer program (S10)
    │  └─ Damaged            bytes that fail their check sum (S8)
    ├─ BackendError
    │  ├─ Transient       worth another attempt
    │  └─ Terminal        will fail the same way again
    └─ WorkspaceError     a git command and what it said

A pipeline's own failure is no exception: it is an ``Outcome``.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


@dataclass(slots=True, eq=False, repr=False)
class Source:
    """A text and the name it goes by in messages; offsets become lines and columns on demand."""

    name: str
    text: str
    _starts: list[int] | None = field(default=None, init=False)

    def __repr__(self) -> str:
        return f"Source({self.name!r}, {len(self.text)} characters)"

    def position(self, offset: int) -> tuple[int, int]:
        """The line and column of a character offset, both counted from 1, columns in characters."""
        starts = self._line_starts()
        line = bisect_right(starts, offset) - 1
        return line + 1, offset - starts[line] + 1

    def line(self, number: int) -> str:
        """Line ``number`` (from 1) without its line break; empty outside the text."""
        starts = self._line_starts()
        if not 1 <= number <= len(starts):
            return ""
        end = starts[number] if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end].rstrip("\r\n")

    def _line_starts(self) -> list[int]:
        if self._starts is None:
            starts = [0]
            find = self.text.find
            at = find("\n")
            while at >= 0:
                starts.append(at + 1)
                at = find("\n", at + 1)
            self._starts = starts
        return self._starts


class Span(NamedTuple):
    """A stretch of a source: character offsets, ``end`` not included (L10)."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        """The line it begins on, from 1."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """The column it begins at, from 1, in characters."""
        return self.source.position(self.start)[1]

    @property
    def length(self) -> int:
        """How many characters it covers."""
        return self.end - self.start

    @property
    def text(self) -> str:
        """The characters it covers."""
        return self.source.text[self.start : self.end]


class Edit(NamedTuple):
    """A change to a source: the characters of ``span`` become ``text``; an empty span is an insertion."""

    span: Span
    text: str


class Severity(StrEnum):
    """How bad a diagnostic is; an ERROR refuses the run."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One finding about a pipeline (diagnostics.md).

    ``node`` is a node id; ``edge`` is a (source id, target id) pair; ``fix`` is one sentence or a
    piece of text that would fix it, empty if none is known. ``edits`` are that fix as changes to the text, all
    of which belong together; empty where the author has to decide. ``nodes`` are all the nodes that it is about,
    where several have the same problem.
    """

    rule: str
    severity: Severity
    message: str
    span: Span | None = None
    node: str | None = None
    edge: tuple[str, str] | None = None
    fix: str = ""
    edits: tuple[Edit, ...] = ()
    nodes: tuple[str, ...] = ()


class OrchestraError(Exception):
    """Anything of ours that went wrong, other than a pipeline's own failure."""


class SourceError(OrchestraError):
    """The author's text is wrong at ``start``..``end`` (character offsets in that text).

    ``put`` is what to write there instead; None where that is not known.
    """

    def __init__(
        self, message: str, *, start: int = 0, end: int | None = None, fix: str = "", put: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = start + 1 if end is None else end
        self.fix = fix
        self.put = put


class DotError(SourceError):
    """A DOT text that is not in the language."""


class ConditionError(SourceError):
    """An edge condition that cannot be read; offsets are inside the condition's text."""


class StylesheetError(SourceError):
    """A model stylesheet that cannot be read; offsets are inside the stylesheet's text."""


class InvalidPipeline(OrchestraError):
    """A pipeline with at least one ERROR among its diagnostics."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        errors = [d for d in diagnostics if d.severity is Severity.ERROR]
        super().__init__(errors[0].message if errors else "the pipeline is invalid")
        self.diagnostics = diagnostics


class ConfigError(OrchestraError):
    """A setting that cannot be used, with its place in the file where it came from one."""

    def __init__(self, message: str, *, span: Span | None = None, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.fix = fix


class InvalidConfig(ConfigError):
    """A settings file with at least one fault; the first is the message."""

    def __init__(self, faults: tuple[ConfigError, ...]) -> None:
        super().__init__(faults[0].message, span=faults[0].span, fix=faults[0].fix)
        self.faults = faults


class CredentialsMissing(ConfigError):
    """Secrets that are needed have no values; the message names them (S18)."""


class Undecided(OrchestraError):
    """A person has to decide about an attempt: by ``on_interrupt=ask``, or because its runner died so often."""

    def __init__(self, session: str, node: str, died: int = 0) -> None:
        what = (
            f"the runner died {died} times while it ran {node}"
            if died
            else f"{node} was interrupted while it was running"
        )
        super().__init__(f"{what}; choose whether to {'continue its conversation' if died else 'run it again'}")
        self.session = session
        self.node = node


class StoreError(OrchestraError):
    """The store could not do what was asked; ``fix`` says what to do next."""

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class StoreUnreachable(StoreError):
    """The store does not answer, or refuses to be opened."""


class StoreAbandoned(StoreUnreachable):
    """The store does not answer, and a signal ended the wait for it."""


class StoreGone(StoreUnreachable):
    """What was written is missing: the store's folder was removed, or its server is empty (S21)."""


class StoreFull(StoreError):
    """The store cannot take more: no room, read-only, or too many open files (S20)."""


class SessionNotFound(StoreError):
    """No session, context, turn or blob has that name or id."""


class SessionTaken(StoreError):
    """Another process holds the session (S16)."""


class UnknownEvent(StoreError):
    """An event that this program is too old to read (S10)."""


class Damaged(StoreError):
    """Stored bytes that fail their check sum, with the file and the offset (S8).

    ``turn_id`` is the turn that cannot be read for it, 0 where that is not known.
    """

    def __init__(self, message: str, *, file: str = "", offset: int = 0, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.file = file
        self.offset = offset
        self.turn_id = 0


class BackendError(OrchestraError):
    """A backend that failed."""


class Transient(BackendError):
    """A failure that another attempt may not meet; ``retry_after`` is what a provider asks for, in seconds
    (E21).
    """

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Terminal(BackendError):
    """A failure that another attempt would meet again."""


class WorkspaceError(OrchestraError):
    """A git command that failed, and what it said."""
