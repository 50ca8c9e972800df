"""What the parser says of broken texts: one error for one mistake, on the right words, in order (L1 to L11)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.errors import Diagnostic, Severity, Source
from orchestra.graph.dot import decode, parse
from orchestra.graph.edits import apply
from orchestra.graph.parser.file import MAX_ERRORS
from orchestra.graph.parser.slips import MAX_SET_EDGES

FRAME = "digraph g {\n  start [shape=Mdiamond]\n  exit [shape=Msquare]\n%s\n  start -> work -> exit\n}\n"
"""A valid frame with faulty statements from line 4 on."""

IN_A_GRAPH = [
    ("  a -> b = 5", "4:10", ["="]),
    ("  my-key = 5", "4:3", ["my-key"]),
    ('  "my key" = 5', "4:3", ['"my key"']),
    ("  -1x = 5", "4:3", ["-1x"]),
    ("  Node [label=x]", "4:3", ["Node"]),
    ("  a -> Graph", "4:8", ["Graph"]),
    ("  a [x=Edge, strict=1]", "4:8 4:14", ["Edge", "strict"]),
    ("  a -> b [x=1] -> c", "4:16", ["->"]),
    ("  a [x=1] -> c", "4:11", ["->"]),
    ("  a:n:s -> b", "4:4", [":n:s"]),
    ("  a -> {b c}:n", "4:13", [":"]),
    ("  {a b} [x=1]", "4:9", ["["]),
    ('  "a" + "b" -> c', "4:7", ["+"]),
    ("  rank: same", "4:7", [":"]),
    ('  work [prompt := "x"]', "4:16", [":"]),
    ("  work [prompt => x]", "4:17", [">"]),
    ("  work [x=1\u00a0y=2]", "4:12", ["\u00a0"]),
    ('  work [prompt="x"', "4:8", ["["]),
    ('  work [prompt="x"\n  a [label="q"]\n  b -> c', "4:8", ["["]),
    ('  work [prompt="x]', "4:16", ['"']),
    ('  work [prompt="x]\n  a [label="q"]', "4:16", ['"']),
    ("  /* note\n  work", "4:3", ["/*"]),
    ("  work [prompt='x']", "4:16", ["'"]),
    ("  work [prompt='do it now', label=\"x\"]", "4:16", ["'"]),
    ("  work [prompt=“do it now”]", "4:16", ["“"]),
    ("  work [prompt=“x”, label=„y“]", "4:16 4:27", ["“", "„"]),
    ("  work [label=<b>Do</b>]", "4:15", ["<"]),
    ("  work [label=<<b>Do</b> <i>it</i>>]", "4:15", ["<"]),
    ('  work [label=<<table>\n<tr><td>a</td></tr>\n</table>>, prompt="x"]', "4:15", ["<"]),
    ("  work [label=<b>Do</b>, max_retries=three]", "4:15 4:38", ["<", "three"]),
    ("  work:n -> exit", "4:7", [":n"]),
    ("  start -> work:n:sw\n  b -> a", "4:16", [":n:sw"]),
    ("  start -- work", "4:9", ["--"]),
    ("  start -- work -- exit -- a", "4:9 4:17 4:25", ["--", "--", "--"]),
    ("  start => work", "4:9", ["=>"]),
    ("  start = > work", "4:9", ["= >"]),
    ("  start -> -> work", "4:12", ["->"]),
    ("  start > work", "4:9", [">"]),
    ("  start - > work", "4:9", ["- >"]),
    ("  start → work", "4:9", ["→"]),
    ("  start -> ;", "4:12", [";"]),
    ("  start -> 2nd", "4:12", ["2nd"]),
    ('  work [prompt: "x"]', "4:15", [":"]),
    ('  work [prompt: "x", label: "y"]', "4:15 4:27", [":", ":"]),
    ('  work [prompt=="x"]', "4:16", ["="]),
    ('  work [prompt==x, label="y"]', "4:16", ["="]),
    ('  work [prompt="x", max_retries]', "4:21", ["max_retries"]),
    ("  work [prompt=]", "4:16", ["]"]),
    ('  work [prompt=, label="y"]', "4:16", [","]),
    ('  work [prompt "x"]', "4:16", ['"x"']),
    ('  work [prompt "x", max_retries three]', "4:16 4:21", ['"x"', "max_retries"]),
    ('  work [="x"]', "4:9", ["="]),
    ('  work ["x"]', "4:9", ['"x"']),
    ("  work [1=2]", "4:9", ["1"]),
    ("  my-work [label=x]", "4:3", ["my-work"]),
    ("  a -> my-work -> b", "4:8", ["my-work"]),
    ("  my.work [label=x]", "4:3", ["my.work"]),
    ("  a -> my.work", "4:8", ["my.work"]),
    ("  2nd [label=x]", "4:3", ["2nd"]),
    ("  42 -> work", "4:3", ["42"]),
    ('  "my work" [prompt="x"]', "4:3", ['"my work"']),
    ('  "my work" -> "other one"', "4:3 4:16", ['"my work"', '"other one"']),
    ('  "" [prompt="x"]', "4:3", ['""']),
    ('  wörk [prompt="x"]', "4:3", ["wörk"]),
    ("  naïve -> b", "4:3", ["naïve"]),
    ("  node = 5", "4:3", ["node"]),
    ("  node -> work", "4:3", ["node"]),
    ("  a -> node", "4:8", ["node"]),
    ("  edge -> x", "4:3", ["edge"]),
    ("  subgraph {", "4:12", ["{"]),
    ("  subgraph x y { a }", "4:14", ["y"]),
    ("  subgraph x\n  work", "5:3", ["work"]),
    ("  }", "4:3", ["}"]),
    ("  } }", "4:5", ["}"]),
    ('  work [prompt="x"]]', "4:20", ["]"]),
    ('  work (prompt="x")', "4:8", ["("]),
    ('  work [prompt="x"};', "4:19", ["}"]),
    ('  work [prompt="x", label="y"', "4:8", ["["]),
    ("  -> work", "4:3", ["->"]),
    ('  goal: "ship"', "4:7", [":"]),
    ("  goal = ", "4:3", ["goal"]),
    ("  @work", "4:3", ["@work"]),
    ("  work; ,; b", "4:9", [","]),
    ('  work [prompt="say "hello" now"]', "4:21", ['"']),
    ('  work [prompt="a" + ]', "4:22", ["]"]),
    ('  work [prompt="a" + b]', "4:22", ["b"]),
    ("  work [prompt=a/b]", "4:16", ["a/b"]),
    ("  work [prompt=5%]", "4:16", ["5%"]),
    ("  work [timeout=1.5h, max_retries=1e3]", "4:17 4:35", ["1.5h", "1e3"]),
    ("  work [max_retries=99999999999999999999]", "4:21", ["99999999999999999999"]),
    ("  work [a=$x]", "4:11", ["$x"]),
    ("  strict digraph x {}", "4:3", ["strict"]),
    ("  digraph x { a }", "4:3", ["digraph"]),
    ("  graph x", "4:3", ["graph"]),
    ('  a -> b [label="x", condition="outcome="]', "4:41", ['"']),
    ("  a & b", "4:5", ["&"]),
    ("  # comment ok\n  work # trailing", "5:8", ["#"]),
    ('  work [prompt="x"] // fine\n  // and "this\n  c # no', "6:5", ["#"]),
    ("  a.b.c", "4:3", ["a.b.c"]),
    ("  a -> {b c", "4:8", ["{"]),
    ("  a -> (b, c)", "4:8", ["("]),
    ("  a, b -> c", "4:4", [","]),
    ("  a -> b, c", "4:9", [","]),
    ('  work [\n    prompt="x"\n    timeout=5s\n  b [label="y"]\n  c', "4:8", ["["]),
    ('  work [prompt="x"\n  ]]\n  b', "5:4", ["]"]),
    ("  a [x=1 y=2 z]", "4:14", ["z"]),
    ("  work [label=multi word label]", "4:15", ["multi word label"]),
    ("  if (a) -> b", "4:6", ["("]),
    ('  work [prompt="""long"""]', "4:17", ['"']),
    ('  work [prompt="x",, label="y"]', "4:20", [","]),
    ("  work [prompt=true=false]", "4:16", ["true=false"]),
    ("  work [human.=b]", "4:9", ["human."]),
    ("  work [human..x=b]", "4:9", ["human..x"]),
    ("  work [human. x=b]", "4:9", ["human. x"]),
    ("  .x = 3", "4:3", [".x"]),
    ("  x. = 3", "4:3", ["x."]),
    ("  work [timeout=-5s]", "4:17", ["-5s"]),
]
WHOLE = [
    ("", "1:1", [""]),
    ("\n\n", "2:1", ["\n"]),
    ("// nothing\n", "1:11", ["\n"]),
    ("digraph", "1:7", ["h"]),
    ("digraph g", "1:9", ["g"]),
    ("digraph g {", "1:11", ["{"]),
    ("digraph {", "1:9 1:9", ["{", "{"]),
    ("digraph { a }", "1:9", ["{"]),
    ("digraph g { a", "1:11", ["{"]),
    ("digraph g a -> b }\n", "1:11", ["a"]),
    ("digraph g [ a ]", "1:11", ["["]),
    ("diagraph g { a -> b }", "1:1", ["diagraph"]),
    ("Digraph g { a }", "1:1", ["Digraph"]),
    ("DIGRAPH g { a }", "1:1", ["DIGRAPH"]),
    ("graph g { a -- b -- c }", "1:1", ["graph"]),
    ("strict digraph g { a -> b }", "1:1", ["strict"]),
    ("strict graph g { a -- b }", "1:1 1:8", ["strict", "graph"]),
    ("pipeline\ndigraph g { a -> b }", "1:1", ["pipeline"]),
    ("pipeline", "1:1", ["pipeline"]),
    ('{"nodes": []}', "1:1", ["{"]),
    ("nodes:\n  - a\n", "1:1", ["nodes"]),
    ("<html></html>", "1:1", ["<"]),
    ('digraph "my graph" { a }', "1:9", ['"my graph"']),
    ("digraph my-graph { a -> b-c }", "1:9 1:25", ["my-graph", "b-c"]),
    ("digraph 2 { a }", "1:9", ["2"]),
    ("digraph node { a }", "1:9", ["node"]),
    ("digraph g { a } }", "1:17", ["}"]),
    ("digraph g { a }\n}\n", "2:1", ["}"]),
    ("digraph g { a } }}}", "1:17", ["}"]),
    ("digraph g { a }\ndigraph h { b }", "2:1", ["digraph"]),
    ("digraph g {\n  a\n\ndigraph h {\n  b\n}\n", "4:1", ["digraph"]),
    ("digraph g { a } hello", "1:17", ["hello"]),
    ("digraph g { a } ;", "1:17", [";"]),
    ("digraph g { a } b -> c }", "1:15", ["}"]),
    ("digraph g { a -> b } -> c", "1:22", ["->"]),
    ("digraph g {\n  subgraph s {\n    a\n  b\n}\n", "2:14", ["{"]),
    ("digraph g {\n  subgraph s {\n    a\n\n  subgraph t {\n    b\n  }\n}\n", "2:14", ["{"]),
    ("digraph g { subgraph s { a }", "1:11", ["{"]),
    ('digraph g { a [x="1" }', "1:15", ["["]),
    ("digraph g { a [x=1 }\n", "1:15", ["["]),
    ("digraph g { a [", "1:15", ["["]),
    ("digraph g { a [x", "1:16", ["x"]),
    ("digraph g { a [x=", "1:15", ["["]),
    ('digraph g { a [x="', "1:18", ['"']),
    ("digraph g { a -> ", "1:17", [" "]),
    ("digraph g { goal =", "1:11", ["{"]),
    ("digraph g { subgraph", "1:20", ["h"]),
    ("digraph g { /*", "1:13", ["/*"]),
    ("digraph g { a [label=<b", "1:22", ["<"]),
    ("digraph g {\n a [label=<<b>x]\n b -> c\n}", "2:11", ["<"]),
    ('digraph g {\n a [prompt="one\ntwo\nthree]\n b [label="x"]\n c -> \n}', "2:12 7:1", ['"', "}"]),
    ('digraph g {\n a [prompt="one,\n  label="two",\n  timeout=5s]\n b [q]\n}', "2:12 5:5", ['"', "q"]),
    ('digraph g {\n a [prompt="one\n b [label=""]\n c [label=" two"]\n d -> e\n}', "2:12", ['"']),
    (
        "digraph g {\n  a [label=\"x\" prompt=y]\n  b [c]\n  d -- e\n  'f' -> g\n  h [=]\n  i\n}\n",
        "3:6 4:5 5:3 6:6",
        ["c", "--", "'", "="],
    ),
    ("digraph g { a\xa0[label=x] }", "1:14", ["\xa0"]),
    ("digraph g { a \u200b-> b }", "1:15", ["\u200b"]),
    ("digraph g {\n\ta [x]\r\n\r\n b -- c\r\n}\r\n", "2:5 4:4", ["x", "--"]),
    ("digraph g { a -> {b {c -> } } }", "1:27", ["}"]),
    ("digraph g { a [x=<b>hello</b> y=2] }", "1:18", ["<"]),
    ("digraph g {{{{{ a }", "1:14", ["{"]),
    ("#!/usr/bin/env orchestra\ndigraph g { a [x] }", "2:16", ["x"]),
    ("import foo from bar;\ndigraph g { a -> b }", "1:1", ["import"]),
    ("digraph g { a [x=1]] b [y] }", "1:20 1:25", ["]", "y"]),
    ("digraph g { a -> b; ; c }", "1:21", [";"]),
    ("digraph g { node [shape=box a -> b }", "1:18", ["["]),
    ("digraph g {\n  node [shape=box\n  a -> b\n  c [x]\n}", "2:8 4:6", ["[", "x"]),
    ('digraph g { a [label = "x" ; ; b=1] }', "1:30", [";"]),
    ("digraph g { a [,] b [;] }", "1:16 1:22", [",", ";"]),
    ("digraph g { a [\"my key\"=1, 'x'=2] }", "1:16 1:28", ['"my key"', "'"]),
    ("digraph g { a [x='it''s'] }", "1:18", ["'"]),
    ("digraph g { a [prompt='''hello'''] b [y] }", "1:23 1:39", ["'", "y"]),
    ("digraph g { a->b->; c -> d [x }", "1:19 1:31", [";", "}"]),
]


def errors(text: str) -> list[Diagnostic]:
    _, found = parse(Source("p.dot", text))
    return [d for d in found if d.severity is Severity.ERROR]


def places(text: str) -> str:
    return " ".join(f"{d.span.line}:{d.span.column}" for d in errors(text) if d.span is not None)


def marked(text: str) -> list[str]:
    return [d.span.text for d in errors(text) if d.span is not None]


@pytest.mark.parametrize(("faulty", "at", "words"), IN_A_GRAPH, ids=[row[0].strip() for row in IN_A_GRAPH])
def test_a_faulty_statement_is_named_once_and_where_it_is(faulty: str, at: str, words: list[str]) -> None:
    text = FRAME % faulty
    assert (places(text), marked(text)) == (at, words)


@pytest.mark.parametrize(("text", "at", "words"), WHOLE, ids=[row[0].strip() or "empty" for row in WHOLE])
def test_a_faulty_file_is_named_once_and_where_it_is(text: str, at: str, words: list[str]) -> None:
    assert (places(text), marked(text)) == (at, words)


GREEDY = ("/*", "digraph", "subgraph {", "{b c", 'work [prompt="x]')
"""What takes the rest of the file with it."""
LOCAL = [row[0] for row in IN_A_GRAPH if not any(word in row[0] for word in GREEDY)]


@pytest.mark.parametrize("faulty", LOCAL, ids=[faulty.strip() for faulty in LOCAL])
def test_a_faulty_statement_does_not_hide_the_next_fault(faulty: str) -> None:
    before = errors(FRAME % faulty)
    after = errors(FRAME % (faulty + "\n  last [max_retries=many]"))
    assert [d.message for d in after] == [*(d.message for d in before), after[-1].message]
    assert after[-1].span is not None
    assert after[-1].span.text == "many"


@pytest.mark.parametrize("faulty", [row[0] for row in IN_A_GRAPH], ids=[row[0].strip() for row in IN_A_GRAPH])
def test_every_error_says_how_to_fix_it(faulty: str) -> None:
    for diagnostic in errors(FRAME % faulty):
        assert diagnostic.message
        assert diagnostic.fix or diagnostic.rule != "syntax"
        assert len(diagnostic.message) < 150


def test_at_most_fifty_errors_are_reported_in_source_order() -> None:
    text = "digraph g {\n" + "".join(f"  n{n} [max_retries=x]\n  a -- b\n" for n in range(100)) + "}\n"
    found = errors(text)
    assert len(found) == MAX_ERRORS
    assert [d.span.start for d in found if d.span] == sorted(d.span.start for d in found if d.span)
    assert places(text).startswith("2:19 3:5 4:19 5:5 ")


def test_problems_of_values_conditions_and_stylesheets_are_sorted_with_the_others() -> None:
    text = (
        "digraph g {\n"
        '  a -> b [condition="outcome=="]\n'
        '  graph [model_stylesheet="* { llm_modle: x }"]\n'
        "  a [max_retries=x]\n"
        "  c -- d\n"
        "}\n"
    )
    rules = [d.rule for d in errors(text)]
    assert rules == ["condition_syntax", "stylesheet_syntax", "attribute_type", "syntax"]
    assert places(text) == "2:29 3:32 4:18 5:5"


def test_places_inside_a_text_count_escapes_joined_lines_and_concatenation() -> None:
    text = 'digraph g { a -> b [condition="context.x=\\"q\\" && " + "\\\n outcome == 5"] }'
    [found] = errors(text)
    assert found.span is not None
    assert found.span.text == "=="
    assert (found.span.line, found.span.column) == (2, 10)


def test_a_condition_shared_by_many_edges_is_reported_once() -> None:
    assert len(errors('digraph g { {a b c} -> {d e f} [condition="outcome="] }')) == 1


def test_an_error_in_a_chain_keeps_the_edges_before_it() -> None:
    graph, _ = parse(Source("p.dot", "digraph g { a -> b -> c-d -> e -> }"))
    assert graph is not None
    assert [(e.source, e.target) for e in graph.edges][:3] == [("a", "b"), ("b", "c_d"), ("c_d", "e")]


@pytest.mark.parametrize(
    ("data", "at"),
    [
        (b"digraph g { a }".decode().encode("utf-16"), (1, 1)),
        (b'digraph g {\n a [label="caf\xe9"] }', (2, 15)),
        (b"digraph g {\n \0 }", (2, 2)),
        (bytes(range(256)), (2, 118)),
    ],
)
def test_bytes_that_are_not_utf_8_are_refused_with_their_position(data: bytes, at: tuple[int, int]) -> None:
    _, [found] = decode("p.dot", data)
    assert found.span is not None
    assert (found.span.line, found.span.column) == at


MARKS = "{}[]();,=:.+-<>\"'`#/\\$&|\n\t\r \0\u00a0\u200b“”→"
PIECES = '-> -- /* */ // => "x" <<b> digraph graph node edge subgraph strict a label= x=1 [k=v] b->c weight=x -1'
WORDS = st.sampled_from([*MARKS, *PIECES.split(), "\n#", '"a\nb="'])


@given(
    st.text(alphabet=st.characters(), max_size=60)
    | st.lists(WORDS, max_size=40).map(" ".join)
    | st.lists(WORDS).map("".join)
)
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused_with_places_inside_it(body: str) -> None:
    for text in (body, f"digraph g {{ {body} }}", f"digraph g {{ a [{body}] }}"):
        graph, found = parse(Source("p.dot", text))
        assert graph is not None or found
        for diagnostic in found:
            assert diagnostic.span is not None
            assert 0 <= diagnostic.span.start < diagnostic.span.end <= max(len(text), 1)
            assert diagnostic.message


# --- what would take too long ----------------------------------------------------------------------


def cpu(text: str) -> float:
    begun = time.process_time()
    parse(Source("p.dot", text))
    return time.process_time() - begun


def many(piece: str, count: int) -> str:
    """``piece`` with a number in place of each ``#``, again and again."""
    return "".join(piece.replace("#", str(n)) for n in range(count))


HUGE = {
    "nested braces": lambda n: "{" * n,
    "nested subgraphs": lambda n: "subgraph s { " * n + "}" * n,
    "parentheses": lambda n: 'a -> b [condition="' + "(" * n + '"]',
    "negations": lambda n: 'a -> b [condition="' + "!" * n + 'x"]',
    "a disjunction": lambda n: 'a -> b [condition="' + "a=1||" * (n // 5) + 'b"]',
    "a chain of many nodes": lambda n: "a" + many(" -> n#", n // 10),
    "a chain of one node": lambda n: "a" + "->a" * (n // 10),
    "a text": lambda n: 'a [prompt="' + "x" * n + '"]',
    "backslashes": lambda n: 'a [prompt="' + "\\" * n + '"]',
    "lines": lambda n: 'a [prompt="' + "x\n" * n + '"]',
    "a text without end": lambda n: 'a [prompt="' + "x\n" * n,
    "a comment without end": lambda n: "/*" + "* " * n,
    "comments": lambda n: "/**/ " * (n // 5),
    "quotes": lambda n: "a [" + '"' * n,
    "single quotes": lambda n: "a [x=" + "'" * n,
    "brackets": lambda n: "a " + "[" * n,
    "closing braces": lambda n: "}" * n,
    "braces on one line, one too many": lambda n: "{}" * (n // 2) + "{",
    "braces on lines, one too many": lambda n: "{\n}\n" * (n // 4) + "{",
    "separators": lambda n: ";" * n,
    "arrows": lambda n: "a" + "->" * n,
    "points": lambda n: "a [a" + "." * n + "=1]",
    "dashes": lambda n: "a" + "-" * n,
    "angles": lambda n: "a [label=" + "<" * n,
    "errors on lines": lambda n: "a [x]\n" * (n // 6),
    "errors on one line": lambda n: "a [x y] " * (n // 8),
    "attributes on one line": lambda n: "a [" + 'x="a"+"b" ' * (n // 10) + "]",
    "attributes on lines": lambda n: "a [\n" + many("x#\n=\n1\n", n // 10) + "]",
    "graph attributes": lambda n: many("k#=1 ", n // 10),
    "a node named again and again": lambda n: many("a [k#=1] ", n // 12),
    "defaults again and again": lambda n: many("node [k#=1] a# ", n // 20),
    "defaults and braces": lambda n: "node [" + many("k#=1 ", n // 10) + "]" + "{a}" * (n // 3),
    "conditions without sense": lambda n: many('a->b [condition="x#="] ', n // 30),
    "edges between two sets": lambda n: f"{{{many('a# ', 300)}}} -> {{{many('b# ', n // 3000)}}}",
    "sets without bound": lambda n: " -> ".join([f"{{{many('n# ', n // 100)}}}"] * 30),
    "random words": lambda n: "a [ ] -> \"b\" = , ; { } <c> 'd' : + . 5 " * (n // 40),
}


@pytest.mark.parametrize("size", [100_000, pytest.param(1_000_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("made", HUGE.values(), ids=HUGE.keys())
def test_no_text_takes_longer_than_its_length(made: Callable[[int], str], size: int) -> None:
    assert cpu(f"digraph g {{ {made(size)} }}") < size / 100_000


def test_sets_that_make_too_many_edges_are_refused_with_a_remedy() -> None:
    many = "{" + " ".join(f"n{n}" for n in range(1000)) + "}"
    graph, found = parse(Source("p.dot", f"digraph g {{ {many} -> {many} -> end }}"))
    [error] = found
    assert str(MAX_SET_EDGES) in error.message
    assert error.fix
    assert graph is not None
    assert len(graph.edges) == 1000


@pytest.mark.parametrize(
    "setting",
    ['goal "g"', 'label "Release"', "rankdir LR", "inputs version", 'subgraph s { label "x" work -> work }'],
)
def test_a_setting_without_its_equals_sign_names_the_sign(setting: str) -> None:
    text = f"digraph g {{\n {setting}\n start [shape=Mdiamond] exit [shape=Msquare]\n start -> work -> exit\n}}"
    source = Source("p.dot", text)
    _, (one,) = parse(source)
    assert "missing '='" in one.message
    assert apply(source, [one]).count("=") == text.count("=") + 1
