"""What a start costs: ``orchestra --help`` and ``orchestra compile`` of a small file, beside a bare hello-world.

    python benchmarks/cli_startup.py

The hello-world is a program with one command and one argument on the same Typer; its ``--help`` is measured
against ours, its plain call against ``compile``. CPU time of whole processes, user and system, runs
interleaved; the least of each is what to look at, the medians say how noisy the machine was.
"""

from __future__ import annotations

import compileall
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 25
HELLO = '''
import typer
app = typer.Typer()
@app.command()
def hello(name: str = typer.Argument("world")) -> None:
    """Say hello."""
    print(f"Hello {name}")
app()
'''
PIPELINE = """digraph small {
    graph [goal="Measure"]
    start [shape=Mdiamond]
    exit [shape=Msquare]
    work [prompt="Do it: $goal", timeout=5m]
    start -> work -> exit
}
"""


def cpu(command: list[str], folder: Path) -> float:
    """Milliseconds of CPU that a process took."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def main() -> None:
    """Print the figures."""
    root = Path(__file__).resolve().parent.parent
    compileall.compile_dir(root / "src", quiet=1)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "hello.py").write_text(HELLO)
        (folder / "p.dot").write_text(PIPELINE)
        python, ours = sys.executable, str(Path(sys.executable).with_name("orchestra"))
        commands = {
            "hello --help": [python, "hello.py", "--help"],
            "orchestra --help": [ours, "--help"],
            "hello": [python, "hello.py"],
            "orchestra compile": [ours, "compile", "p.dot"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                times[name].append(cpu(command, folder))
    for name, taken in times.items():
        print(f"{name:18} least {min(taken):6.1f} ms CPU, median {statistics.median(taken):6.1f}")
    for mine, theirs in (("orchestra --help", "hello --help"), ("orchestra compile", "hello")):
        least = min(times[mine]) / min(times[theirs])
        middle = statistics.median(times[mine]) / statistics.median(times[theirs])
        print(f"{mine:18} {least:.2f} times {theirs!r} (medians {middle:.2f})")


if __name__ == "__main__":
    main()
