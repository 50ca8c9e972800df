"""The expressions ``{{ dotted.name }}`` in a shell command, and how the shell quotes their place.

The tool handler puts values in by it, the linter warns by it (engine.md#tool-nodes). The reader knows words,
quotes, expansions, here-documents, comments and which word of a command is code; it does not run or expand
anything. What it cannot tell it takes for plain text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, TypeAlias

from orchestra.graph.shell_words import SHELLS, SPEAKERS, Word, base, code_words, from_command_word

Place: TypeAlias = Literal["bare", "double", "single"]
"""How the shell reads the place: unquoted, inside double quotes or an unquoted here-document, inside
single quotes."""

TEMPLATE_WORDS = frozenset(
    "block break continue define else end false if len nil not range template true with".split()
)
"""Words of Go's templates that may stand alone in braces: they belong to the program that is called."""

_EXPRESSION = re.compile(r"\{\{\s*([A-Za-z0-9_][\w-]*(?:\.[\w-]+|\[[0-9]+\])*)\s*(\|\s*raw\s*)?\}\}", re.ASCII)
_DELIMITER = re.compile(r"[ \t]*((?:'[^'\n]*'|\"[^\"\n]*\"|\\.|[^\s'\"\\;|&<>()])+)", re.DOTALL)


class Expression(NamedTuple):
    """One expression: its offsets, its name, whether ``| raw`` opts out, and where it stands.

    ``hazard`` names what would read the value as code (``$( )``, ``back quotes``, ``eval``, ``sh -c``,
    ``a quoted here-document``); ``foreign`` names another program that would (``python -c``, ``ssh``).
    """

    start: int
    end: int
    name: str
    raw: bool
    place: Place = "bare"
    hazard: str = ""
    foreign: str = ""

    @property
    def root(self) -> str:
        """The first word of the dotted name."""
        return self.name.partition(".")[0].partition("[")[0]


def expressions(command: str, roots: Container[str] | None = None) -> tuple[Expression, ...]:
    """Yield every expression in order, of any root or of ``roots`` alone; other braces are the shell's."""
    if "{{" not in command:
        return ()
    found = [
        Expression(m.start(), m.end(), m[1], m[2] is not None)
        for m in _EXPRESSION.finditer(command)
        if m[1] not in TEMPLATE_WORDS and (roots is None or m[1].partition(".")[0] in roots)
    ]
    if not found:
        return ()
    return _ShellReader(command, found).read()


_PLACES: dict[str, Place] = {
    "commands": "bare",
    "$( )": "bare",
    "back quotes": "bare",
    "double": "double",
    "here": "double",
}
_HAZARDS = {"$( )": "$( )", "back quotes": "back quotes", "arithmetic": "$( )"}


@dataclass(slots=True)
class _HereDocument:
    """A here-document that was announced and whose body comes after the line."""

    delimiter: str
    quoted: bool
    tabs: bool
    shell: str = ""


@dataclass(slots=True)
class _OpenConstruct:
    """Something open: a list of commands, a pair of quotes, an expansion, the body of a here-document."""

    kind: str
    limit: int
    place: Place = "bare"
    hazard: str = ""
    foreign: str = ""
    after: int = 0
    parens: int = 0
    cases: int = 0
    words: list[Word] = field(default_factory=list)
    word: Word | None = None
    documents: list[_HereDocument] = field(default_factory=list)

    def inner(self, kind: str, *, parens: int = 0) -> _OpenConstruct:
        """What opens inside: it is read as what is around it, unless its kind says otherwise."""
        place, hazard = _PLACES.get(kind, self.place), _HAZARDS.get(kind, self.hazard)
        return _OpenConstruct(kind, self.limit, place, hazard, self.foreign, parens=parens)


_COMMANDS = re.compile(r"\\.|['\"`]|\$\(\(|\$[({']|<<<|<<-?|\{\{|[();|&\n#]|[ \t]+", re.DOTALL)
_DOUBLE = re.compile(r"\\.|[\"`]|\$\(\(|\$[({]|\{\{", re.DOTALL)
_HERE = re.compile(r"\\.|`|\$\(\(|\$[({]|\{\{", re.DOTALL)
_PARAMETER = re.compile(r"\\.|['\"`}]|\$\(\(|\$[({]|\{\{", re.DOTALL)
_ARITHMETIC = re.compile(r"`|\$\(\(|\$[({]|[()]|\{\{")

_TOKENS = {
    "commands": _COMMANDS,
    "$( )": _COMMANDS,
    "back quotes": _COMMANDS,
    "double": _DOUBLE,
    "here": _HERE,
    "parameter": _PARAMETER,
    "arithmetic": _ARITHMETIC,
}
_LISTS = frozenset({"commands", "$( )", "back quotes"})


class _ShellReader:
    """Goes through a command once, from token to token, with a stack of what is open."""

    def __init__(self, text: str, found: list[Expression]) -> None:
        self.text = text
        self.found = found
        self.at = {expression.start: index for index, expression in enumerate(found)}
        self.frames = [_OpenConstruct("commands", len(text))]
        self.lists = [self.frames[0]]
        self.pending: deque[_HereDocument] = deque()

    def read(self) -> tuple[Expression, ...]:
        """The expressions with their places."""
        position = 0
        while self.frames:
            position = self._token(position)
        return tuple(self.found)

    def _token(self, position: int) -> int:
        frame = self.frames[-1]
        match = _TOKENS[frame.kind].search(self.text, position, frame.limit)
        if match is None:
            self._literal(self.text[position : frame.limit])
            return self._close_at_limit(frame)
        if match.start() > position:
            self._literal(self.text[position : match.start()])
        token = match.group()
        if token == "{{":
            return self._expression(match.start())
        if token[0] == "\\":
            if token != "\\\n":
                self._literal(token[1:])
            return match.end()
        common = self._OPENING.get(token)
        if common is not None and not (token == "`" and frame.kind == "back quotes"):
            return common(self, match.end())
        return self._own(frame, token, match.start(), match.end())

    def _own(self, frame: _OpenConstruct, token: str, start: int, end: int) -> int:
        """Tokens that mean something in the open frame only."""
        match frame.kind:
            case "double" | "parameter" if token == ('"' if frame.kind == "double" else "}"):
                self._pop()
            case "parameter" if token == '"':
                self._push(frame.inner("double"))
            case "parameter" if token == "'" and frame.place == "bare":
                return self._single(frame, start, end)
            case "arithmetic":
                return self._arithmetic(frame, token, end)
            case kind if kind in _LISTS:
                return self._in_list(frame, token, start, end)
            case _:
                self._literal(token)
        return end

    def _arithmetic(self, frame: _OpenConstruct, token: str, end: int) -> int:
        frame.parens += 1 if token == "(" else -1
        if frame.parens == 0:
            self._pop()
        return end

    def _in_list(self, frame: _OpenConstruct, token: str, start: int, end: int) -> int:
        special = self._LISTED.get(token)
        if special is not None:
            return special(self, frame, start, end)
        if token.isspace():
            self._end_word(frame)
        elif token in {"<<", "<<-"}:
            return self._announce(frame, token, end)
        elif token == "<<<":
            self._end_word(frame)
        elif token == "&" and (self.text[start - 1 : start] == ">" or self.text[end : end + 1] == ">"):
            self._literal(token)
        else:
            self._end_command(frame)
        return end

    def _single(self, frame: _OpenConstruct, _start: int, end: int) -> int:
        close = self.text.find("'", end, frame.limit)
        return self._skip_quoted(end, frame.limit if close < 0 else close)

    def _skip_escaped(self, frame: _OpenConstruct, _start: int, end: int) -> int:
        close = end
        while close < frame.limit and self.text[close] != "'":
            close += 2 if self.text[close] == "\\" else 1
        return self._skip_quoted(end, min(close, frame.limit))

    def _skip_quoted(self, start: int, close: int) -> int:
        at = self.text.find("{{", start, close)
        while at >= 0:
            if at in self.at:
                self._place(at, "single")
            at = self.text.find("{{", at + 1, close)
        self._literal(self.text[start:close])
        return close + 1

    def _double(self, _frame: _OpenConstruct, _start: int, end: int) -> int:
        return self._open("double", end)

    def _comment(self, frame: _OpenConstruct, start: int, end: int) -> int:
        if frame.word is not None:
            self._literal("#")
            return end
        newline = self.text.find("\n", start, frame.limit)
        return frame.limit if newline < 0 else newline

    def _newline(self, frame: _OpenConstruct, _start: int, end: int) -> int:
        self._end_command(frame)
        return self._body(end) if self.pending else end

    def _paren(self, frame: _OpenConstruct, _start: int, end: int) -> int:
        self._end_command(frame)
        frame.parens += 1
        return end

    def _close_paren(self, frame: _OpenConstruct, _start: int, end: int) -> int:
        self._end_command(frame)
        if frame.parens:
            frame.parens -= 1
        elif frame.kind == "$( )" and not frame.cases:
            self._pop()
        return end

    def _close_back(self, frame: _OpenConstruct, _start: int, end: int) -> int:
        self._end_command(frame)
        self._pop()
        return end

    def _open(self, kind: str, end: int, parens: int = 0) -> int:
        self._literal("")
        self._push(self.frames[-1].inner(kind, parens=parens))
        return end

    def _push(self, frame: _OpenConstruct) -> None:
        self.frames.append(frame)
        if frame.kind in _LISTS:
            self.lists.append(frame)

    def _pop(self) -> _OpenConstruct:
        frame = self.frames.pop()
        if frame.kind in _LISTS:
            self.lists.pop()
        return frame

    def _close_at_limit(self, frame: _OpenConstruct) -> int:
        """Whatever is still open where a here-document or the text ends is closed there."""
        limit = frame.limit
        while self.frames and self.frames[-1].limit == limit:
            closed = self._pop()
            if closed.kind in _LISTS:
                self._end_command(closed)
            if closed.kind == "here":
                return self._body(closed.after) if self.pending else closed.after
        return limit

    def _literal(self, text: str) -> None:
        frame = self.lists[-1] if self.lists else None
        if frame is None or self.frames[-1].kind == "here":
            return
        if frame.word is None:
            frame.word = Word()
            frame.words.append(frame.word)
        # only the beginning of a word decides what it is
        if len(frame.word.text) < 64:
            frame.word.text += text[:64]

    def _end_word(self, frame: _OpenConstruct) -> None:
        if frame.word is not None and len(frame.words) == 1:
            frame.cases += {"case": 1, "esac": -1}.get(frame.word.text, 0)
        frame.word = None

    def _end_command(self, frame: _OpenConstruct) -> None:
        self._end_word(frame)
        if frame.words:
            self._judge(frame)
            frame.words = []
        frame.documents = []

    def _expression(self, start: int) -> int:
        if start not in self.at:
            self._literal("{")
            return start + 1
        return self._place(start, self.frames[-1].place)

    def _place(self, start: int, place: Place) -> int:
        index = self.at[start]
        frame = self.frames[-1]
        self.found[index] = self.found[index]._replace(place=place, hazard=frame.hazard, foreign=frame.foreign)
        if self.lists and frame.kind != "here":
            self._literal("")
            word = self.lists[-1].word
            if word is not None:
                word.expressions.append(index)
        return self.found[index].end

    def _announce(self, frame: _OpenConstruct, token: str, end: int) -> int:
        self._end_word(frame)
        match = _DELIMITER.match(self.text, end, frame.limit)
        if match is None:
            return end
        written = match[1]
        plain = re.sub(r"['\"\\]", "", written)
        document = _HereDocument(plain, quoted=plain != written, tabs=token == "<<-")
        self.pending.append(document)
        frame.documents.append(document)
        return match.end()

    def _body(self, start: int) -> int:
        """Reads the bodies of the announced here-documents, up to the first that is not quoted."""
        limit = self.frames[-1].limit if self.frames else len(self.text)
        while self.pending:
            document = self.pending.popleft()
            end, after = self._extent(document, start, limit)
            if not document.quoted:
                around = self.frames[-1] if self.frames else _OpenConstruct("commands", limit)
                foreign = document.shell or around.foreign
                self._push(_OpenConstruct("here", end, "double", around.hazard, foreign, after))
                return start
            for index in range(self._first(start), self._first(end)):
                self.found[index] = self.found[index]._replace(hazard="a quoted here-document", place="double")
            start = after
        return start

    def _first(self, offset: int) -> int:
        return bisect_left(self.found, offset, key=lambda expression: expression.start)

    def _extent(self, document: _HereDocument, start: int, limit: int) -> tuple[int, int]:
        """Return where the body ends, and where the text continues after its delimiter."""
        at = start
        while at < limit:
            newline = self.text.find("\n", at, limit)
            end = limit if newline < 0 else newline
            line = self.text[at:end]
            if (line.lstrip("\t") if document.tabs else line) == document.delimiter:
                return at, min(end + 1, limit)
            at = end + 1
        return limit, limit

    def _judge(self, frame: _OpenConstruct) -> None:
        words = from_command_word(frame.words)
        if not words:
            return
        name = base(words[0].text)
        if name == "eval":
            for word in words[1:]:
                self._mark(word, hazard="eval")
        elif name == "ssh":
            for word in words[2:]:
                self._mark(word, foreign="ssh")
        elif name not in SPEAKERS:
            for word, hazard, foreign in code_words(words):
                self._mark(word, hazard=hazard, foreign=foreign)
        if name in SHELLS:
            for document in frame.documents:
                document.shell = f"{name} reading a here-document"

    def _mark(self, word: Word, *, hazard: str = "", foreign: str = "") -> None:
        for index in word.expressions:
            old = self.found[index]
            self.found[index] = old._replace(hazard=old.hazard or hazard, foreign=old.foreign or foreign)

    _OPENING: ClassVar[dict[str, Callable[[_ShellReader, int], int]]] = {
        "$((": lambda self, end: self._open("arithmetic", end, 2),
        "$(": lambda self, end: self._open("$( )", end),
        "${": lambda self, end: self._open("parameter", end),
        "`": lambda self, end: self._open("back quotes", end),
    }
    _LISTED: ClassVar[dict[str, Callable[[_ShellReader, _OpenConstruct, int, int], int]]] = {
        "'": _single,
        "$'": _skip_escaped,
        '"': _double,
        "#": _comment,
        "\n": _newline,
        "(": _paren,
        ")": _close_paren,
        "`": _close_back,
    }
