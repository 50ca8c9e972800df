"""The built wheel in an empty environment, with every Python that is supported and found here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".tools" / "bin" / "uv"
EXTRAS = {
    "anthropic": "langchain_anthropic, langgraph",
    "openai": "langchain_openai, langgraph",
    "google": "langchain_google_genai, langgraph",
    "bedrock": "langchain_aws, langgraph",
    "mcp": "mcp, orchestra.agents.tools.mcp_client",
    "serve": "starlette, uvicorn, orchestra.cxdb.server",
}

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def ran(*command: object, code: int = 0) -> str:
    variables = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "UV_SYSTEM_CERTS": "1"}
    done = subprocess.run(list(map(str, command)), env=variables, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    if not UV.exists():
        pytest.skip("make .tools/ready brings uv")
    folder = tmp_path_factory.mktemp("dist")
    ran(UV, "build", "--wheel", "-q", "-o", folder, ROOT)
    return next(folder.glob("*.whl"))


def environment(folder: Path, what: str, python: str = sys.executable) -> Path:
    """The programs of a new environment with the wheel in it."""
    ran(UV, "venv", "-q", "--python", python, folder / "venv")
    ran(UV, "pip", "install", "-q", "--python", folder / "venv" / "bin" / "python", what)
    return folder / "venv" / "bin"


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_wheel_runs_the_demo_and_the_selftest(version: str, wheel: Path, tmp_path: Path) -> None:
    found = subprocess.run([UV, "python", "find", "--no-project", version], capture_output=True, text=True)
    by_pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    python = str(by_pyenv[-1]) if by_pyenv else found.stdout.strip()
    if not python:
        pytest.skip(f"no Python {version} here")
    programs = environment(tmp_path, str(wheel), python)
    assert "your checkout is as it was" in ran(programs / "orchestra", "demo", tmp_path / "demo")
    ran(programs / "orchestra", "selftest")


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_installed_and_imported(extra: str, wheel: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path, f"{wheel}[{extra}]")
    ran(programs / "python", "-c", f"import {EXTRAS[extra]}")


def test_uv_installs_the_wheel_as_a_tool(wheel: Path, tmp_path: Path) -> None:
    places = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    ran("env", *(f"{name}={value}" for name, value in places.items()), UV, "tool", "install", "-q", wheel)
    assert ran(tmp_path / "bin" / "orchestra", "--version").startswith("orchestra ")
