"""Importing clients without the packages around them (A1)."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestra.agents.backends.importing import importing


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package whose own code defines ``ran`` and imports one of its two modules."""
    folder = tmp_path / "weighty"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("from weighty.needed import VALUE\nran = True\n")
    (folder / "needed.py").write_text("VALUE = 5\n")
    (folder / "inner" / "__init__.py").write_text("from weighty import ran\n")
    (folder / "inner" / "other.py").write_text("from weighty import named\nNAME = named.NAME\n")
    (folder / "named.py").write_text("NAME = 'other'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "weighty"
    for name in [name for name in sys.modules if name.partition(".")[0] == "weighty"]:
        del sys.modules[name]


def test_a_module_of_a_deferred_package_is_imported_without_the_package(package: str) -> None:
    with importing(package, f"{package}.inner"):
        from weighty.inner.other import NAME  # type: ignore[import-not-found]
    assert NAME == "other"
    assert "weighty.needed" not in sys.modules


def test_the_first_name_that_is_asked_of_a_deferred_package_brings_all_of_it(package: str) -> None:
    with importing(package, f"{package}.inner"):
        import weighty.inner
    assert weighty.inner.ran
    assert weighty.VALUE == 5
    with pytest.raises(AttributeError, match="'weighty' has no attribute 'missing'"):
        _ = weighty.missing


def test_a_module_that_needs_its_package_first_is_imported_the_second_time(package: str) -> None:
    folder = Path(sys.path[0]) / package
    (folder / "__init__.py").write_text("VERSION = 3\nfrom weighty.needed import VALUE\n")
    (folder / "needed.py").write_text("from weighty import VERSION\nVALUE = VERSION\n")
    with pytest.raises(ImportError), importing(package):
        from weighty.needed import VALUE
    with importing():
        from weighty.needed import VALUE
    assert VALUE == 3


def test_what_is_not_installed_is_not_deferred() -> None:
    with importing("no_such_package", "no_such_package.inner"):
        pass
    assert "no_such_package" not in sys.modules


def test_the_garbage_collector_works_again_afterwards() -> None:
    assert gc.isenabled()
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
