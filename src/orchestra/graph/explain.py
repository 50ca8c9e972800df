"""The explanation of each diagnostic, for the terminal and for the reference page; the texts are in rules.toml."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from orchestra.errors import Severity


class RuleEntry(NamedTuple):
    """What a rule means, why it matters, and an example that it reports beside one that it does not.

    ``needs`` says what else must be given for the rule to report something; empty for rules about the file alone.
    """

    rule: str
    severities: tuple[Severity, ...]
    meaning: str
    why: str
    wrong: str = ""
    right: str = ""
    needs: str = ""


@cache
def entries() -> Mapping[str, RuleEntry]:
    """Every rule by name, in the order of the reference page."""
    import tomllib  # only explanations need them
    from importlib.resources import files

    data = tomllib.loads(files(__package__).joinpath("rules.toml").read_text(encoding="utf-8"))
    return {rule: _entry(rule, **fields) for rule, fields in data.items()}


def _entry(rule: str, severities: list[str], meaning: str, why: str, **more: str) -> RuleEntry:
    examples = {key: text.strip() for key, text in more.items()}
    return RuleEntry(rule, tuple(map(Severity, severities)), meaning, " ".join(why.split("\n")).strip(), **examples)


def summaries() -> dict[str, str]:
    """What each rule means, in a sentence."""
    return {rule: entry.meaning for rule, entry in entries().items()}


def pipeline(body: str) -> str:
    """A whole file around the statements of an example."""
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    return f"digraph example {{\n{indented}}}\n"


def explain(entry: RuleEntry) -> str:
    """What ``orchestra explain RULE`` prints."""
    severity = " or ".join(severity.value for severity in entry.severities)
    return f"{entry.rule} ({severity})\n\n{entry.meaning}\n\n{entry.why}\n" + _examples(entry, "", "")


def reference() -> str:
    """The page ``docs/reference/diagnostics.md``."""
    rows = "".join(
        f"| [`{entry.rule}`](#{entry.rule}) | {_severities(entry)} | {entry.meaning} |\n"
        for entry in entries().values()
    )
    sections = "".join(
        f"\n## {entry.rule}\n\n{_severities(entry)}. {entry.meaning}\n\n{entry.why}\n"
        + _examples(entry, "```dot\n", "```\n")
        for entry in entries().values()
    )
    return f"{_OPENING}\n| rule | severity | meaning |\n|---|---|---|\n{rows}{sections}"


def _examples(entry: RuleEntry, before: str, after: str) -> str:
    needs = f"\nRequires {entry.needs}.\n" if entry.needs else ""
    wrong, right = (f"{before}{pipeline(body)}{after}" for body in (entry.wrong, entry.right))
    return needs + (f"\nWrong:\n\n{wrong}\nRight:\n\n{right}" if entry.wrong else "")


def _severities(entry: RuleEntry) -> str:
    return " / ".join(severity.name for severity in entry.severities)


_OPENING = """# Diagnostics

Every diagnostic of `orchestra compile`, and how to fix it. `orchestra explain RULE` prints the
same text. A pipeline with an ERROR is not run; a WARNING is probably a mistake; an INFO is worth knowing.
`--strict` treats warnings as errors.

A diagnostic shows the source line with a caret, and a `help:` line if a fix is known.
`--format json`, `github` and `sarif` print the same as data, as annotations of a pull request, and for code
scanning.

In JSON a diagnostic whose fix is certain has `edits`: replace the `length` characters at `offset` (counted
from 0; `line` and `column` say the same, from 1) with `text`. The edits of one diagnostic belong together. Make
the last one first, and check the file again afterwards. SARIF has them as `fixes`.

Add your own rules as functions `(graph) -> Iterable[Diagnostic]`, registered by the entry point `orchestra.lint`.
"""
