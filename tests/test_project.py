"""What the project promises about itself: its lock, its documents, its demo."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOSTS = re.compile(r"(?:pypi|pythonhosted|crates|npmjs|golang|debian)\.(?:org|io|com)", re.IGNORECASE)


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\n") if name and (ROOT / name).is_file()]


def test_no_file_names_a_package_host() -> None:
    found = [
        path.relative_to(ROOT)
        for path in tracked()
        if path != Path(__file__).resolve() and HOSTS.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


@pytest.mark.parametrize("lock", ["requirements.lock", "docs.lock"])
def test_every_pin_of_a_lock_has_a_hash_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    for requirement in text.replace("\\\n", " ").strip().splitlines():
        assert "==" in requirement, requirement
        assert "--hash=sha256:" in requirement, requirement


def test_links_between_documents_lead_somewhere() -> None:
    for page in [path for path in tracked() if path.suffix == ".md"]:
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_the_site_has_every_page_in_its_navigation() -> None:
    named = set(re.findall(r"([\w/-]+\.md)", (ROOT / "mkdocs.yml").read_text()))
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert named <= pages
    assert {page for page in pages - named if not page.startswith("decisions/")} == set()


def test_the_engine_is_tested_without_the_parts_around_it() -> None:
    for file in (ROOT / "tests" / "engine").glob("*.py"):
        assert "orchestra.app" not in file.read_text(encoding="utf-8"), file
