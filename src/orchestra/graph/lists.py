"""Parse attribute lists and keys (L4)."""

from __future__ import annotations

import re

from orchestra.errors import Diagnostic, Edit, Severity, Span
from orchestra.graph.attributes import SHAPES
from orchestra.graph.attributes import AttributeScope as Table
from orchestra.graph.draft import Attributes
from orchestra.graph.model import Attribute
from orchestra.graph.reader import (
    Cursor,
    Resync,
    advance,
    ends_value,
    error,
    indent_of,
    is_mark,
    line_end,
    move_to,
    note_remark,
    on_new_line,
    peek,
    quote_piece,
    show_word,
    skip_wrong_quote,
    touches,
)
from orchestra.graph.texts import fit, read_value
from orchestra.graph.tokens import ATTRIBUTE, KEY, KEYWORDS, TRIVIA, in_quotes, unescape
from orchestra.graph.values import legal_id


def read_blocks(here: Cursor, table: Table | None) -> Attributes:
    """One or more ``[ … ]``."""
    found: Attributes = {}
    while is_mark(here, "["):
        read_block(here, table, found)
    return found


def read_block(here: Cursor, table: Table | None, found: Attributes) -> None:
    """One list: in its everyday form attribute by attribute, else word by word."""
    opened, at, text = here.start, here.end, here.text
    trivia_at, attribute_at = TRIVIA.match, ATTRIBUTE.match
    here.listing = True
    fresh = True
    while True:
        trivia = trivia_at(text, at)
        match = attribute_at(text, at if trivia is None else trivia.end())
        if match is None or match["key"].lower() in KEYWORDS or (match["word"] or "").lower() in KEYWORDS:
            break
        take_everyday(here, match, table, found)
        at = match.end()
        fresh = text[at] in ",;"
        at += fresh
    move_to(here, at)
    read_rest(here, table, found, opened, fresh)


def take_everyday(here: Cursor, match: re.Match[str], table: Table | None, found: Attributes) -> None:
    """Take an attribute that the quick expression read."""
    kind, source = str(match.lastgroup), here.source
    (start, end), text = match.span(kind), match[kind]
    quotes = kind == "string"
    if quotes:
        start, end, text = start - 1, end + 1, unescape(text)
    key_span = Span(source, *match.span("key"))
    take_attribute(here, found, match["key"], key_span, text, quotes, Span(source, start, end), table)


def read_rest(here: Cursor, table: Table | None, found: Attributes, opened: int, fresh: bool) -> None:
    """Read the rest of a list word by word, up to the closing bracket.

    For what the fast path could not read; ``fresh`` if no attribute comes before.
    """
    while not is_mark(here, "]"):
        if is_mark(here, ",;"):
            if fresh:
                error(here, "nothing before this separator", fix="remove it", put="")
            fresh = True
            advance(here)
        elif here.kind in ("id", "string") and not begins_statement(here):
            read_attribute(here, table, found)
            fresh = False
        elif repair_list(here, opened):
            fresh = False
        else:
            here.listing = False
            raise Resync
    here.listing = False
    advance(here)


def begins_statement(here: Cursor) -> bool:
    """Whether the word at hand rather begins the next statement: an arrow or a bracket follows, or it is a
    name alone on its line, and the list does not continue after it."""
    if here.kind != "id":
        return False
    following = peek(here, 2)
    if following[:1] in ("[", "{") or following in ("->", "--"):
        return True
    if not on_new_line(here) or following[:1] in ("=", "]", ",", ":"):
        return False
    if re.compile(r"[\w \t\r;]*").fullmatch(here.text, here.end, line_end(here, here.end)) is None:
        return False
    match = re.compile(r"[\[\]{}]|->").search(here.text, here.end)
    return match is None or match[0] != "]"


def repair_list(here: Cursor, opened: int) -> bool:
    """Report what is wrong inside a list; return whether the list continues at the current word."""
    if here.kind in ("end", "id", "arrow") or (is_mark(here, "}") and closes_more(here, opened)):
        edits = [(here.before, here.before, "]")]
        error(here, "this bracket is never closed", fix="end it with ]", start=opened, end=opened + 1, edits=edits)
        return False
    if is_mark(here, "}") or here.word == ")":
        error(here, f"']' is wanted here, not {show_word(here)}", fix="write ]", put="]")
        here.word, here.kind = "]", "mark"
    elif is_mark(here, "="):
        error(here, "expected a key before '='", fix="write key=value")
        read_value(here, "", None)
    elif is_mark(here, "["):
        error(here, "'[' inside a list", fix="remove it", put="")
        advance(here)
    elif skip_wrong_quote(here):
        if is_mark(here, "="):
            read_value(here, "", None)
    elif here.text.startswith('"', here.start - 1) and here.before == here.start:
        fix = 'write \\" for a quote inside a text'
        error(here, "the text ends at this quote", fix=fix, start=here.start - 1, end=here.start)
        return skip_list(here)
    else:
        error(here, f"expected an attribute key=value or ']', not {show_word(here)}", fix="write key=value")
        return skip_list(here)
    return True


def closes_more(here: Cursor, opened: int) -> bool:
    """Whether a closing brace rather ends the graph or a subgraph than the list that began at ``opened``."""
    if not peek(here):
        return True
    return on_new_line(here) and indent_of(here, here.start) != indent_of(here, opened)


def skip_list(here: Cursor) -> bool:
    """After an error inside a list: up to its end where that is on this line; true when it was found."""
    return skip_to(here, "]")


def skip_to(here: Cursor, marks: str) -> bool:
    """Go to the first of these marks on this line that is not in a text; true when it was found."""
    line = line_end(here, here.start)
    marks = re.escape(marks)
    pieces = re.compile(rf'"(?:[^"\\\n]|\\.)*"|[^{marks}"\n]+|([{marks}])|(")')
    found = next((match for match in pieces.finditer(here.text, here.start, line) if match.lastindex), None)
    if found is None:
        return False
    at = found.start() if found[1] else here.text.rfind("]", here.start, line)
    if at >= 0:
        move_to(here, at)
    return at >= 0


def read_attribute(here: Cursor, table: Table | None, found: Attributes) -> None:
    """Take one ``key=value``."""
    start, bare = here.start, here.kind == "id"
    key = read_hyphened(here, table) or read_key(here)
    key_span = Span(here.source, start, here.before)
    if here.kind == "point" and here.word == ":":
        doubled = peek(here) == "="
        error(here, f"':' after {quote_piece(key)}", fix=f"write {key}=", put="" if doubled else "=")
        if doubled:
            advance(here)
    elif not is_mark(here, "="):
        note_no_equals(here, key, key_span, bare)
        return
    check_key(here, key, key_span)
    taken = read_value(here, key, table)
    if taken is not None:
        take_attribute(here, found, key, key_span, *taken, table)


def read_hyphened(here: Cursor, table: Table | None) -> str:
    """Note a key with hyphens, and read it as the key that was meant; empty where none stands here."""
    match = re.compile(r"\w[\w.]*(?:-[\w.]+)+(?=[ \t]*=)").match(here.text, here.start)
    if match is None or here.kind != "id":
        return ""
    plain = match[0].replace("-", "_")
    dotted = plain.replace("_", ".", 1)
    key = dotted if table is not None and not table.knows(plain) and table.knows(dotted) else plain
    message = f"a key may have only letters, digits, _ and dots, not {quote_piece(match[0])}"
    error(here, message, fix=f"write {key}", end=match.end(), put=key)
    move_to(here, match.end())
    return key


def check_key(here: Cursor, key: str, span: Span) -> None:
    """Note a quoted key that is none (L4)."""
    if not KEY.fullmatch(key):
        message = f"a key is a name, or names separated by dots, not {quote_piece(span.text)}"
        legal = legal_id(key)
        error(here, message, fix=f"write {legal}", start=span.start, end=span.end, put=legal)


def note_no_equals(here: Cursor, key: str, key_span: Span, bare: bool) -> None:
    """A key without ``=``: a text that its own quote ended, words without quotes, or a key alone."""
    begin = key_span.start
    if bare and skip_words(here, begin):
        return
    several = 'put a text of several words in "quotes"'
    if begin and here.text[begin - 1] == '"':
        fix = 'write \\" for a quote inside a text' if bare else 'use a single " at each end'
        error(here, "the text ends at this quote", fix=fix, start=begin - 1, end=begin)
    elif here.kind in ("string", "number"):
        fix = f"write {key[:40]}={here.word if len(here.word) <= 40 else '…'}"
        edits = [(key_span.end, here.start, "=")]
        error(here, f"missing '=' after {quote_piece(key)}", fix=fix, edits=edits)
        advance(here)
        return
    elif is_mark(here, ",;]") or here.kind == "id":
        meant = (
            f"shape={key}" if key in SHAPES else f'label="{key[:40]}"' if not bare else f"{key[:40]}=…; {several}"
        )
        error(
            here,
            f"{quote_piece(key)} has no value",
            fix=f"write {meant}",
            start=begin,
            end=key_span.end,
            astray=True,
        )
        while here.kind == "id" and peek(here) not in ("=", "."):
            advance(here)
        return
    else:
        error(
            here,
            f"expected '=' after {quote_piece(key)}, not {show_word(here)}",
            fix=f"write {key[:40]}=…; {several}",
        )
    if not skip_list(here):
        raise Resync


def skip_words(here: Cursor, begin: int) -> bool:
    """Note a text of several words without quotes, of which the second is at ``begin``, and skip it."""
    first = here.last_word
    if first.end <= first.start or here.text[first.end : begin].strip(" \t"):
        return False
    match = re.compile(r'(?:[^\n,\]"]|,(?![ \t]*[\w.]+[ \t]*=))*').match(here.text, first.start)
    end = begin if match is None else match.end()
    text = here.text[first.start : end].rstrip()
    shown = text if len(text) <= 40 else text[:39] + "…"
    error(
        here,
        "a text of several words must be quoted",
        fix=f'write "{shown}"',
        start=first.start,
        end=first.start + len(text),
        astray=not ends_value(here, end),
        put=in_quotes(text),
    )
    move_to(here, max(end, begin))
    return True


def read_key(here: Cursor) -> str:
    """A key: an id, a dotted id, or either in quotes (L4)."""
    start = here.start
    if here.kind == "string":
        key = unescape(here.word[1:-1])
        advance(here)
        return key
    key = here.word
    if key.lower() in KEYWORDS:
        message = f"{key!r} is a keyword and cannot be a key"
        error(here, message, fix=f'write "{key}" in quotes', put=f'"{key}"')
    advance(here)
    ends_well = True
    while here.kind == "point" and here.word == ".":
        ends_well = ends_well and touches(here)
        advance(here)
        if here.kind == "id":
            ends_well = ends_well and touches(here)
            key += "." + here.word
            advance(here)
        else:
            ends_well = False
    if not ends_well:
        message = "a dot in a key must be between two names"
        error(here, message, fix=f"write {key}", start=start, end=here.before, put=key)
    return key


def note_twice(here: Cursor, earlier: Attribute, key_span: Span) -> None:
    """Note that a list gives an attribute once more: the later value counts."""
    line = here.source.position(earlier.key_span.start)[0]
    after = re.compile(r"[ \t]*[,;]?\s*").match(here.text, earlier.span.end)
    end = earlier.span.end if after is None else after.end()
    here.found.append(
        Diagnostic(
            rule="duplicate_attribute",
            severity=Severity.WARNING,
            message=f"{quote_piece(earlier.key)} is given twice: the value in line {line} is ignored",
            span=key_span,
            fix="remove one of them",
            edits=(Edit(Span(here.source, earlier.key_span.start, end), ""),),
        )
    )


def take_attribute(
    here: Cursor,
    found: Attributes,
    key: str,
    key_span: Span,
    text: str,
    quotes: bool,
    span: Span,
    table: Table | None,
) -> None:
    """Put the typed attribute into ``found``; a value that does not fit is an ERROR and is left out (L6)."""
    if table is None:
        found[key] = Attribute(key=key, value=text, key_span=key_span, span=span)
        return
    name = key
    entry = table.entries.get(key)
    if entry is None:
        name = table.canonical(key)
        entry = table.entries.get(name)
        if key in table.old_words:
            message = f"{key!r} is deprecated; its name is {name!r}"
            note_remark(here, "old_attribute", message, key_span, f"write {name}", name)
    fitting = fit(here, entry, key, text, quotes, span)
    if fitting is None:
        return
    value, remark, fix = fitting
    if remark:
        put = fix.split()[1]
        note_remark(here, "duration_unit", remark, span, fix, in_quotes(put) if quotes else put)
    name = name if entry is None else entry.key
    earlier = found.get(name)
    if earlier is not None and here.listing:
        note_twice(here, earlier, key_span)
    found[name] = Attribute(key=name, value=value, key_span=key_span, span=span)
