"""Parse attribute lists and keys (L4)."""

from __future__ import annotations

import re

from orchestra.errors import Diagnostic, Edit, Severity, Span
from orchestra.graph.attributes import SHAPES, AttributeScope, ValueKind
from orchestra.graph.model import Attribute
from orchestra.graph.parser.draft import Attributes
from orchestra.graph.parser.file import (
    File,
    Resync,
    ends_value,
    error,
    following,
    line_end,
    note_remark,
    on_new_line,
    peek,
    quote_piece,
    show_token,
    skip_wrong_quote,
    token_at,
)
from orchestra.graph.parser.layout import indent_of
from orchestra.graph.parser.typed import legal_id
from orchestra.graph.parser.values import Written, fit, read_value
from orchestra.graph.tokens import ATTRIBUTE, KEY, KEYWORDS, TRIVIA, Token, in_quotes, unescape

_make = tuple.__new__
"""Makes a named tuple in half the time that its name takes."""


def read_blocks(file: File, at: Token, scope: AttributeScope | None) -> tuple[Attributes, Token]:
    """One or more ``[ … ]``."""
    found: Attributes = {}
    while at.is_mark("["):
        at = read_block(file, at, scope, found)
    return found, at


def read_block(file: File, at: Token, scope: AttributeScope | None, found: Attributes) -> Token:
    """One list: in its everyday form attribute by attribute, else word by word."""
    end, text = at.end, file.text
    trivia_at, attribute_at = TRIVIA.match, ATTRIBUTE.match
    file.listing = True
    fresh = True
    while True:
        trivia = trivia_at(text, end)
        match = attribute_at(text, end if trivia is None else trivia.end())
        if match is None or match["key"].lower() in KEYWORDS or (match["word"] or "").lower() in KEYWORDS:
            break
        take_everyday(file, at, match, scope, found)
        end = match.end()
        fresh = text[end] in ",;"
        end += fresh
    return read_rest(file, token_at(file, end), scope, found, opened=at.start, fresh=fresh)


def take_everyday(
    file: File, at: Token, match: re.Match[str], scope: AttributeScope | None, found: Attributes
) -> None:
    """Take an attribute that the quick expression read."""
    kind, source = str(match.lastgroup), file.source
    (start, end), text = match.span(kind), match[kind]
    quoted = kind == "string"
    if quoted:
        start, end, text = start - 1, end + 1, unescape(text)
    key_span = _make(Span, (source, *match.span("key")))
    written = text, quoted, _make(Span, (source, start, end))
    take_attribute(file, at, found, match["key"], key_span, written, scope)


def read_rest(
    file: File, at: Token, scope: AttributeScope | None, found: Attributes, *, opened: int, fresh: bool
) -> Token:
    """Read the rest of a list word by word, up to the closing bracket.

    For what the fast path could not read; ``fresh`` if no attribute comes before.
    """
    while not at.is_mark("]"):
        if at.is_mark(",;"):
            if fresh:
                error(file, at, "nothing before this separator", fix="remove it", put="")
            fresh = True
            at = following(file, at)
            continue
        fresh = False
        if at.kind in ("id", "string") and not begins_statement(file, at):
            at = read_attribute(file, at, scope, found)
        else:
            at = repair_list(file, at, opened)
    file.listing = False
    return following(file, at)


def begins_statement(file: File, at: Token) -> bool:
    """Whether the word at hand rather begins the next statement: an arrow or a bracket follows, or it is a
    name alone on its line, and the list does not continue after it."""
    if at.kind != "id":
        return False
    after = peek(file, at, 2)
    if after[:1] in ("[", "{") or after in ("->", "--"):
        return True
    if not on_new_line(file, at) or after[:1] in ("=", "]", ",", ":"):
        return False
    if re.compile(r"[\w \t\r;]*").fullmatch(file.text, at.end, line_end(file.text, at.end)) is None:
        return False
    match = re.compile(r"[\[\]{}]|->").search(file.text, at.end)
    return match is None or match[0] != "]"


def repair_list(file: File, at: Token, opened: int) -> Token:
    """Report what is wrong inside a list; return where the list continues. Raises ``Resync`` if it does not."""
    after: Token | None
    if at.kind in ("end", "id", "arrow") or (at.is_mark("}") and closes_more(file, at, opened)):
        edits = [(at.before, at.before, "]")]
        message = "this bracket is never closed"
        error(file, at, message, fix="end it with ]", start=opened, end=opened + 1, edits=edits)
        after = None
    elif at.is_mark("}") or at.text == ")":
        error(file, at, f"']' is wanted here, not {show_token(file, at)}", fix="write ]", put="]")
        after = at._replace(text="]", kind="mark")
    elif at.is_mark("="):
        error(file, at, "expected a key before '='", fix="write key=value")
        after = read_value(file, at, "", None)[1]
    elif at.is_mark("["):
        error(file, at, "'[' inside a list", fix="remove it", put="")
        after = following(file, at)
    elif (after := skip_wrong_quote(file, at)) is not None:
        after = read_value(file, after, "", None)[1] if after.is_mark("=") else after
    elif file.text.startswith('"', at.start - 1) and at.touches:
        fix = 'write \\" for a quote inside a text'
        error(file, at, "the text ends at this quote", fix=fix, start=at.start - 1, end=at.start)
        after = skip_to(file, at, "]")
    else:
        message = f"expected an attribute key=value or ']', not {show_token(file, at)}"
        error(file, at, message, fix="write key=value")
        after = skip_to(file, at, "]")
    if after is None:
        file.listing = False
        raise Resync(at)
    return after


def closes_more(file: File, at: Token, opened: int) -> bool:
    """Whether a closing brace rather ends the graph or a subgraph than the list that began at ``opened``."""
    if not peek(file, at):
        return True
    return on_new_line(file, at) and indent_of(file.text, at.start) != indent_of(file.text, opened)


def skip_to(file: File, at: Token, marks: str) -> Token | None:
    """Return the first of these marks on this line that is not in a text; None where there is none."""
    line = line_end(file.text, at.start)
    marks = re.escape(marks)
    pieces = re.compile(rf'"(?:[^"\\\n]|\\.)*"|[^{marks}"\n]+|([{marks}])|(")')
    found = next((match for match in pieces.finditer(file.text, at.start, line) if match.lastindex), None)
    if found is None:
        return None
    offset = found.start() if found[1] else file.text.rfind("]", at.start, line)
    return token_at(file, offset) if offset >= 0 else None


def read_attribute(file: File, at: Token, scope: AttributeScope | None, found: Attributes) -> Token:
    """Take one ``key=value``."""
    start, bare = at.start, at.kind == "id"
    key, at = read_hyphened(file, at, scope) or read_key(file, at)
    key_span = Span(file.source, start, at.before)
    if at.kind == "point" and at.text == ":":
        doubled = peek(file, at) == "="
        put = "" if doubled else "="
        error(file, at, f"':' after {quote_piece(key)}", fix=f"write {key}=", put=put)
        if doubled:
            at = following(file, at)
    elif not at.is_mark("="):
        return note_no_equals(file, at, key, key_span, bare=bare, scope=scope)
    check_key(file, at, key, key_span)
    written, at = read_value(file, at, key, scope)
    if written is not None:
        take_attribute(file, at, found, key, key_span, written, scope)
    return at


def read_hyphened(file: File, at: Token, scope: AttributeScope | None) -> tuple[str, Token] | None:
    """Note a key with hyphens, and read it as the key that was meant; None where none stands here."""
    match = re.compile(r"\w[\w.]*(?:-[\w.]+)+(?=[ \t]*=)").match(file.text, at.start)
    if match is None or at.kind != "id":
        return None
    plain = match[0].replace("-", "_")
    dotted = plain.replace("_", ".", 1)
    key = dotted if scope is not None and not scope.knows(plain) and scope.knows(dotted) else plain
    message = f"a key may have only the letters a-z, digits, _ and dots, not {quote_piece(match[0])}"
    error(file, at, message, fix=f"write {key}", end=match.end(), put=key)
    return key, token_at(file, match.end())


def check_key(file: File, at: Token, key: str, span: Span) -> None:
    """Note a quoted key that is none (L4)."""
    if not KEY.fullmatch(key):
        message = f"a key is a name, or names separated by dots, not {quote_piece(span.text)}"
        legal = legal_id(key)
        error(file, at, message, fix=f"write {legal}", start=span.start, end=span.end, put=legal)


def note_no_equals(
    file: File, at: Token, key: str, key_span: Span, *, bare: bool, scope: AttributeScope | None
) -> Token:
    """A key without ``=``: a text that its own quote ended, words without quotes, or a key alone."""
    begin = key_span.start
    after = skip_words(file, at, begin) if bare else None
    if after is not None:
        return after
    several = 'put a text of several words in "quotes"'
    if begin and file.text[begin - 1] == '"':
        fix = 'write \\" for a quote inside a text' if bare else 'use a single " at each end'
        error(file, at, "the text ends at this quote", fix=fix, start=begin - 1, end=begin)
    elif at.kind in ("string", "number"):
        fix = f"write {key[:40]}={at.text if len(at.text) <= 40 else '…'}"
        edits = [(key_span.end, at.start, "=")]
        error(file, at, f"missing '=' after {quote_piece(key)}", fix=fix, edits=edits)
        return following(file, at)
    elif at.is_mark(",;]") or at.kind == "id":
        entry = None if scope is None else scope.entry(key)
        meant = f"{key[:40]}=…; {several}" if bare else f'label="{key[:40]}"'
        if key in SHAPES or (entry is not None and entry.kind is ValueKind.BOOLEAN):
            meant = f"shape={key}" if key in SHAPES else f"{key}=true"
        message = f"{quote_piece(key)} has no value"
        error(file, at, message, fix=f"write {meant}", start=begin, end=key_span.end, astray=True)
        while at.kind == "id" and peek(file, at) not in ("=", "."):
            at = following(file, at)
        return at
    else:
        message = f"expected '=' after {quote_piece(key)}, not {show_token(file, at)}"
        error(file, at, message, fix=f"write {key[:40]}=…; {several}")
    after = skip_to(file, at, "]")
    if after is None:
        raise Resync(at)
    return after


def skip_words(file: File, at: Token, begin: int) -> Token | None:
    """Note a text of several words without quotes, of which the second is at ``begin``, and skip it."""
    first = file.last_word
    if first.end <= first.start or file.text[first.end : begin].strip(" \t"):
        return None
    match = re.compile(r'(?:[^\n,\]"]|,(?![ \t]*[\w.]+[ \t]*=))*').match(file.text, first.start)
    end = begin if match is None else match.end()
    text = file.text[first.start : end].rstrip()
    shown = text if len(text) <= 40 else text[:39] + "…"
    error(
        file,
        at,
        "a text of several words must be quoted",
        fix=f'write "{shown}"',
        start=first.start,
        end=first.start + len(text),
        astray=not ends_value(file, end),
        put=in_quotes(text),
    )
    return token_at(file, max(end, begin))


def read_key(file: File, at: Token) -> tuple[str, Token]:
    """A key: an id, a dotted id, or either in quotes (L4)."""
    start, key = at.start, at.text
    if at.kind == "string":
        return unescape(key[1:-1]), following(file, at)
    if key.lower() in KEYWORDS:
        message = f"{key!r} is a keyword and cannot be a key"
        error(file, at, message, fix=f'write "{key}" in quotes', put=f'"{key}"')
    at = following(file, at)
    ends_well = True
    while at.kind == "point" and at.text == ".":
        ends_well = ends_well and at.touches
        at = following(file, at)
        if at.kind == "id":
            ends_well = ends_well and at.touches
            key += "." + at.text
            at = following(file, at)
        else:
            ends_well = False
    if not ends_well:
        message = "a dot in a key must be between two names"
        error(file, at, message, fix=f"write {key}", start=start, end=at.before, put=key)
    return key, at


def note_twice(file: File, earlier: Attribute, key_span: Span) -> None:
    """Note that a list gives an attribute once more: the later value counts."""
    line = file.source.position(earlier.key_span.start)[0]
    after = re.compile(r"[ \t]*[,;]?\s*").match(file.text, earlier.span.end)
    end = earlier.span.end if after is None else after.end()
    file.found.append(
        Diagnostic(
            rule="duplicate_attribute",
            severity=Severity.WARNING,
            message=f"{quote_piece(earlier.key)} is given twice: the value in line {line} is ignored",
            span=key_span,
            fix="remove one of them",
            edits=(Edit(Span(file.source, earlier.key_span.start, end), ""),),
        )
    )


def take_attribute(
    file: File,
    at: Token,
    found: Attributes,
    key: str,
    key_span: Span,
    written: Written,
    scope: AttributeScope | None,
) -> None:
    """Put the typed attribute into ``found``; a value that does not fit is an ERROR and is left out (L6)."""
    text, quoted, span = written
    if scope is None:
        found[key] = Attribute(key=key, value=text, key_span=key_span, span=span)
        return
    name = key
    entry = scope.entries.get(key)
    if entry is None:
        name = scope.canonical(key)
        entry = scope.entries.get(name)
        if key in scope.old_words:
            message = f"{key!r} is deprecated; its name is {name!r}"
            note_remark(file, "old_attribute", message, key_span, f"write {name}", name)
    fitting = fit(file, at, entry, key, written)
    if fitting is None:
        return
    value, remark, fix = fitting
    if remark:
        put = fix.split()[1]
        note_remark(file, "duration_unit", remark, span, fix, in_quotes(put) if quoted else put)
    name = name if entry is None else entry.key
    earlier = found.get(name)
    if earlier is not None and file.listing:
        note_twice(file, earlier, key_span)
    found[name] = _make(Attribute, (name, value, key_span, span, "explicit", ()))
