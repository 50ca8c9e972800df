"""Where values stand in a shell command: what the reader says, a real shell confirms."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.graph.shell import Expression, expressions
from orchestra.graph.substitution import substitute, with_values

X = "{{ last_response }}"
NASTY = "a b  *?[x] $HOME $(echo run) `echo run` \"quoted\" 'single' \\ ; | & # é {{ goal }} !"


def rendered(command: str) -> str:
    """The command as a tool node would run it: every value comes from the variable ``V1``."""
    forms = {"bare": '"$V1"', "double": "${V1}", "single": "'\"$V1\"'"}
    parts, at = [], 0
    for expression in expressions(command):
        assert not expression.hazard
        parts += [command[at : expression.start], forms[expression.place]]
        at = expression.end
    return "".join([*parts, command[at:]])


def run(command: str, value: str = NASTY) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", rendered(command)],
        env={"V1": value, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
    )
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (f"printf %s {X}", "@"),
        (f'printf %s "<{X}>"', "<@>"),
        (f"printf %s '<{X}>'", "<@>"),
        (f"printf %s 'it'\\''s '{X}\"!\"", "it's @!"),
        (f"printf %s pre{X}post", "pre@post"),
        (f'printf %s "it\'s $(echo ok) {X}"', "it's ok @"),
        (f'cat <<END\nit\'s "{X}"\nEND', 'it\'s "@"\n'),
        (f"cat <<-END\n\t{X}\n\tEND\nprintf %s '{X}'", "@\n@"),
        (f"cat <<A; cat <<B\n{X}\nA\n<{X}>\nB\nprintf %s {X}", "@\n<@>\n@"),
        (f"# it's a comment\nprintf %s {X} # and \"another", "@"),
        (f"printf %s a#b' {X}'", "a#b @"),
        (f'printf %s "${{UNSET:-{X}}}"', "@"),
        (f"printf %s ${{UNSET:-'}}'}}; printf %s {X}", "}@"),
        (f"printf %s $((1<<2)){X}", "4@"),
        (f"case x in (y) ;; x) printf %s {X};; esac", "@"),
        (f'f() {{ printf %s "$1"; }}; f {X}', "@"),
        (f"sh -c 'printf %s \"$1\"' sh {X}", "@"),
        (f"printf %s \\'{X}\\'", "'@'"),
        (f"printf %s '\\'{X}", "\\@"),
        (f'printf %s "\\"{X}\\""', '"@"'),
        (f"printf '%s%s' \"`echo hi`\" {X}", "hi@"),
        (f"V=$(case x in x) echo in;; esac) && printf %s \"$V\"'{X}'", "in@"),
        (f"true && {{ printf %s {X}; }} 2>&1", "@"),
        (f'printf %s "a\\\n{X}"', "a@"),
    ],
)
def test_the_shell_gets_the_value_as_it_is(command: str, expected: str) -> None:
    assert run(command) == expected.replace("@", NASTY)


PIECES = st.sampled_from(
    [
        (X, "@"),
        (f'"{X}"', "@"),
        (f"'{X}'", "@"),
        ("word", "word"),
        ("'it is'", "it is"),
        ('"it\'s"', "it's"),
        ("\\'", "'"),
        ('\\"', '"'),
        ("'\"'", '"'),
        ("$(echo sub)", "sub"),
        ('"$(echo "in ner")"', "in ner"),
        ("`echo back`", "back"),
        ('"${UNSET:-default}"', "default"),
        ("$((2*3))", "6"),
        ("'#'", "#"),
        ("#", "#"),
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=8))
def test_any_row_of_quotes_keeps_the_value_whole(pieces: list[tuple[str, str]]) -> None:
    command = "printf %s x" + "".join(text for text, _ in pieces)
    assert run(command) == "x" + "".join(shown for _, shown in pieces).replace("@", NASTY)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="abc '\"`$(){}<>|&;#\\\n=-") | st.text())
def test_no_text_upsets_the_reader(text: str) -> None:
    command = f"{text}{X}{text}{X}"
    found = expressions(command)
    assert [command[e.start : e.end] for e in found] == [X] * len(found)
    assert [e.start for e in found] == sorted({e.start for e in found})
    assert len(found) >= 2


@pytest.mark.parametrize(
    ("text", "name", "raw"),
    [
        ("{{last_response}}", "last_response", False),
        ("{{  tools.get_diff.output  }}", "tools.get_diff.output", False),
        ("{{ last_response|raw }}", "last_response", True),
        ("{{ last_response | raw }}", "last_response", True),
        ("{{ version }}", "version", False),
        ("{{ sub.outcome }}", "sub.outcome", False),
        ("{{ parallel.results[0].response }}", "parallel.results[0].response", False),
    ],
)
def test_an_expression_is_a_dotted_name_of_the_context(text: str, name: str, raw: bool) -> None:
    assert [(e.name, e.raw) for e in expressions(f"echo {text}")] == [(name, raw)]


@pytest.mark.parametrize(
    "text", ["{{.State}}", "{{ .Names }}", "${#a[@]}", "{{ end }}", "{{else}}", "{{ last_response | upper }}"]
)
def test_all_else_between_braces_is_left_to_the_shell(text: str) -> None:
    assert expressions(f"echo {text}") == ()


def test_the_roots_are_the_callers_to_choose() -> None:
    assert [e.name for e in expressions("{{ branch }} {{ other }}", {"branch"})] == ["branch"]


@pytest.mark.parametrize(
    ("command", "hazards"),
    [
        (f"a $(b {X}) {X}", ["$( )", ""]),
        (f'"$(b "{X}")"', ["$( )"]),
        (f"$(( {X} + 1 ))", ["$( )"]),
        (f"`a {X}` {X}", ["back quotes", ""]),
        (f"eval a {X}; b {X}", ["eval", ""]),
        (f"sh -c {X} {X}", ["sh -c", ""]),
        (f"x=1 command eval '{X}'", ["eval"]),
        (f"bash -o pipefail -c '{X}'", ["sh -c"]),
        (f"xargs sh -c '{X}'", ["sh -c"]),
        (f"sh script.sh -c {X}", [""]),
        (f"echo eval {X}", [""]),
        (f"echo sh -c {X}", [""]),
        (f"cat <<'A' <<B\n{X}\nA\n{X}\nB\n{X}", ["a quoted here-document", "", ""]),
        (f"cat <<\\A\n{X}\nA", ["a quoted here-document"]),
        (f"cat <<A\n$(b {X})\nA", ["$( )"]),
        (f"cat <<< {X}", [""]),
        (f"x=$(cat <<A\n{X}\nA\n)\n{X}", ["$( )", ""]),
    ],
)
def test_places_where_a_value_would_be_code_are_named(command: str, hazards: list[str]) -> None:
    assert [e.hazard for e in expressions(command)] == hazards


@pytest.mark.parametrize(
    ("command", "foreign"),
    [
        (f"python3 -c 'print({X})'", ["python3 -c"]),
        (f"python3 x.py {X}", [""]),
        (f"ssh host ls {X}", ["ssh"]),
        (f"ssh {X}", [""]),
    ],
)
def test_other_programs_that_read_code_are_named(command: str, foreign: list[str]) -> None:
    assert [e.foreign for e in expressions(command)] == foreign


def test_deep_nesting_and_length_cost_no_more_than_they_must() -> None:
    deep = "$(" * 20_000 + X + ")" * 20_000
    assert [e.hazard for e in expressions(deep)] == ["$( )"]
    many = "".join(f"cat <<A{n} " for n in range(3_000)) + f"\n{X}"
    assert isinstance(expressions(many)[0], Expression)


@pytest.mark.parametrize(
    ("command", "read"),
    [
        (f"echo {X}", "echo 'a b'"),
        (f'echo "<{X}>"', 'echo "<a b>"'),
        (f"echo '<{X}>'", "echo '<a b>'"),
        (f"echo {X} {{{{ goal }}}}", "echo 'a b' \"$ORCHESTRA_V2\""),
    ],
)
def test_a_command_is_read_with_the_values_that_are_texts(command: str, read: str) -> None:
    assert with_values(substitute(command, expressions(command), {}), {"ORCHESTRA_V1": "a b"}) == read
