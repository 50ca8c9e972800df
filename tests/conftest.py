"""Options of the whole suite."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import warm

settings.register_profile("whole suite", deadline=None)  # how long an example takes says nothing on a busy machine
settings.load_profile("whole suite")


def pytest_configure(config: pytest.Config) -> None:
    """Start ``orchestra`` warm (see warm.py).

    And hear Ctrl-C and Ctrl-\\ again, which shells let a job in the background ignore, with all that it starts.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    if not config.getoption("--cold"):
        subprocess.Popen = warm.Popen  # type: ignore[misc]


def pytest_unconfigure() -> None:
    """End the warm process, which else would be reported as left running."""
    warm.WARM.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cold", action="store_true", help="start every process of orchestra from its beginning")
    parser.addoption("--long", action="store_true", help="run soaks, fuzzes and crash sweeps in their long form")
    parser.addoption(
        "--live", action="store_true", help="run with models of the providers whose keys are set; costs money"
    )
    parser.addoption("--live-cli", action="store_true", help="run the real claude, codex and gemini, found on PATH")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--live-cli"):
        for item in items:
            if "live_cli" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="real programs: run with --live-cli"))
    if not config.getoption("--live"):
        for item in items:
            if "live" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="real models: run with --live"))
    if config.getoption("--long"):
        return
    skip = pytest.mark.skip(reason="long form: run with --long")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


SHARED_MEMORY = "/dev/shm"


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system in memory where there is one, for sweeps that make thousands of files."""
    if not os.access(SHARED_MEMORY, os.W_OK):
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(dir=SHARED_MEMORY))
    try:
        yield path
    finally:
        shutil.rmtree(path)
