"""``orchestra cxdb serve``: a server over a folder that runs use at the same time."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from calls import PLAN, call

from orchestra.cxdb.embedded import EmbeddedStore
from orchestra.cxdb.remote.asking import Place
from orchestra.cxdb.remote.store import RemoteStore
from orchestra.ports import NewTurn

TURN = NewTurn(type_id="t", type_version=1, payload=b"\x80")


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Place, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "orchestra", "cxdb", "serve", "--path", str(folder)]
    process = subprocess.Popen(
        [*command, "--bind", "127.0.0.1:0", "--http", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        words = process.stdout.readline().split()
        (host, port), (http, http_port) = words[1].split(":"), words[3].removeprefix("http://").split(":")
        yield Place(host=host, port=int(port), http_host=http, http_port=int(http_port)), process
    finally:
        process.kill()
        process.communicate()


async def write(place: Place) -> int:
    store = RemoteStore(place, patience=5)
    context = (await store.create()).context_id
    await store.append(context, [TURN, TURN])
    await store.close()
    return context


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_was_written_is_there_after_the_server_ends(tmp_path: Path, how: signal.Signals) -> None:
    with serving(tmp_path / "store") as (place, process):
        context = asyncio.run(write(place))
        process.send_signal(how)
        assert process.wait(10) == (0 if how != signal.SIGKILL else -9)
    store = EmbeddedStore.open(tmp_path / "store")
    assert len(asyncio.run(store.turns(context))) == 2
    asyncio.run(store.close())


def test_other_processes_use_the_folder_at_the_same_time(tmp_path: Path) -> None:
    async def both(place: Place) -> None:
        here = EmbeddedStore.open(tmp_path / "store")
        there = RemoteStore(place, patience=5)
        context = (await here.create()).context_id
        for _ in range(20):
            await here.append(context, [TURN])
            await there.append(context, [TURN])
        assert await here.turns(context) == await there.turns(context)
        assert (await here.head(context)).depth == 39
        await there.close()
        await here.close()

    with serving(tmp_path / "store") as (place, _):
        asyncio.run(both(place))


def refused(*options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "orchestra", "cxdb", "serve", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stderr


def test_other_machines_are_let_in_only_with_a_token(tmp_path: Path) -> None:
    code, told = refused("--path", str(tmp_path / "store"), "--bind", "0.0.0.0:0")
    assert code == 2
    assert "--token-file" in told
    short = tmp_path / "token"
    short.write_text("short\n")
    code, _ = refused("--path", str(tmp_path / "store"), "--bind", "0.0.0.0:0", "--token-file", str(short))
    assert code == 2
    assert not (tmp_path / "store").exists()


def test_a_place_that_is_no_address_is_named(tmp_path: Path) -> None:
    code, told = refused("--path", str(tmp_path / "store"), "--bind", "nowhere")
    assert code == 2
    assert "nowhere" in told


def test_a_run_on_a_server_is_seen_through_it(tmp_path: Path) -> None:
    with serving(tmp_path / "served") as (place, _process):
        (tmp_path / "orchestra.yaml").write_text(
            f"cxdb: {{url: 'http://{place.http_host}:{place.http_port}', address: '{place.host}:{place.port}'}}\n"
        )
        ran = call(tmp_path, "run", str(PLAN), ORCHESTRA_CXDB_PATH="")
        assert (ran.returncode, ran.stderr) == (0, "")
        assert "--store" not in ran.stdout  # the settings name it already
        listed = json.loads(call(tmp_path, "status", "--json", ORCHESTRA_CXDB_PATH="").stdout)["sessions"]
        assert [session["phase"] for session in listed] == ["completed"]
        shown = call(tmp_path, "log", "last", ORCHESTRA_CXDB_PATH="")
        assert "PipelineCompleted" in shown.stdout
        assert call(tmp_path, "doctor", ORCHESTRA_CXDB_PATH="").returncode == 0
    kept = call(tmp_path, "status", "--json", ORCHESTRA_CXDB_PATH=str(tmp_path / "served"))
    assert [row["session"] for row in json.loads(kept.stdout)["sessions"]] == [listed[0]["session"]]


def test_a_server_that_is_not_there_is_one_line_and_exit_6(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "orchestra.yaml").write_text(f"cxdb: {{url: '{url}', address: '{url[7:]}', patience: 200ms}}\n")
        for command in (["run", str(PLAN)], ["status"], ["log", "last"]):
            refused = call(tmp_path, *command, ORCHESTRA_CXDB_PATH="")
            assert refused.returncode == 6
            error, fix = refused.stderr.splitlines()
            assert url in error
            assert "orchestra cxdb serve" in fix
        assert call(tmp_path, "doctor", ORCHESTRA_CXDB_PATH="").returncode == 1
