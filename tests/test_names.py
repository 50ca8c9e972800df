"""What holds for all names and docstrings of the program."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "orchestra"
MODULES = {
    path.relative_to(SOURCE): ast.parse(path.read_text(encoding="utf-8"))
    for path in SOURCE.rglob("*.py")
    if path.relative_to(SOURCE).parts[0] not in ("templates", "examples")
}
PARTICIPLES = {
    "told",
    "held",
    "said",
    "kept",
    "shown",
    "spoken",
    "asked",
    "raised",
    "wanted",
    "found",
    "given",
    "named",
}


def test_every_class_name_is_defined_once() -> None:
    places = defaultdict(list)
    for path, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name.strip("_")].append(str(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_functions_are_named_by_what_they_do() -> None:
    found = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in MODULES.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.strip("_") in PARTICIPLES
    ]
    assert found == []
