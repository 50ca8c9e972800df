"""When the first model request of ``orchestra run`` is sent, against a bare script that imports the same and asks.

Run: ``python benchmarks/first_request.py [--rounds N]``. A model server on this machine notes the arrival. Both
programs run in turns; the smallest CPU time up to the request counts, because the machine's load changes it least,
and the smallest wall time is printed beside it. The bare script of an agent builds ``create_agent`` with a tool.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestra.modelserver import ModelServer, parse

DOT = "digraph p { start [shape=Mdiamond] exit [shape=Msquare] work [prompt=go] start -> work -> exit }"
MODELS = {"openai": "gpt-5", "anthropic": "claude-test", "google": "gemini-test"}
CLIENTS = {
    "openai": "from langchain_openai import ChatOpenAI as Model\nmore = {'use_responses_api': False}\n",
    "anthropic": "from langchain_anthropic import ChatAnthropic as Model\nmore = {}\n",
    "google": "from langchain_google_genai import ChatGoogleGenerativeAI as Model\nmore = {}\n",
}
ASKS = {
    "direct": "for chunk in model.stream('go'): pass\n",
    "langgraph": "from langchain.agents import create_agent\n"
    "def shell(command: str) -> str:\n    'Run a command.'\n    return ''\n"
    "for chunk in create_agent(model, [shell]).stream({'messages': [('user', 'go')]}): pass\n",
}


def script(kind: str, backend: str, address: str) -> str:
    made = f"model = Model(model={MODELS[kind]!r}, base_url={address!r}, api_key='none', max_retries=0, **more)\n"
    return CLIENTS[kind] + made + ASKS[backend]


def first(server: ModelServer, command: list[str], folder: Path) -> tuple[float, float]:
    """CPU and wall seconds of a program up to its first request."""
    before, began = len(server.requests), time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    while len(server.requests) == before:
        if process.poll() is not None:
            raise SystemExit(f"{command[1]} ended with {process.returncode} before it asked")
        time.sleep(0.001)
    used, wall = cpu(process.pid), time.monotonic() - began
    process.wait()
    return used, wall


def cpu(pid: int) -> float:
    """Seconds of CPU, user and system, that a running process has taken (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LANGSMITH_TRACING": "false",
    "ANTHROPIC_API_KEY": "none",
    "GOOGLE_API_KEY": "none",
}


def measure(kind: str, backend: str, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name, ModelServer(parse("answers: [fine]")) as server:
        folder = Path(name)
        address = server.url + ("/v1" if kind == "openai" else "")
        (folder / "p.dot").write_text(DOT)
        (folder / "orchestra.yaml").write_text(
            f"backend: {backend}\nproviders:\n"
            f"  {kind}: {{base_url: '{address}', models: {{worker: {MODELS[kind]}}}}}\n"
        )
        bare = [sys.executable, "-c", script(kind, backend, address)]
        own = [sys.executable, "-m", "orchestra", "run", "p.dot", "-q"]
        pairs = [(first(server, bare, folder), first(server, own, folder)) for _ in range(rounds)]
    theirs, ours = ([min(values) for values in zip(*each, strict=True)] for each in zip(*pairs, strict=True))
    print(
        f"{kind} {backend}: {ours[0] / theirs[0]:.2f} times (at most 1.15): CPU {ours[0]:.2f} against "
        f"{theirs[0]:.2f} s, clock {ours[1]:.2f} against {theirs[1]:.2f} s"
    )


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=7)
    rounds = options.parse_args().rounds
    for kind in MODELS:
        for backend in ASKS:
            measure(kind, backend, rounds)


if __name__ == "__main__":
    main()
