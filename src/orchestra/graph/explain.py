"""The explanation of each diagnostic, for the terminal and for the reference page."""

from __future__ import annotations

from orchestra.graph.rulebook import ENTRIES, RuleEntry


def summaries() -> dict[str, str]:
    """What each rule means, in a sentence."""
    return {rule: entry.meaning for rule, entry in ENTRIES.items()}


def pipeline(body: str) -> str:
    """A whole file around the statements of an example."""
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    return f"digraph example {{\n{indented}}}\n"


def explain(entry: RuleEntry) -> str:
    """What ``orchestra explain RULE`` prints."""
    severity = " or ".join(severity.value for severity in entry.severities)
    needs = f"\nRequires {entry.needs}.\n" if entry.needs else ""
    examples = f"\nWrong:\n\n{pipeline(entry.wrong)}\nRight:\n\n{pipeline(entry.right)}" if entry.wrong else ""
    return f"{entry.rule} ({severity})\n\n{entry.meaning}\n\n{entry.why}\n{needs}{examples}"


def reference() -> str:
    """The page ``docs/reference/diagnostics.md``."""
    rows = "".join(
        f"| [`{entry.rule}`](#{entry.rule}) | {_severities(entry)} | {entry.meaning} |\n"
        for entry in ENTRIES.values()
    )
    parts = "".join(_section(entry) for entry in ENTRIES.values())
    return f"{_OPENING}\n| rule | severity | meaning |\n|---|---|---|\n{rows}{parts}"


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


def _severities(entry: RuleEntry) -> str:
    return " / ".join(severity.name for severity in entry.severities)


def _section(entry: RuleEntry) -> str:
    needs = f"\nRequires {entry.needs}.\n" if entry.needs else ""
    wrong, right = (f"```dot\n{pipeline(body)}```\n" for body in (entry.wrong, entry.right))
    examples = f"\nWrong:\n\n{wrong}\nRight:\n\n{right}" if entry.wrong else ""
    return f"\n## {entry.rule}\n\n{_severities(entry)}. {entry.meaning}\n\n{entry.why}\n{needs}{examples}"
