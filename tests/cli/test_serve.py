"""``orchestra cxdb serve``: a server over a folder that runs use at the same time."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from calls import PLAN, begin, call

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.remote.requests import ServerPlace
from orchestra.cxdb.remote.store import RemoteStore
from orchestra.cxdb.server.serve import Addresses
from orchestra.ports import NewTurn

TURN = NewTurn(type_id="t", type_version=1, payload=b"\x80")


def start_serving(folder: Path, bind: str, http: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "orchestra", "cxdb", "serve", "--path", str(folder)]
    return subprocess.Popen(
        [*command, "--bind", bind, "--http", http, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def serving(
    folder: Path, bind: str = "127.0.0.1:0", http: str = "127.0.0.1:0", *more: str
) -> Iterator[tuple[ServerPlace, subprocess.Popen[str]]]:
    process = start_serving(folder, bind, http, *more)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        words = process.stdout.readline().split()
        (host, port), (http, http_port) = words[1].split(":"), words[3].removeprefix("http://").split(":")
        yield ServerPlace(host=host, port=int(port), http_host=http, http_port=int(http_port)), process
    finally:
        process.kill()
        process.communicate()


async def write(place: ServerPlace) -> int:
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
    async def both(place: ServerPlace) -> None:
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


def test_the_address_that_cannot_be_listened_at_is_named_with_the_reason(tmp_path: Path) -> None:
    store = ("--path", str(tmp_path / "store"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = f"127.0.0.1:{taken.getsockname()[1]}"
        for places in (("--bind", busy, "--http", "127.0.0.1:0"), ("--bind", "127.0.0.1:0", "--http", busy)):
            code, told = refused(*store, *places)
            assert code == 6
            assert f"{busy}: another program is listening there" in told
            assert "127.0.0.1:0" not in told
    code, told = refused(*store, "--bind", "127.0.0.1:19009", "--http", "127.0.0.1:19009")
    assert code == 2
    assert "--http" in told
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    code, told = refused(*store, "--bind", "192.0.2.1:19009", "--token-file", str(token))
    assert code == 6
    assert "192.0.2.1:19009: this machine does not have this address" in told


def test_a_folder_that_has_no_store_yet_is_reported_as_new(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    for is_new in (True, False):
        process = start_serving(folder, "127.0.0.1:0", "127.0.0.1:0")
        assert process.stdout is not None
        assert ("new" in process.stdout.readline().removeprefix(f"serving {folder}")) == is_new
        process.kill()
        process.communicate()


def test_an_address_is_shown_as_it_is_written_in_a_url() -> None:
    at = Addresses(host="::1", port=9009, http_host="127.0.0.1", http_port=9010)
    assert (at.binary, at.http) == ("[::1]:9009", "http://127.0.0.1:9010")


def test_a_run_without_the_token_says_where_to_put_it(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    with serving(tmp_path / "served", "127.0.0.1:0", "127.0.0.1:0", "--token-file", str(token)) as (place, _):
        (tmp_path / "orchestra.yaml").write_text(
            f"cxdb:\n  url: http://{place.http_host}:{place.http_port}\n  address: {place.host}:{place.port}\n"
        )
        done = call(tmp_path, "status", ORCHESTRA_CXDB_PATH="")
        assert done.returncode == 6
        assert "ORCHESTRA_CXDB_TOKEN" in done.stderr
        with (tmp_path / "orchestra.yaml").open("a") as settings:
            settings.write("  token_file: token\n")
        assert call(tmp_path, "status", ORCHESTRA_CXDB_PATH="").returncode == 0


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


def test_a_suggested_command_finds_a_server_whose_doors_only_a_file_names(tmp_path: Path) -> None:
    named = tmp_path / "elsewhere" / "team.yaml"
    named.parent.mkdir()
    with serving(tmp_path / "served") as (place, _process):
        named.write_text(on(place))
        ran = call(tmp_path, "run", str(PLAN), "--config", str(named), ORCHESTRA_CXDB_PATH="")
        suggested = ran.stdout.split("details: orchestra ")[1].split()
        assert call(tmp_path, *suggested, ORCHESTRA_CXDB_PATH="").returncode == 0


def test_a_server_whose_binary_protocol_is_elsewhere_is_not_called_absent(tmp_path: Path) -> None:
    with serving(tmp_path / "served") as (place, _process), socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        free = f"127.0.0.1:{taken.getsockname()[1]}"
        url = f"http://{place.http_host}:{place.http_port}"
        (tmp_path / "orchestra.yaml").write_text(f"cxdb: {{url: '{url}', address: '{free}', patience: 100ms}}\n")
        refused = call(tmp_path, "run", str(PLAN), ORCHESTRA_CXDB_PATH="")
        assert refused.returncode == 6
        error, fix = refused.stderr.splitlines()
        assert free in error
        assert "cxdb.address" in fix
        assert "cxdb.address" in call(tmp_path, "doctor", ORCHESTRA_CXDB_PATH="").stdout


# --- a server that is lost in the middle of a run -----------------------------------------------------


def on(place: ServerPlace, patience: str = "30s") -> str:
    """Settings for runs on a server."""
    url, address = f"http://{place.http_host}:{place.http_port}", f"{place.host}:{place.port}"
    return f"cxdb: {{url: '{url}', address: '{address}', patience: {patience}}}\n"


def at_work(folder: Path) -> subprocess.Popen[str]:
    """A run whose first agent takes two seconds."""
    process = begin(folder, delay="2s", ORCHESTRA_CXDB_PATH="")
    time.sleep(0.3)
    return process


def again(folder: Path, place: ServerPlace) -> AbstractContextManager[tuple[ServerPlace, subprocess.Popen[str]]]:
    """Another server where one was."""
    return serving(folder, bind=f"{place.host}:{place.port}", http=f"{place.http_host}:{place.http_port}")


def test_a_run_continues_when_its_server_is_started_again(tmp_path: Path) -> None:
    with serving(tmp_path / "served") as (place, server):
        (tmp_path / "orchestra.yaml").write_text(on(place))
        process = at_work(tmp_path)
        server.kill()
        server.wait()
    time.sleep(2.5)  # the agent answers while there is no server
    with again(tmp_path / "served", place):
        _, err = process.communicate(timeout=40)
        assert process.returncode == 0, err
        events = json.loads(call(tmp_path, "log", "last", "--json", ORCHESTRA_CXDB_PATH="").stdout)["events"]
        ended = [event["node"] for event in events if event["event"] == "StageCompleted"]
        assert len(ended) == len(set(ended))


def test_a_run_whose_server_stays_away_stops_and_continues_when_it_is_back(tmp_path: Path) -> None:
    with serving(tmp_path / "served") as (place, server):
        (tmp_path / "orchestra.yaml").write_text(on(place, "300ms"))
        process = at_work(tmp_path)
        server.kill()
        _, err = process.communicate(timeout=40)
    assert process.returncode == 6
    assert "does not answer" in err
    gone = call(tmp_path, "status", ORCHESTRA_CXDB_PATH="")
    assert gone.returncode == 6
    assert "stopped (store)" in gone.stdout
    with again(tmp_path / "served", place):
        (row,) = json.loads(call(tmp_path, "status", "--json", ORCHESTRA_CXDB_PATH="").stdout)["sessions"]
        assert row["phase"] == "stopped (store)"
        resumed = call(tmp_path, "resume", "last", ORCHESTRA_CXDB_PATH="")
        assert resumed.returncode == 0
        events = json.loads(call(tmp_path, "log", "last", "--json", ORCHESTRA_CXDB_PATH="").stdout)["events"]
        (paused,) = [event for event in events if event["event"] == "PipelinePaused"]
        assert "the store failed" in paused["reason"]
        (row,) = json.loads(call(tmp_path, "status", "--json", ORCHESTRA_CXDB_PATH="").stdout)["sessions"]
        assert row["phase"] == "completed"


def test_a_run_whose_server_came_back_empty_stops_and_says_so(tmp_path: Path) -> None:
    with serving(tmp_path / "served") as (place, server):
        (tmp_path / "orchestra.yaml").write_text(on(place))
        process = at_work(tmp_path)
        server.kill()
        server.wait()
    with again(tmp_path / "another", place):
        _, err = process.communicate(timeout=40)
        told = call(tmp_path, "status", ORCHESTRA_CXDB_PATH="")
        (known,) = json.loads(call(tmp_path, "status", "--json", ORCHESTRA_CXDB_PATH="").stdout)["sessions"]
    assert process.returncode == 6
    assert "lost data" in err
    assert told.returncode == 0
    assert "stopped (store)" in told.stdout
    assert "is missing from this store" in told.stdout
    assert known["phase"] == "stopped (store)"


# --- the doctor -----------------------------------------------------------------------------------------


def test_the_doctor_says_what_a_server_is_like_and_plants_a_turn_to_look_for(tmp_path: Path) -> None:
    with serving(tmp_path / "served") as (place, _server):
        (tmp_path / "orchestra.yaml").write_text(on(place))
        first = call(tmp_path, "doctor", ORCHESTRA_CXDB_PATH="")
        assert first.returncode == 0
        for word in ("answers in", "event types are registered", "an append takes", "clock"):
            assert word in first.stdout
        assert "test turn" not in first.stdout
        assert "still exists" in call(tmp_path, "doctor", ORCHESTRA_CXDB_PATH="").stdout
        assert json.loads(call(tmp_path, "status", "--json", ORCHESTRA_CXDB_PATH="").stdout)["sessions"] == []


def test_the_doctor_reports_a_server_that_lost_its_data(tmp_path: Path) -> None:
    with serving(tmp_path / "served") as (place, _server):
        (tmp_path / "orchestra.yaml").write_text(on(place))
        assert call(tmp_path, "doctor", ORCHESTRA_CXDB_PATH="").returncode == 0
    with again(tmp_path / "another", place):
        told = call(tmp_path, "doctor", ORCHESTRA_CXDB_PATH="")
        assert told.returncode == 1
        assert "lost its data" in told.stdout
        assert call(tmp_path, "doctor", ORCHESTRA_CXDB_PATH="").returncode == 0  # it begins anew


def test_the_doctor_names_types_that_another_process_gave_other_fields(tmp_path: Path) -> None:
    with serving(tmp_path / "served") as (place, _server):
        (tmp_path / "orchestra.yaml").write_text(on(place))
        other = b'{"registry_version":1,"bundle_id":"other","types":{"dev.orchestra.Warning":{"versions":{"1":'
        other += b'{"fields":{"10":{"name":"something","type":"u64"}}}}}}}'
        asyncio.run(publish(place, other))
        told = call(tmp_path, "doctor", ORCHESTRA_CXDB_PATH="")
        assert told.returncode == 1
        assert "dev.orchestra.Warning" in told.stdout
        refused = call(tmp_path, "run", str(PLAN), ORCHESTRA_CXDB_PATH="")
        assert refused.returncode == 6
        assert "dev.orchestra.Warning" in refused.stderr
        assert json.loads(call(tmp_path, "status", "--json", ORCHESTRA_CXDB_PATH="").stdout)["sessions"] == []


async def publish(place: ServerPlace, bundle: bytes) -> None:
    store = RemoteStore(place, patience=5)
    await store.publish_types("other", bundle)
    await store.close()


@pytest.mark.parametrize(("struck", "code"), [(None, 6), (signal.SIGTERM, 130)])
def test_a_server_that_stops_in_mid_run_ends_the_run_within_patience_or_at_a_signal(
    struck: signal.Signals | None, code: int, tmp_path: Path
) -> None:
    patience = "1s" if struck is None else "60s"
    with serving(tmp_path / "served") as (place, server):
        config = tmp_path / "server.yaml"
        config.write_text(
            f"cxdb: {{url: 'http://{place.http_host}:{place.http_port}', address: '{place.host}:{place.port}',"
            f" patience: {patience}}}"
        )
        run = begin(tmp_path, "--config", str(config), delay="500ms", ORCHESTRA_CXDB_PATH="")
        server.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        if struck is not None:
            run.send_signal(struck)
        _out, err = run.communicate(timeout=30)
        assert run.returncode == code, err
        assert time.monotonic() - began < 40
        assert "safe up to its last recorded event" in err
        listed = call(tmp_path, "status", "--config", str(config), ORCHESTRA_CXDB_PATH="")
        assert listed.returncode == 6
        assert "stopped (store)" in listed.stderr + listed.stdout
