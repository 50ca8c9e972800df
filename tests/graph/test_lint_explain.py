"""What each diagnostic means, held against what the parser and the linter really say."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from orchestra.app.pipelines import SECRET
from orchestra.errors import Diagnostic, Severity, Source
from orchestra.graph.dot import parse
from orchestra.graph.explain import entries, explain, pipeline, reference, summaries
from orchestra.graph.lint import RULES, SURE, lint
from orchestra.graph.lint.causes import CAUSES, STRUCTURE

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "diagnostics.md"
CONFIGURED = [rule for rule, entry in entries().items() if entry.needs and entry.wrong]
ALONE = [rule for rule, entry in entries().items() if not entry.needs]


def said(text: str) -> list[Diagnostic]:
    graph, diagnostics = parse(Source("example.dot", text))
    return [*diagnostics, *(lint(graph) if graph is not None else ())]


@pytest.mark.parametrize("rule", ALONE)
def test_the_wrong_example_fires_its_rule_and_no_other(rule: str) -> None:
    diagnostics = said(pipeline(entries()[rule].wrong))
    assert {d.rule for d in diagnostics} == {rule}
    assert {d.severity for d in diagnostics} <= set(entries()[rule].severities)
    assert all(d.fix for d in diagnostics)


@pytest.mark.parametrize("rule", [*ALONE, *CONFIGURED])
def test_the_right_example_has_no_diagnostic(rule: str) -> None:
    assert said(pipeline(entries()[rule].right)) == []


@pytest.mark.parametrize("rule", CONFIGURED)
def test_a_rule_that_needs_a_configuration_says_nothing_without_one(rule: str) -> None:
    quiet = {"type_known"} if rule == "handler_missing" else set()
    assert {d.rule for d in said(pipeline(entries()[rule].wrong))} <= quiet


FINDERS = {"Diagnostic", "error", "warning", "info", "note_remark", "_finding", "_diagnostic", "_refusal", "_error"}


def named(call: ast.Call) -> set[str]:
    """The rules that a call which makes a diagnostic names."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name not in FINDERS:
        return set()
    said = [*call.args, *(word.value for word in call.keywords if word.arg == "rule")]
    words = {node.value for node in said if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {word for word in words if word.isidentifier()} | ({SECRET} if "SECRET" in ast.dump(call) else set())


def test_every_rule_that_a_diagnostic_can_name_is_explained() -> None:
    source = PAGE.parents[2] / "src" / "orchestra"
    files = [
        *(source / "graph").rglob("*.py"),
        *(source / "app").glob("*.py"),
        *(source / "cli").rglob("errors.py"),
    ]
    calls = [
        node
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    rules = set(RULES).union(*map(named, calls))
    assert len(rules) > 30
    assert rules == set(entries())


def test_every_rule_of_the_linter_is_explained() -> None:
    assert set(RULES) <= set(entries())
    assert all(rule == entry.rule for rule, entry in entries().items())


def test_an_explanation_shows_both_examples() -> None:
    for entry in entries().values():
        text = explain(entry)
        assert not entry.wrong or pipeline(entry.wrong) in text
        assert not entry.right or pipeline(entry.right) in text
        assert all(severity.value in text for severity in entry.severities)


def test_every_rule_has_a_summary_of_one_sentence() -> None:
    for summary in summaries().values():
        assert summary.endswith(".")
        assert "\n" not in summary


def test_the_reference_page_is_what_the_program_explains() -> None:
    # when this fails: python -c 'from orchestra.graph.explain import reference as r; print(end=r())' > the page
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_severities_go_from_the_worst_to_the_mildest_nowhere_twice() -> None:
    for entry in entries().values():
        assert len(set(entry.severities)) == len(entry.severities)
        assert set(entry.severities) <= set(Severity)


def test_every_rule_that_a_table_of_the_linter_names_exists() -> None:
    assert set(RULES) >= CAUSES | STRUCTURE | SURE
