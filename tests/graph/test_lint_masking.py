"""Commands whose shell lets a failure pass."""

from __future__ import annotations

import pytest
from lint_cases import flow, marked

RULE = "masked_failure"


def found(command: str, more: str = "") -> list[str]:
    """What is marked in a tool node with this command."""
    escaped = command.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    node = f'work [shape=parallelogram, tool_command="{escaped}"{more}]'
    return marked(flow(f"{node}\nstart -> work -> exit", RULE))


@pytest.mark.parametrize(
    ("command", "culprit"),
    [
        ("pytest | tee report.txt", "pytest"),
        ("pytest -q 2>&1 | tail -3", "pytest -q 2>&1"),
        ("make build\nmake test", "make build"),
        ("make build; make test", "make build"),
        ("cd sub\nmake", "cd sub"),
        ("make && echo built; echo done", "make"),
        ("echo one; ./check.sh | cat", "./check.sh"),
        ("CI=1 make test |& tee log", "CI=1 make test"),
        ("cat list | ./filter | sort", "./filter"),
        ("set -e; pytest | tee report.txt", "pytest"),
        ("grep -q x f || make; make test | tee log", "make test"),
        ("time pytest | cat", "time pytest"),
        ("make build # all of it\necho done", "make build"),
    ],
)
def test_a_failure_that_a_pipe_or_a_later_command_hides_is_a_warning(command: str, culprit: str) -> None:
    assert found(command) == [culprit]


@pytest.mark.parametrize(
    "command",
    [
        "pytest",
        "make build && make test",
        "echo a | wc -l",
        "cat x.txt | python3 sum.py",
        "echo one; echo two; make",
        "mkdir -p out\ncd out && make",
        "set -e\nmake build\nmake test",
        "set -eu; make build; make test",
        "set -o pipefail; pytest | tee log",
        "make build || exit 1; make test",
        "make lint || true; make test",
        'pytest | tee log; exit "${PIPESTATUS[0]}"',
        "A=1; B=$(date; id)\nmake",
        "server & make test",
        "trap '' TERM; (server &) ; make",
        "echo 'a; b | c'; make",
        'echo "$(a; b | c)"; make',
        "if make; then echo yes; fi; make test",
        "for f in *.py; do python3 $f; done; make",
        "cat <<END\na | b\nc; d\nEND",
        "make # test; all | none",
        "make 2>&1",
        "make &> log",
        "echo {{ last_response | raw }}",
    ],
)
def test_a_command_that_hides_nothing_that_matters_is_fine(command: str) -> None:
    assert not found(command)


@pytest.mark.parametrize(
    ("more", "warns"),
    [
        (", shell=sh", True),
        (", shell=bash", True),
        (', shell="bash -e"', True),
        (', shell="bash -eo pipefail"', False),
        (', shell="/bin/bash -euo pipefail"', False),
        (", shell=python3", False),
        (", goal_gate=true, retry_target=work, max_visits=2", False),
        (", goal_gate=true, retry_target=work, max_visits=2, shell=sh", True),
    ],
)
def test_the_shell_that_reads_the_command_decides(more: str, warns: bool) -> None:
    assert bool(found("pytest | tee log", more)) is warns


def test_a_shell_that_stops_at_the_first_failure_hides_none_of_several_lines() -> None:
    assert not found("make build\nmake test", ', shell="bash -e"')
    assert not flow(
        'shell="bash -eo pipefail"\nwork [shape=parallelogram, tool_command="a; b | c"]\nstart -> work -> exit',
        RULE,
    )


@pytest.mark.parametrize(
    "command",
    [
        "pytest || true",
        "pytest ||true",
        "pytest || :",
        "pytest || exit 0",
        "pytest || echo failed",
        "cd src && pytest || true",
        "mkdir -p out; pytest || true",
        "pytest || true; exit 0",
        "pytest || exit 0; echo done",
        "set +e; pytest; true",
        "set +e\npytest\nexit 0",
        "set +o errexit; pytest; echo done",
        "pytest | tee log || true",
    ],
)
def test_a_gate_of_which_every_failure_is_excused_is_a_warning(command: str) -> None:
    gate = ", goal_gate=true, retry_target=work, max_visits=2"
    (culprit,) = found(command, gate)
    assert culprit == "pytest"


@pytest.mark.parametrize(
    "command",
    [
        "pytest",
        "pytest; true",
        "pytest || exit 1",
        "pytest || exit",
        "lint || true; pytest",
        "lint || true\npytest",
        "grep -q x f || true",
        "pytest || make again",
        "pytest || true && make test",
        "set +e; pytest; exit $?",
    ],
)
def test_a_gate_that_can_fail_is_fine(command: str) -> None:
    assert not found(command, ", goal_gate=true, retry_target=work, max_visits=2")


def test_an_excuse_matters_where_an_edge_asks_for_the_outcome() -> None:
    node = 'work [shape=parallelogram, tool_command="pytest || true"]\nfix\nfix -> exit\n'
    assert not flow(node + "start -> work -> exit\nstart -> fix", RULE)
    assert flow(node + 'start -> work -> exit\nwork -> fix [condition="outcome=fail"]', RULE)
    assert not flow(node + 'start -> work -> exit\nwork -> fix [condition="tool.output contains FAILED"]', RULE)
