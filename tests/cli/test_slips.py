"""Slips of the pen, compiled as a user does: the first finding names the slip, and edits repair the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from calls import call
from slip_table import BESIDE, TABLES, Slip

from orchestra.app.pipelines import compile_pipeline
from orchestra.errors import Source
from orchestra.graph.dot import parse
from orchestra.graph.edits import apply

ROUNDS = 3
"""How often a file is compiled and its edits are made: some findings hide others."""


def compiled(folder: Path, texts: list[str]) -> list[list[dict[str, Any]]]:
    """The findings about each text, from one call of the command."""
    names = [f"p{number}.dot" for number in range(len(texts))]
    for name, text in (*BESIDE.items(), *zip(names, texts, strict=True)):
        (folder / name).write_text(text, encoding="utf-8")
    done = call(folder, "compile", "--format", "json", *names)
    assert done.stderr == ""
    return [file["diagnostics"] for file in json.loads(done.stdout)["files"]]


def chosen(whole: bool) -> list[tuple[str, Slip]]:
    """The slips with their pipelines: the first table and half of the others, or all."""
    rows = [
        (pipeline, slips if whole or not number else slips[::2]) for number, (pipeline, slips) in enumerate(TABLES)
    ]
    return [(pipeline, slip) for pipeline, slips in rows for slip in slips]


def marked(text: str, finding: dict[str, Any]) -> str:
    span = finding["span"]
    lines = text.split("\n")
    start = sum(len(line) + 1 for line in lines[: span["line"] - 1]) + span["column"] - 1
    return text[start : start + span["length"]]


def edited(text: str, findings: list[dict[str, Any]]) -> str:
    """The text with the edits made as the reference tells: by offset and length, the last one first."""
    taken: list[dict[str, Any]] = []
    for finding in findings:
        new = finding["edits"]
        if not any(_overlap(one, other) for one in new for other in taken):
            taken += new
    for edit in sorted(taken, key=lambda edit: (edit["offset"], edit["length"]), reverse=True):
        text = text[: edit["offset"]] + edit["text"] + text[edit["offset"] + edit["length"] :]
    return text


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    ends = one["offset"] + one["length"], other["offset"] + other["length"]
    same = (one["offset"], one["length"]) == (other["offset"], other["length"])
    return same or (one["offset"] < ends[1] and other["offset"] < ends[0])


@pytest.fixture(scope="module")
def slips(pytestconfig: pytest.Config) -> list[tuple[str, Slip]]:
    return chosen(pytestconfig.getoption("--long"))


@pytest.fixture(scope="module")
def texts(slips: list[tuple[str, Slip]]) -> list[str]:
    assert all(pipeline.count(slip.meant) == 1 for pipeline, slip in slips)
    return [pipeline.replace(slip.meant, slip.wrote) for pipeline, slip in slips]


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> list[list[dict[str, Any]]]:
    return compiled(tmp_path_factory.mktemp("slips"), texts)


def test_nothing_is_found_in_the_pipelines_without_slips(tmp_path: Path) -> None:
    assert compiled(tmp_path, [pipeline for pipeline, _slips in TABLES]) == [[]] * len(TABLES)


def test_the_first_finding_marks_the_slip(
    slips: list[tuple[str, Slip]], texts: list[str], findings: list[list[dict[str, Any]]]
) -> None:
    firsts = [marked(text, found[0]) if found else "" for text, found in zip(texts, findings, strict=True)]
    assert len(chosen(whole=True)) >= 680
    assert [(slip, first) for (_, slip), first in zip(slips, firsts, strict=True) if first != slip.marked] == []


def test_the_help_of_the_first_finding_says_what_was_meant(
    slips: list[tuple[str, Slip]], findings: list[list[dict[str, Any]]]
) -> None:
    helps = [found[0]["fix"] or "" if found else "" for found in findings]
    assert [(slip, said) for (_, slip), said in zip(slips, helps, strict=True) if slip.help not in said] == []


def test_edits_alone_repair_every_slip_whose_fix_is_certain(
    tmp_path: Path, slips: list[tuple[str, Slip]], texts: list[str], findings: list[list[dict[str, Any]]]
) -> None:
    for name, text in BESIDE.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    repaired = [edited(text, each) for text, each in zip(texts, findings, strict=True)]
    left = {number for number, (_, slip) in enumerate(slips) if slip.repaired}
    for _ in range(ROUNDS):  # in this process, which is much quicker than the command
        for number in sorted(left):
            source = Source(str(tmp_path / "p.dot"), repaired[number])
            found = compile_pipeline(source, variables={}, secrets={}).diagnostics
            if not found:
                left.remove(number)
            repaired[number] = apply(source, found)
    assert [slips[number][1] for number in left] == []
    meant = {pipeline: parse(Source("p.dot", pipeline))[0] for pipeline, _ in slips}
    same = [
        parse(Source("p.dot", text))[0] == meant[pipeline]
        for text, (pipeline, _) in zip(repaired, slips, strict=True)
    ]
    assert same.count(True) >= len(slips) * 0.6


def test_edits_are_made_together_or_not_at_all() -> None:
    text = "digraph g { start -> work; exit <- work }"
    source = Source("p.dot", text)
    _, found = parse(source)
    assert apply(source, found) == "digraph g { start -> work; work -> exit }"
    assert apply(source, [*found, *found]) == apply(source, found)
