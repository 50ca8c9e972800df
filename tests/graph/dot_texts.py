"""Texts in the pipeline language, drawn at random: everything that L1 to L9 allow, and Graphviz reads too."""

from __future__ import annotations

from hypothesis import strategies as st

IDS = st.sampled_from(["a", "b", "c", "d", "e", "start", "exit", "Node_1", '"node"', '"f"', "_g"])
_PLAIN = st.text(st.sampled_from('ab "\\\n\t.:;,=[]{}<>#/*$\r-é→ln') | st.characters(codec="utf-8"), max_size=12)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


TEXTS = st.one_of(
    _PLAIN.filter(lambda t: "\0" not in t).map(quoted),
    st.tuples(_PLAIN, _PLAIN)
    .filter(lambda pair: "\0" not in "".join(pair))
    .map(lambda pair: f"{quoted(pair[0])} + {quoted(pair[1])}"),
    st.sampled_from(['"\\l\\$x"', '"a\\\nb"', '"\\n\\t\\\\"', '""']),
)
CONDITIONS = st.sampled_from(
    ['"outcome=success"', '"outcome!=fail && context.x"', '"a=\\"b c\\" || !d"', '"outcome = done"', '""']
)
NUMBERS = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.integers().map(str),
    st.floats(-1e6, 1e6).map(lambda f: f"{f:.12f}"),
    st.sampled_from(["0.0000001", ".5", "-.25", "5.", "-0.0", "1234567890123456789012345.5", "007"]),
)
WORDS = st.sampled_from(["true", "false", "word", "LR", "_x"])
_DURATIONS = st.sampled_from(['"900s"', '"15m"', '"250ms"', '"2h"', '"1d"', '"0s"'])


def _attribute(key: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(st.just(key) | st.just(f'"{key}"'), values).map("=".join)


NODE = st.one_of(
    _attribute("label", TEXTS | NUMBERS | WORDS),
    _attribute("prompt", TEXTS),
    _attribute("class", st.sampled_from(['"x, y"', "z", '""', '"loop-a"'])),
    _attribute("shape", st.sampled_from(["box", "diamond", "Mdiamond", "hexagon", "ellipse"])),
    _attribute("max_retries", st.sampled_from(["3", '"3"', "0"])),
    _attribute("timeout", _DURATIONS),
    _attribute("goal_gate", st.sampled_from(["true", '"false"'])),
    _attribute("quorum", st.sampled_from(["0.5", '"1e-9"', "1"])),
    _attribute("llm_model", st.sampled_from(["m1", "m2"])),
    _attribute("llm_provider", st.sampled_from(["p1", '""'])),
    _attribute("retry_policy", st.sampled_from(["linear", '"none"'])),
    _attribute("own", TEXTS | NUMBERS | WORDS),
    _attribute("other", NUMBERS | WORDS),
    st.tuples(st.just('"human.timeout"'), _DURATIONS).map("=".join),
)
EDGE = st.one_of(
    _attribute("label", TEXTS),
    _attribute("condition", CONDITIONS),
    _attribute("weight", st.sampled_from(["0", "-2", '"7"'])),
    _attribute("loop_restart", st.sampled_from(["true", "false"])),
    _attribute("own", TEXTS | NUMBERS | WORDS),
)
GRAPH = st.one_of(
    _attribute("goal", TEXTS),
    _attribute("label", TEXTS),
    _attribute("rankdir", st.just("LR")),
    _attribute("model_stylesheet", st.just('"* { llm_model: s } .x { llm_provider: q }"')),
    _attribute("default_max_retries", st.just("2")),
    _attribute("own", TEXTS | NUMBERS | WORDS),
)
SEPARATORS = st.sampled_from([", ", ",", " ", ";", "\n  ", " // c\n", ",\n"])


@st.composite
def block(draw: st.DrawFn, attributes: st.SearchStrategy[str], least: int = 0) -> str:
    """``[ … ]``, in one of the ways that Graphviz allows; two of them now and then."""
    made = draw(st.lists(attributes, min_size=least, max_size=4))
    inner = "".join(one + draw(SEPARATORS) for one in made[:-1]) + "".join(made[-1:])
    more = f"[{draw(attributes)}]" if draw(st.integers(0, 9)) == 0 else ""
    return f"[{inner}]{more}"


ENDS = st.recursive(
    IDS,
    lambda inner: st.one_of(
        st.lists(IDS, max_size=3).map(lambda ids: "{" + " ".join(ids) + "}"),
        st.lists(inner, max_size=2).map(lambda ends: "subgraph { " + "; ".join(ends) + " }"),
    ),
    max_leaves=4,
)


@st.composite
def _edge(draw: st.DrawFn) -> str:
    ends = draw(st.lists(ENDS, min_size=2, max_size=4))
    return " -> ".join(ends) + draw(st.just("") | block(EDGE))


SIMPLE = st.one_of(
    st.tuples(IDS, st.just("") | block(NODE)).map("".join),
    _edge(),
    block(NODE, 1).map(lambda made: f"node {made}"),
    block(EDGE, 1).map(lambda made: f"edge {made}"),
)


@st.composite
def _subgraph(draw: st.DrawFn, inner: st.SearchStrategy[list[str]]) -> str:
    head = draw(st.sampled_from(["subgraph s ", "subgraph cluster_t ", "subgraph ", "", 'subgraph "node" ']))
    label = draw(st.sampled_from(["", 'label="Loop A"; ', 'graph [label="2 Fast"]\n', 'label="é"\n']))
    return f"{head}{{ {label}{_joined(draw, draw(inner))} }}"


def _joined(draw: st.DrawFn, statements: list[str]) -> str:
    return "".join(one + draw(st.sampled_from(["\n", ";\n", "; ", "\n# c\n", " /* c */\n"])) for one in statements)


STATEMENTS = st.recursive(
    st.lists(SIMPLE, max_size=5),
    lambda inner: st.lists(SIMPLE | _subgraph(inner), max_size=5),
    max_leaves=3,
)


@st.composite
def pipelines(draw: st.DrawFn) -> str:
    """A whole text."""
    top = draw(st.lists(block(GRAPH, 1).map(lambda made: f"graph {made}") | GRAPH, max_size=2))
    return f"digraph g {{\n{_joined(draw, top)}{_joined(draw, draw(STATEMENTS))}}}\n"
