"""A store with damage is looked at all the same: what can be read is shown, what cannot is named (S8)."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from calls import PLAN, call

SAMPLES = 16


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two sessions."""
    folder = tmp_path_factory.mktemp("whole")
    for label in ("older", "newer"):
        call(folder, "run", str(PLAN), "--label", label, "-q")
    return folder


def damaged(whole: Path, folder: Path, file: str, part: int) -> None:
    """A copy with one bit wrong, in one of ``SAMPLES`` places over the file."""
    shutil.copytree(whole / "store", folder / "store")
    path = folder / "store" / file
    data = bytearray(path.read_bytes())
    data[len(data) * (2 * part + 1) // (2 * SAMPLES)] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("part", range(SAMPLES))
@pytest.mark.parametrize("file", ["blobs/blobs.pack", "turns/turns.log"])
def test_one_wrong_bit_hides_no_more_than_its_turn(file: str, part: int, whole: Path, tmp_path: Path) -> None:
    damaged(whole, tmp_path, file, part)
    listed = call(tmp_path, "status", "--json")
    sessions = {one["session"]: one for one in json.loads(listed.stdout)["sessions"]}
    assert listed.returncode == 0
    assert len(sessions) == 2
    for name in sessions:
        before = json.loads(call(whole, "log", name, "--json").stdout)["events"]
        shown = call(tmp_path, "log", name, "--json")
        events = json.loads(shown.stdout)["events"]
        gaps = [event for event in events if event["event"] is None]
        assert shown.returncode == (6 if gaps else 0)
        assert len(gaps) <= 1
        known = {event["depth"]: event for event in before}
        assert all(event == known[event["depth"]] for event in events if event["event"] is not None)
        assert len(events) == len(before)
        assert call(tmp_path, "log", name).returncode == shown.returncode
        assert call(tmp_path, "status", name, "--detail").returncode == 0
        if not gaps and part % 4:
            continue
        page = call(tmp_path, "export", name, "--html", "-")
        assert page.returncode == 0, page.stderr
        assert ("cannot be read and are missing here" in page.stdout) == bool(gaps)


@pytest.mark.parametrize("file", ["blobs/blobs.pack", "turns/turns.log"])
@pytest.mark.parametrize("many", [2, 7])
def test_damaged_turns_in_a_row_hide_none_but_themselves(file: str, many: int, whole: Path, tmp_path: Path) -> None:
    call(whole, "doctor", "--settle")
    shutil.copytree(whole / "store", tmp_path / "store")
    before = json.loads(call(whole, "log", "last", "--json").stdout)["events"]
    spoilt = {event["turn"]: event["depth"] for event in before[3 : 3 + many]}
    data = bytearray((tmp_path / "store" / file).read_bytes())
    for turn in spoilt:
        at = (turn - 1) * 80 + 20
        if file == "blobs/blobs.pack":
            digest = (tmp_path / "store/turns/turns.log").read_bytes()[(turn - 1) * 80 + 32 :][:32]
            at = data.index(digest) + 34
        data[at] ^= 1
    (tmp_path / "store" / file).write_bytes(data)
    name = json.loads(call(whole, "show", "last", "--json").stdout)["session"]
    shown = call(tmp_path, "log", name, "--json")
    events = json.loads(shown.stdout)["events"]
    assert shown.returncode == 6
    assert [event["depth"] for event in events] == [event["depth"] for event in before]
    assert {event["turn"]: event["depth"] for event in events if event["event"] is None} == spoilt
    assert [event for event in events if event["event"]] == [e for e in before if e["turn"] not in spoilt]
    assert call(tmp_path, "show", f"{name}:0").returncode == 0
    assert call(tmp_path, "show", f"{name}:4").returncode == 6
    detail = call(tmp_path, "status", name, "--detail", "--json")
    assert json.loads(detail.stdout)["unreadable"] == [*spoilt.values()]
    assert "cannot be read" in call(tmp_path, "status", name, "--detail").stderr


def test_a_turn_beside_a_damaged_one_is_shown(whole: Path, tmp_path: Path) -> None:
    damaged(whole, tmp_path, "blobs/blobs.pack", SAMPLES - 2)
    events = json.loads(call(tmp_path, "log", "last", "--json").stdout)["events"]
    gap = next(event["depth"] for event in events if event["event"] is None)
    assert call(tmp_path, "show", f"last:{gap - 1}").returncode == 0
    assert call(tmp_path, "show", f"last:{gap + 1}").returncode == 0
    refused = call(tmp_path, "show", f"last:{gap}")
    assert refused.returncode == 6
    assert "blobs.pack" in refused.stderr
    assert "--store store" in call(tmp_path, "log", "last", "--store", "store").stderr


def test_a_session_whose_end_is_damaged_asks_for_attention(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "store", tmp_path / "store")
    end = json.loads(call(whole, "show", "last", "--json").stdout)
    pack = tmp_path / "store" / "blobs" / "blobs.pack"
    data = bytearray(pack.read_bytes())
    turn = (tmp_path / "store/turns/turns.log").read_bytes()[(end["turn"] - 1) * 80 :][:80]
    data[data.index(turn[32:64]) + 34] ^= 1
    pack.write_bytes(data)
    first = json.loads(call(tmp_path, "status", "--json").stdout)["sessions"][0]
    assert first["session"] == end["session"]
    assert "damaged" in first["detail"]
    assert "blobs.pack" in first["detail"]


# --- the doctor ----------------------------------------------------------------------------------


def remedy(folder: Path, *args: str) -> str:
    """The command that the doctor names for the first thing that is not well."""
    done = call(folder, "doctor", *args)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("✗"))
    return lines[at + 1].partition("fix: ")[2]


@pytest.mark.parametrize("file", ["turns/turns.idx", "blobs/blobs.idx", "turns/turns.meta", "orchestra/meta.crc"])
def test_the_command_that_the_doctor_names_rebuilds_a_file_from_the_others(
    file: str, whole: Path, tmp_path: Path
) -> None:
    damaged(whole, tmp_path, file, SAMPLES // 2)
    command = remedy(tmp_path, "--deep")
    assert call(tmp_path, *shlex.split(command)[1:]).returncode == 0
    assert call(tmp_path, "doctor", "--deep").returncode == 0
    assert call(tmp_path, "log", "last").returncode == 0


FILES = ["turns/turns.log", "turns/heads.tbl", "blobs/blobs.pack"]
"""Those that nothing else tells of."""


def cut(whole: Path, folder: Path, file: str, size: int) -> None:
    """A settled copy in which a file has lost its end."""
    call(whole, "doctor", "--settle")
    shutil.copytree(whole / "store", folder / "my store")
    os.truncate(folder / "my store" / file, (whole / "store" / file).stat().st_size - size)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def depths(folder: Path, *args: str) -> set[int]:
    events = json.loads(call(folder, "log", *args, "--json").stdout)["events"]
    return {event["depth"] for event in events if event["event"] is not None}


def test_every_record_is_checked_also_where_nothing_can_be_written(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestra.cli.commands.doctor.NO_ROOM", 1 << 60)
    monkeypatch.setattr("orchestra.cli.commands.doctor.LITTLE_ROOM", 1 << 60)
    shutil.copytree(whole / "store", tmp_path / "my store")
    before = contents(tmp_path / "my store")
    checked = call(tmp_path, "doctor", "--deep", "--store", "my store")
    assert checked.returncode == 1
    assert "MiB free" in checked.stdout
    assert "every record is intact" in checked.stdout
    assert contents(tmp_path / "my store") == before


@pytest.mark.parametrize("file", FILES)
def test_turns_that_would_go_are_named_and_kept_until_they_are_given_up(
    file: str, whole: Path, tmp_path: Path
) -> None:
    cut(whole, tmp_path, file, 400)
    store = ("--store", "my store")
    run = ("run", str(PLAN), "-q", *store)
    refused = call(tmp_path, *run)
    assert refused.returncode == 6
    assert "--store 'my store'" in refused.stderr
    before = contents(tmp_path / "my store")
    command = remedy(tmp_path, *store)
    asked = call(tmp_path, *shlex.split(command)[1:])
    assert asked.returncode == 6
    assert contents(tmp_path / "my store") == before
    named = {
        depth
        for first, last in re.findall(r"^ *session \S+: turns? (\d+)(?: to (\d+))?", asked.stdout, re.MULTILINE)
        for depth in range(int(first), int(last or first) + 1)
    }
    assert named
    (drop,) = re.findall("orchestra doctor --repair --drop-lost.*", asked.stdout)
    dropped = call(tmp_path, *shlex.split(drop)[1:])
    assert dropped.returncode == 0
    assert len(dropped.stdout.splitlines()) < 20
    newest = json.loads(call(whole, "show", "last", "--json").stdout)["session"]
    assert depths(tmp_path, newest, *store) == depths(whole, newest) - named
    assert call(tmp_path, *run).returncode == 0
    assert call(tmp_path, "doctor", *store).returncode == 0


@pytest.mark.parametrize(
    "file", ["turns/turns.idx", "turns/turns.meta", "blobs/blobs.idx", "orchestra/meta.crc", "orchestra/contexts"]
)
def test_an_end_that_other_files_describe_is_rebuilt_without_a_question(
    file: str, whole: Path, tmp_path: Path
) -> None:
    cut(whole, tmp_path, file, 100)
    store = ("--store", "my store")
    assert call(tmp_path, "doctor", "--repair", *store).returncode == 0
    assert call(tmp_path, "doctor", "--deep", *store).returncode == 0
    assert depths(tmp_path, "last", *store) == depths(whole, "last")


def test_turns_are_dropped_only_by_a_repair(whole: Path) -> None:
    assert call(whole, "doctor", "--drop-lost").returncode == 2


def test_damage_that_cannot_be_repaired_is_reported_as_such(whole: Path, tmp_path: Path) -> None:
    damaged(whole, tmp_path, "blobs/blobs.pack", SAMPLES // 2)
    done = call(tmp_path, "doctor", "--repair")
    assert done.returncode == 1
    assert "cannot be repaired" in done.stdout


def test_the_doctor_deletes_nothing_at_the_path_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    name, _, place = shlex.split(remedy(tmp_path, "--store", "notes.txt"))[1].partition("=")
    assert call(tmp_path, "doctor", **{name: place}).returncode == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("option", ["--deep", "--repair", "--settle"])
def test_there_is_nothing_to_examine_before_the_first_run(option: str, tmp_path: Path) -> None:
    assert call(tmp_path, "doctor").returncode == 0
    assert call(tmp_path, "doctor", option).returncode == 2
    assert not (tmp_path / "store").exists()
