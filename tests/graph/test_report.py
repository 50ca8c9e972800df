"""How diagnostics are shown: text with a caret, JSON, GitHub annotations, SARIF."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.errors import Diagnostic, Severity, Source, Span
from orchestra.graph import report

TEXT = 'digraph g {\n\twork [prompt="日本語", tpye="x"]\n}\n'


def at(text: str, wanted: str, *, name: str = "flow.dot", **more: object) -> Diagnostic:
    start = text.index(wanted)
    given = {"rule": "some_rule", "severity": Severity.WARNING, "message": "something is odd", **more}
    span = Span(Source(name, text), start, start + len(wanted))
    return Diagnostic(span=span, **given)  # type: ignore[arg-type]


def lines(diagnostic: Diagnostic, width: int = 100) -> list[str]:
    return report.format_diagnostic(diagnostic, width=width).split("\n")


def under_caret(shown: list[str]) -> str:
    """What stands above the caret, by terminal columns."""
    number = next(n for n, line in enumerate(shown) if "^" in line)
    source, caret = shown[number - 1], shown[number]
    first, last = caret.index("^"), caret.rindex("^") + 1
    cells = "".join(c + "\0" * (report.columns(c) - 1) for c in source)
    return cells[first:last].replace("\0", "")


def test_a_diagnostic_shows_its_sentence_place_line_and_caret() -> None:
    shown = lines(at("digraph g {\n  work\n}", "work", fix="say what it does"))
    assert shown[0].startswith("warning[some_rule]: something is odd")
    assert "flow.dot:2:3" in shown[1]
    assert shown[2].endswith("  work")
    assert under_caret(shown) == "work"
    assert "help: say what it does" in shown[-1]


@pytest.mark.parametrize("wanted", ["work", "日本語", "tpye", '"x"'])
def test_the_caret_is_under_the_span_after_tabs_and_wide_characters(wanted: str) -> None:
    assert under_caret(lines(at(TEXT, wanted))) == wanted


@pytest.mark.parametrize("width", [24, 40, 60, 100])
@pytest.mark.parametrize("wanted", ["TARGET", "first", "last"])
def test_a_line_of_a_megabyte_is_cut_around_the_span(width: int, wanted: str) -> None:
    filling = "lorem ipsum " * 45_000
    shown = lines(at(f"first {filling} TARGET {filling} last", wanted), width)
    assert under_caret(shown) == wanted
    assert max(report.columns(line) for line in shown if "^" in line or "..." in line) <= width


def test_showing_many_places_of_one_long_line_is_quick() -> None:
    text = "x" * 1_000_000
    source = Source("long.dot", text)
    findings = [
        Diagnostic(rule="r", severity=Severity.INFO, message="m", span=Span(source, n * 900, n * 900 + 3))
        for n in range(1_000)
    ]
    before = time.process_time()
    report.text(findings)
    assert time.process_time() - before < 2


def test_a_span_over_several_lines_is_marked_on_its_first() -> None:
    shown = lines(at('a [prompt="one\ntwo"]', '"one\ntwo"'))
    assert under_caret(shown) == '"one'


def test_a_span_at_the_very_end_has_a_caret_too() -> None:
    source = Source("flow.dot", "digraph g {\n")
    shown = lines(Diagnostic(rule="r", severity=Severity.ERROR, message="m", span=Span(source, 12, 12)))
    assert "^" in shown[-1]


def test_a_diagnostic_without_a_place_is_its_sentence_and_its_help() -> None:
    shown = lines(Diagnostic(rule="r", severity=Severity.ERROR, message="no agents", fix="add one"))
    assert shown == ["error[r]: no agents", "  help: add one"]


STEERING = "\x1b]0;title\x07\x1b[2J\u202e\x9b31m\x00\r\ud800"


def test_nothing_that_steers_a_terminal_gets_through() -> None:
    text = f'a [prompt="{STEERING}", wrong=1]'
    diagnostic = at(text, "wrong", message=f"bad {STEERING}", fix=f"not {STEERING}", name=f"a{STEERING}.dot")
    for shown in (report.format_diagnostic(diagnostic), report.github([diagnostic])):
        assert not [c for c in shown if not c.isprintable() and c != "\n"]
    assert under_caret(lines(diagnostic)) == "wrong"
    assert "\x1b" in report.format_diagnostic(diagnostic, colour=True)
    assert "\x1b]" not in report.format_diagnostic(diagnostic, colour=True)


@given(st.text(), st.data(), st.integers(1, 120))
def test_any_text_is_shown_safely_within_the_width(text: str, data: st.DataObject, width: int) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    span = Span(Source("f", text), start, end)
    diagnostic = Diagnostic(rule="r", severity=Severity.INFO, message=text, span=span, fix=text)
    shown = report.format_diagnostic(diagnostic, width=width)
    plain = shown.replace("\n", "").replace("\u3000", "")
    assert all(c.isprintable() for c in plain)
    assert all(report.columns(line) <= max(width, report.SMALLEST_WIDTH) for line in shown.split("\n"))
    json.dumps(report.data(diagnostic))
    assert report.github([diagnostic]).count("\n") == 1


def test_a_wide_character_that_does_not_fit_is_cut() -> None:
    text = "000\u0e5c000\U00018d09\u2e800"
    for start in range(8):
        span = Span(Source("f", text), start, 8)
        shown = report.format_diagnostic(
            Diagnostic(rule="r", severity=Severity.INFO, message="m", span=span, fix=""), width=1
        )
        assert max(map(report.columns, shown.split("\n"))) <= report.SMALLEST_WIDTH


def test_colour_changes_nothing_but_colour() -> None:
    diagnostic = at(TEXT, "tpye", fix="type")
    coloured = report.format_diagnostic(diagnostic, colour=True)
    for code in ("1;33", "1;34", "1;32", "0"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == report.format_diagnostic(diagnostic)


def test_long_messages_are_broken_at_spaces() -> None:
    shown = lines(at(TEXT, "work", message="word " * 40, fix="mend " * 40), 40)
    assert max(report.columns(line) for line in shown) <= 40
    assert sum(line.count("word") for line in shown) == 40
    assert sum(line.count("mend") for line in shown) == 40


def test_the_summary_counts() -> None:
    error = at(TEXT, "work", severity=Severity.ERROR)
    warning = at(TEXT, "work")
    assert report.summary([error, error, warning]) == "2 errors, 1 warning"
    assert report.summary([at(TEXT, "work", severity=Severity.INFO)]) == "1 note"
    assert report.summary([]) == "no problems found"


def test_the_data_names_everything() -> None:
    plain = report.data(at(TEXT, "tpye", node="work", fix="type"))
    assert plain == {
        "rule": "some_rule",
        "severity": "warning",
        "message": "something is odd",
        "node": "work",
        "edge": None,
        "nodes": ["work"],
        "span": {"file": "flow.dot", "line": 2, "column": 22, "end_line": 2, "end_column": 26, "length": 4},
        "fix": "type",
        "edits": [],
    }
    assert report.data(at(TEXT, "work", edge=("a", "b")))["edge"] == ["a", "b"]
    nowhere = report.data(Diagnostic(rule="r", severity=Severity.ERROR, message="m"))
    assert (nowhere["span"], nowhere["fix"]) == (None, None)


def test_the_json_report_says_whether_a_run_would_be_refused() -> None:
    warning = at(TEXT, "work")
    assert report.report([warning])["ok"] is True
    refused = report.report([warning, at(TEXT, "work", severity=Severity.ERROR)])
    assert refused["ok"] is False
    assert refused["counts"] == {"error": 1, "warning": 1, "info": 0}
    json.dumps(refused)


def test_an_annotation_is_one_line_with_its_place() -> None:
    line = report.github([at(TEXT, "tpye", fix="write: type, not that\n100%")])
    command, _, message = line.removeprefix("::").partition("::")
    assert command == "warning file=flow.dot,line=2,endLine=2,col=22,endColumn=26,title=some_rule"
    assert message == "something is odd%0Ahelp: write: type, not that%0A100%25\n"


@pytest.mark.parametrize(
    ("severity", "command"),
    [(Severity.ERROR, "::error "), (Severity.WARNING, "::warning "), (Severity.INFO, "::notice ")],
)
def test_severities_have_their_annotation(severity: Severity, command: str) -> None:
    assert report.github([at(TEXT, "work", severity=severity)]).startswith(command)


def test_an_annotation_cannot_be_forged_by_a_file_name() -> None:
    line = report.github([at(TEXT, "work", name="a,line=9::b\n::error::c.dot")])
    assert line.count("\n") == 1
    assert "file=a%2Cline=9%3A%3Ab%0A%3A%3Aerror%3A%3Ac.dot," in line


def test_a_sarif_log_has_rules_results_and_regions() -> None:
    findings = [
        at(TEXT, "tpye", node="work", fix="type"),
        at(TEXT, "work", rule="other", severity=Severity.INFO, edge=("a", "b"), name="/tmp/a b.dot"),
        at(TEXT, "work"),
        Diagnostic(rule="other", severity=Severity.ERROR, message="nowhere"),
    ]
    log = json.loads(json.dumps(report.sarif(findings, version="1.2", summaries={"other": "Another rule."})))
    assert log["version"] == "2.1.0"
    run = log["runs"][0]
    driver = run["tool"]["driver"]
    assert [rule["id"] for rule in driver["rules"]] == ["some_rule", "other"]
    assert driver["rules"][1]["shortDescription"]["text"] == "Another rule."
    assert ["help" in rule for rule in driver["rules"]] == [False, True]  # only our own rules are explained
    assert run["columnKind"] == "unicodeCodePoints"
    results = run["results"]
    assert [driver["rules"][r["ruleIndex"]]["id"] for r in results] == [r["ruleId"] for r in results]
    assert [r["level"] for r in results] == ["warning", "note", "warning", "error"]
    first = results[0]["locations"][0]
    assert first["physicalLocation"]["region"] == {
        "startLine": 2,
        "startColumn": 22,
        "endLine": 2,
        "endColumn": 26,
        "charOffset": TEXT.index("tpye"),
        "charLength": 4,
    }
    assert first["logicalLocations"][0]["name"] == "work"
    assert results[1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "file:///tmp/a%20b.dot"
    assert "locations" not in results[3]
