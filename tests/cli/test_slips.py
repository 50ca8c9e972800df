"""Slips of the pen, compiled as a user does: the first finding names the slip, and edits repair the file."""

from __future__ import annotations

import json
from functools import cache
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


SLIPS = [slip for _pipeline, slips in TABLES for slip in slips]


@cache
def slipped() -> list[str]:
    """The pipelines with each of the slips."""
    assert all(pipeline.count(slip.meant) == 1 for pipeline, slips in TABLES for slip in slips)
    return [pipeline.replace(slip.meant, slip.wrote) for pipeline, slips in TABLES for slip in slips]


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
def findings(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    return compiled(tmp_path_factory.mktemp("slips"), slipped())


def test_nothing_is_found_in_the_pipelines_without_slips(tmp_path: Path) -> None:
    assert compiled(tmp_path, [pipeline for pipeline, _slips in TABLES]) == [[], [], []]


def test_the_first_finding_marks_the_slip(findings: list[list[dict[str, Any]]]) -> None:
    firsts = [marked(text, found[0]) if found else "" for text, found in zip(slipped(), findings, strict=True)]
    wrong = [(slip, first) for slip, first in zip(SLIPS, firsts, strict=True) if first != slip.marked]
    assert len(SLIPS) >= 560
    assert not wrong


def test_the_help_of_the_first_finding_says_what_was_meant(findings: list[list[dict[str, Any]]]) -> None:
    helps = [found[0]["fix"] or "" if found else "" for found in findings]
    assert not [(slip, said) for slip, said in zip(SLIPS, helps, strict=True) if slip.help not in said]


def test_edits_alone_repair_every_slip_whose_fix_is_certain(
    tmp_path: Path, findings: list[list[dict[str, Any]]], pytestconfig: pytest.Config
) -> None:
    step = 1 if pytestconfig.getoption("--long") else 3
    for name, text in BESIDE.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    texts = [edited(text, each) for text, each in zip(slipped(), findings, strict=True)]
    left = set(range(0, len(texts), step))
    for _ in range(ROUNDS):  # in this process, which is much quicker than the command
        for number in sorted(left):
            source = Source(str(tmp_path / "p.dot"), texts[number])
            found = compile_pipeline(source, variables={}, secrets={}).diagnostics
            if not found:
                left.remove(number)
            texts[number] = apply(source, found)
    assert [SLIPS[number] for number in left if SLIPS[number].repaired] == []
    assert len(same_graph(texts)) >= 300


def same_graph(texts: list[str]) -> list[Slip]:
    """The slips whose repaired text is the very pipeline that was meant."""
    meant = [parse(Source("p.dot", pipeline))[0] for pipeline, slips in TABLES for _slip in slips]
    repaired = [parse(Source("p.dot", text))[0] for text in texts]
    return [slip for slip, one, other in zip(SLIPS, meant, repaired, strict=True) if one == other]


def test_edits_are_made_together_or_not_at_all() -> None:
    text = "digraph g { start -> work; exit <- work }"
    source = Source("p.dot", text)
    _, found = parse(source)
    assert apply(source, found) == "digraph g { start -> work; work -> exit }"
    assert apply(source, [*found, *found]) == apply(source, found)
