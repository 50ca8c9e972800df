"""The reference of the events is what their declarations say."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_the_output_of_its_generator() -> None:
    written = (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
    assert written == runpy.run_path(str(ROOT / "tools" / "events_reference.py"))["page"]()
