"""Commands that behave badly harm nothing, and secrets that pass through tools are not in what is left of them."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from toolbox import Box

from orchestra.agents.tools import KEPT, Hooks
from orchestra.agents.tools.custom import tool
from orchestra.agents.tools.mcp_client import serve_tools
from orchestra.agents.tools.settings import ServerSpec
from orchestra.processes import tree
from orchestra.processes.sandbox import policy, unavailable

KINDS = ["none"] if unavailable() else ["none", "bwrap"]


@pytest.fixture(params=KINDS)
def box(tmp_path: Path, request: pytest.FixtureRequest) -> Box:
    return Box(tmp_path, sandbox=policy(request.param, "none", [tmp_path]))


def running(box: Box) -> list[int]:
    return tree.members(box.context.marker)


def test_a_gigabyte_of_output_is_cut_and_kept_to_the_limit(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    box = Box(tmp_path)
    size = 1_000_000_000 if pytestconfig.getoption("--long") else 100_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = box.run("shell", command=f"echo begin; yes | head -c {size}; echo end", timeout=300)
    assert result.text.startswith("begin\n")
    assert result.text.rstrip().endswith("end")
    assert len(result.text) < 31_000
    assert f"of {size + 10} bytes are recorded" in result.text
    assert KEPT * 0.9 < sum(part.size for part in result.parts) <= KEPT * 1.1
    assert box.shown == size + 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_command_that_ignores_its_end_is_ended(box: Box) -> None:
    began = time.monotonic()
    result = box.run("shell", command="trap '' TERM INT HUP; while :; do sleep 0.1; done", timeout=1)
    assert "timed out" in result.text
    assert time.monotonic() - began < 8
    assert not running(box)


def test_daemons_are_stopped_with_the_command(box: Box) -> None:
    command = (
        "(setsid sh -c 'sleep 300 & sleep 300' >/dev/null 2>&1 &) ; nohup sleep 300 >/dev/null 2>&1 & echo done"
    )
    result = box.run("shell", command=command)
    assert result.text.startswith("done")
    assert not running(box)


def test_a_command_that_kills_its_group_harms_nobody_else(box: Box) -> None:
    victim = subprocess.Popen(["sleep", "30"])
    try:
        result = box.run("shell", command="kill -9 0; kill -9 -- -$PPID; echo never")
        assert result.is_error
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_a_cancelled_call_leaves_nothing_running(box: Box) -> None:
    async def scenario() -> None:
        task = asyncio.create_task(box.call("shell", command="sleep 300 & setsid sleep 300 & wait"))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert not running(box)


def test_forks_without_end_are_ended(tmp_path: Path) -> None:
    box = Box(tmp_path)
    result = box.run("shell", command="i=0; while [ $i -lt 200 ]; do sleep 300 & i=$((i+1)); done; wait", timeout=2)
    assert "timed out" in result.text
    assert not running(box)


CANARIES = {f"CANARY_{n}": f"canary-{n:02}-{n * 7919:08x}-zq" for n in range(40)}


@tool("tell")
def tell(word: str) -> str:
    """Give a word back, or fail with it."""
    if word.startswith("fail "):
        raise ValueError(word)
    return word


def test_no_secret_is_in_a_result_a_record_or_a_stored_output(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    values = list(CANARIES.values())
    hooks = Hooks(post="cat >&2; exit 1")
    box = Box(tmp_path / "work", secrets=CANARIES, more=(tell,))
    denied = Box(tmp_path / "work", secrets=CANARIES, hooks=Hooks(pre="cat >&2; exit 1"))
    complaining = Box(tmp_path / "work", secrets=CANARIES, hooks=hooks)
    spec = ServerSpec(
        name="ex", command=sys.executable, arguments=(str(Path(__file__).parent / "mcp_example.py"),), timeout=30
    )

    async def leaks() -> None:
        results = []
        async with serve_tools({"ex": ["fail"]}, {"ex": spec}, box.context) as more:
            box.tools.update({one.name: one for one in more})
            for n, value in enumerate(values):
                (box.folder / f"f{n}").write_text(f"key={value}\n")
                results += [
                    await box.call("read-file", path=f"f{n}"),
                    await box.call("search-code", pattern=value, path=f"f{n}"),
                    await box.call("edit-file", path=f"f{n}", old_string=f"kex={value}", new_string="x"),
                    await box.call("read-file", path=f"no/{value}"),
                    await box.call("list-files", pattern=value),
                    await box.call("tell", word=f"fail {value}"),
                    await box.call("tell", word=value),
                    await box.call(value),
                    await box.call("read-file", **{value: 1}),
                ]
            joined = " ".join(values)
            (box.folder / "all").write_text(joined)
            results += [
                await box.call("shell", command=f"echo {joined}; echo {joined} >&2; exit 3"),
                await box.call("ex:fail", word=joined),
                await denied.call("read-file", path=joined),
                await complaining.call("read-file", path="all"),
            ]
            (box.folder / "long").write_text("".join(f"{value} {'x' * 3000}\n" for value in values))
            results.append(await box.call("shell", command="cat long long"))
        everything = b"\n".join(result.text.encode() for result in results)
        for one in (box, denied, complaining):
            everything += b"\n".join(one.scope.blobs.values())
        assert [value for value in values if value.encode() in everything] == []

    asyncio.run(leaks())
    # events go through the journal, which removes secrets from every text field (S18)
    recorded = "".join(
        box.context.redactor.text(msgspec.json.encode(msgspec.to_builtins(vars(event))).decode())
        for one in (denied, complaining)
        for event in one.scope.events
        if hasattr(event, "__dict__")
    )
    assert [value for value in values if value in recorded] == []


def test_no_key_of_a_provider_is_in_a_tools_environment(box: Box) -> None:
    os.environ["ANTHROPIC_API_KEY"] = "sk-ant-test-0123456789abcdef"
    try:
        assert "sk-ant" not in box.run("shell", command="env; cat /proc/self/environ").text
    finally:
        del os.environ["ANTHROPIC_API_KEY"]
