"""Adds new event types and versions to tests/cxdb/frozen_types.json, which a test holds the declarations to (S10).

Run: ``python tools/freeze_types.py``. What is frozen never changes: stores hold it. Events with other fields get
the next version of their type, in ``@event(TYPE, version=...)``. ``--anew`` writes the file from the declarations
alone; that is for types that no release has had.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TypeAlias

from orchestra.cxdb.format.registry import bundle

FILE = Path(__file__).resolve().parent.parent / "tests" / "cxdb" / "frozen_types.json"

Types: TypeAlias = dict[str, dict[str, dict[str, object]]]
"""Per type and version, the fields by tag."""


def current() -> Types:
    """The types as they are declared."""
    described = json.loads(bundle()[1])["types"]
    return {
        name: {version: one["fields"] for version, one in body["versions"].items()}
        for name, body in described.items()
    }


def frozen() -> Types:
    """The types as they are frozen."""
    found: Types = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def changes(before: Types, now: Types) -> list[str]:
    """What is declared otherwise than it is frozen."""
    return [
        f"{name} v{version} has changed: give its events the next version"
        for name, versions in now.items()
        for version, fields in versions.items()
        if before.get(name, {}).get(version, fields) != fields
    ]


def joined(before: Types, now: Types) -> Types:
    """What is frozen, and what is new."""
    return {name: {**before.get(name, {}), **now.get(name, {})} for name in sorted({*before, *now})}


def write(types: Types) -> None:
    """Write the file, a field in each line."""
    lines = []
    for name, versions in types.items():
        parts = [
            f'    "{version}": {{\n'
            + ",\n".join(f'      "{tag}": {json.dumps(field, sort_keys=True)}' for tag, field in fields.items())
            + "\n    }"
            for version, fields in versions.items()
        ]
        lines.append(f'  "{name}": {{\n' + ",\n".join(parts) + "\n  }")
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main() -> int:
    """Write the file; 1, and nothing is written, where something frozen has changed."""
    before: Types = {} if "--anew" in sys.argv else frozen()
    problems = changes(before, current())
    if problems:
        sys.stderr.write("\n".join([*problems, ""]))
        return 1
    write(joined(before, current()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
