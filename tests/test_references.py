"""Every reference leads somewhere: rule ids to a heading in docs/reference, links to files and headings."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
)
SOURCES = sorted(file for part in ("src", "tests", "benchmarks", "tools") for file in (ROOT / part).rglob("*.py"))

_RULE = re.compile(r"(?<![\w.#/-])([ACEHLSW]\d{1,2})(?![\w.-]*[\w-])")
"""An id as it is cited: ``(E11)``, ``S16``; not a longer name that contains one."""

_DEFINED = re.compile(r"^#+ ([ACEHLSW]\d{1,2}) ", re.MULTILINE)
_SECTION = re.compile(r"\b[a-z]+\.md,? \d")
_HEADING = re.compile(r"\b([a-z]+\.md)#([\w-]+)")
_LINK = re.compile(r"\]\(([^)\s]*)\)")
_CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def rules() -> set[str]:
    return {rule for page in REFERENCE for rule in _DEFINED.findall(page.read_text(encoding="utf-8"))}


def anchors(page: Path) -> set[str]:
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"<a id=\"([^\"]+)\"></a>", text))


def test_every_rule_that_is_cited_has_a_place_in_the_reference() -> None:
    known = rules()
    lost = [
        f"{file.relative_to(ROOT)}: {rule}"
        for file in (*SOURCES, *PAGES)
        for rule in dict.fromkeys(_RULE.findall(_prose(file)))
        if rule not in known
    ]
    assert not lost


def test_no_rule_is_defined_twice() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in REFERENCE)
    found = _DEFINED.findall(text)
    assert sorted(set(found)) == sorted(found)


def test_sources_cite_pages_by_headings_that_exist() -> None:
    lost = []
    for file in SOURCES:
        text = file.read_text(encoding="utf-8")
        lost += [f"{file.relative_to(ROOT)}: {found}" for found in _SECTION.findall(text)]
        for name, anchor in _HEADING.findall(text):
            known = [anchors(page) for page in PAGES if page.name == name]
            if not any(anchor in there for there in known):
                lost.append(f"{file.relative_to(ROOT)}: {name}#{anchor}")
    assert not lost


def test_every_link_in_the_documents_leads_to_a_file_and_a_heading() -> None:
    lost = []
    for page in PAGES:
        for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                lost.append(f"{page.relative_to(ROOT)}: {link}")
    assert not lost


def _prose(file: Path) -> str:
    """A page without its code; of a source everything."""
    text = file.read_text(encoding="utf-8")
    return _CODE.sub("", text) if file.suffix == ".md" else text
