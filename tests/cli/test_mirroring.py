"""``cxdb.mirror``: runs in a folder whose turns a server gets too, whatever happens to either (S22)."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from calls import ORCHESTRA, PLAN, begin, call, environment
from test_serve import again, serving

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.remote.requests import ServerPlace
from orchestra.cxdb.remote.store import RemoteStore
from orchestra.engine.loading import history
from orchestra.engine.sessions import rows
from orchestra.ports import Store


def url_of(place: ServerPlace) -> str:
    return f"http://{place.http_host}:{place.http_port}"


def settings(folder: Path, place: ServerPlace) -> None:
    more = f"address: '{place.host}:{place.port}', patience: 5s"
    (folder / "orchestra.yaml").write_text(f"cxdb: {{mirror: '{url_of(place)}', {more}}}\n")


def nowhere() -> ServerPlace:
    with socket.socket() as one, socket.socket() as other:
        for taken in (one, other):
            taken.bind(("127.0.0.1", 0))
        return ServerPlace(
            host="127.0.0.1",
            port=one.getsockname()[1],
            http_host="127.0.0.1",
            http_port=other.getsockname()[1],
        )


async def chains(store: Store) -> dict[str, list[bytes]]:
    """Every session's payloads; a session that is listed twice is an error."""
    found: dict[str, list[bytes]] = {}
    for row in await rows(store):
        assert row.session not in found
        found[row.session] = [turn.payload for turn in await history(store, row.context_id)]
    return found


def here(folder: Path) -> dict[str, list[bytes]]:
    async def read() -> dict[str, list[bytes]]:
        store = EmbeddedStore.open(folder / "store", read_only=True)
        try:
            return await chains(store)
        finally:
            await store.close()

    return asyncio.run(read())


def there(place: ServerPlace) -> dict[str, list[bytes]]:
    async def read() -> dict[str, list[bytes]]:
        store = RemoteStore(place, patience=5)
        try:
            return await chains(store)
        finally:
            await store.close()

    return asyncio.run(read())


def until(wanted: Callable[[], bool], seconds: float = 30) -> None:
    limit = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < limit, "it did not come to that"
        time.sleep(0.2)


def test_turns_are_there_while_the_run_continues_and_all_of_them_after_it(tmp_path: Path) -> None:
    with serving(tmp_path / "served") as (place, _):
        settings(tmp_path, place)
        process = begin(tmp_path, delay="4s")
        until(lambda: any(there(place).values()), 20)
        assert process.poll() is None
        listed = json.loads(call(tmp_path, "status", "--json", "--store", url_of(place)).stdout)
        assert [session["phase"] for session in listed["sessions"]] == ["mirrored"]
        _, err = process.communicate(timeout=40)
        assert (process.returncode, err) == (0, "")
        until(lambda: there(place) == here(tmp_path))


def test_a_killed_run_leaves_its_last_turns_to_the_mirror(tmp_path: Path) -> None:
    with serving(tmp_path / "served") as (place, _):
        settings(tmp_path, place)
        process = begin(tmp_path)
        process.kill()
        process.communicate()
        until(lambda: there(place) == here(tmp_path))
        resumed = call(
            tmp_path, "resume", "last", "--simulate", str(tmp_path / "slow.yaml"), "--interrupted", "fail"
        )
        assert resumed.returncode in (0, 1)
        until(lambda: there(place) == here(tmp_path))


def test_a_server_that_is_killed_and_started_again_gets_what_it_missed(tmp_path: Path) -> None:
    with serving(tmp_path / "served") as (place, server):
        settings(tmp_path, place)
        process = begin(tmp_path, delay="3s")
        until(lambda: any(there(place).values()))
        server.kill()
        server.wait()
    _, err = process.communicate(timeout=40)
    assert (process.returncode, err) == (0, "")
    with again(tmp_path / "served", place):
        sent = call(tmp_path, "cxdb", "mirror", "--json")
        assert sent.returncode == 0
        assert there(place) == here(tmp_path)


def test_a_mirror_that_is_not_there_changes_nothing_for_the_run(tmp_path: Path) -> None:
    place = nowhere()
    settings(tmp_path, place)
    ran = call(tmp_path, "run", str(PLAN))
    assert (ran.returncode, ran.stderr) == (0, "")
    refused = call(tmp_path, "cxdb", "mirror")
    assert refused.returncode == 6
    assert str(place.http_port) in refused.stderr
    assert "--store" not in refused.stderr
    doctor = call(tmp_path, "doctor")
    assert doctor.returncode == 0
    assert "runs work without it" in doctor.stdout
    with again(tmp_path / "served", place):
        assert call(tmp_path, "run", str(PLAN)).returncode == 0
        until(lambda: there(place) == here(tmp_path) and len(here(tmp_path)) == 2)
        assert "is up to date" in call(tmp_path, "doctor").stdout


def test_sending_that_is_killed_again_and_again_continues_where_it_was(tmp_path: Path) -> None:
    place = nowhere()
    settings(tmp_path, place)
    for _ in range(3):
        assert call(tmp_path, "run", str(PLAN)).returncode == 0
    behind = call(tmp_path, "doctor")
    assert behind.returncode == 0
    command = [*ORCHESTRA, "cxdb", "mirror"]
    with again(tmp_path / "served", place):
        for wait in (0.35, 0.42, 0.5):
            process = subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.DEVNULL)
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert call(tmp_path, "cxdb", "mirror").returncode == 0
        assert there(place) == here(tmp_path)


def test_the_command_says_what_it_sent_and_takes_sessions_by_name(tmp_path: Path) -> None:
    for _ in range(2):
        assert call(tmp_path, "run", str(PLAN)).returncode == 0
    with serving(tmp_path / "served") as (place, _):
        settings(tmp_path, place)
        told = json.loads(call(tmp_path, "cxdb", "mirror", "last", "--json").stdout)
        ((session, chain),) = there(place).items()
        assert [(one["session"], one["sent"], one["turns"]) for one in told["sessions"]] == [
            (session, len(chain), len(chain))
        ]
        assert "turns of 1 session" in call(tmp_path, "doctor").stdout
        assert "29 turns sent" in call(tmp_path, "cxdb", "mirror").stdout
        assert there(place) == here(tmp_path)
        assert call(tmp_path, "cxdb", "mirror", "nosuch").returncode == 9


def test_a_mirrored_session_is_looked_at_and_taken_along_but_not_run(tmp_path: Path) -> None:
    process = begin(tmp_path)
    process.kill()
    process.communicate()
    with serving(tmp_path / "served") as (place, _):
        settings(tmp_path, place)
        assert call(tmp_path, "cxdb", "mirror").returncode == 0
        store = url_of(place)
        for command in (["resume"], ["pause"], ["cancel"], ["steer"], ["replay"]):
            more = ["be quick"] if command == ["steer"] else []
            refused = call(tmp_path, *command, "last", *more, "--store", store)
            assert refused.returncode == 8, command
            assert "mirror" in refused.stderr
        assert there(place) == here(tmp_path)
        assert "StageStarted" in call(tmp_path, "log", "last", "--store", store).stdout
        taken = str(tmp_path / "taken.orchestra")
        assert call(tmp_path, "export", "last", "--to", taken, "--store", store).returncode == 0
        elsewhere = str(tmp_path / "elsewhere")
        assert call(tmp_path, "import", taken, "--store", elsewhere).returncode == 0
        (tmp_path / "quick.yaml").write_text("nodes: {plan: [{text: a}]}")
        resumed = call(tmp_path, "resume", "last", "--store", elsewhere, "--simulate", "quick.yaml")
        assert resumed.returncode == 0


def test_a_watcher_of_a_mirror_sees_where_its_session_continues(tmp_path: Path) -> None:
    with serving(tmp_path / "served") as (place, _):
        settings(tmp_path, place)
        (tmp_path / "p.dot").write_text(
            "digraph p { start [shape=Mdiamond] exit [shape=Msquare]"
            ' t [shape=parallelogram, tool_command="exit 3"] start -> t -> exit }'
        )
        assert call(tmp_path, "run", "p.dot").returncode == 1
        assert call(tmp_path, "cxdb", "mirror").returncode == 0
        watched = call(tmp_path, "attach", "last", "--store", url_of(place))
        assert watched.returncode == 1
        assert "failed  at t: exit code 3" in watched.stderr + watched.stdout
        assert "resume: in the original store" in watched.stderr + watched.stdout
        assert "orchestra resume" not in watched.stderr + watched.stdout


@pytest.mark.parametrize(
    ("text", "more", "word"),
    [
        ("cxdb:\n  url: http://a:1\n  mirror: http://b:1\n", {}, "3:11"),
        ("cxdb:\n  mirror: somewhere\n", {}, "2:11"),
        ("", {"ORCHESTRA_CXDB_URL": "http://a:1", "ORCHESTRA_CXDB_MIRROR": "http://b:1"}, "both set"),
    ],
)
def test_settings_that_make_no_mirror_are_refused(
    tmp_path: Path, text: str, more: dict[str, str], word: str
) -> None:
    (tmp_path / "orchestra.yaml").write_text(text)
    refused = call(tmp_path, "status", **{"ORCHESTRA_CXDB_PATH": "", **more})
    assert refused.returncode == 2
    assert word in refused.stderr


def test_a_folder_without_a_mirror_says_how_to_name_one(tmp_path: Path) -> None:
    refused = call(tmp_path, "cxdb", "mirror")
    assert refused.returncode == 2
    assert "cxdb" in refused.stderr
    assert call(tmp_path, "cxdb", "serve", "last").returncode == 2


def test_no_process_stays_after_a_run_whose_turns_are_sent(tmp_path: Path) -> None:
    def left() -> list[str]:
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        return [line for line in listed.splitlines() if "--follow" in line and str(tmp_path) in line]

    with serving(tmp_path / "served") as (place, _):
        settings(tmp_path, place)
        assert call(tmp_path, "run", str(PLAN)).returncode == 0
        until(lambda: there(place) == here(tmp_path))
        until(lambda: not left())
