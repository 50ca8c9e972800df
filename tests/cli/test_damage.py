"""A store with damage is looked at all the same: what can be read is shown, what cannot is named (S8)."""

from __future__ import annotations

import json
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
        if file != "turns/turns.log":  # a turn's record holds the way to the ones before it
            assert len(events) == len(before)
        assert call(tmp_path, "log", name).returncode == shown.returncode
        assert call(tmp_path, "status", name, "--detail").returncode == 0


def test_a_turn_beside_a_damaged_one_is_shown(whole: Path, tmp_path: Path) -> None:
    damaged(whole, tmp_path, "blobs/blobs.pack", SAMPLES - 2)
    events = json.loads(call(tmp_path, "log", "last", "--json").stdout)["events"]
    gap = next(event["depth"] for event in events if event["event"] is None)
    assert call(tmp_path, "show", f"last:{gap - 1}").returncode == 0
    assert call(tmp_path, "show", f"last:{gap + 1}").returncode == 0
    refused = call(tmp_path, "show", f"last:{gap}")
    assert refused.returncode == 6
    assert "blobs.pack" in refused.stderr


def test_a_session_whose_end_is_damaged_asks_for_attention(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "store", tmp_path / "store")
    end = json.loads(call(whole, "show", "last", "--json").stdout)
    pack = tmp_path / "store" / "blobs" / "blobs.pack"
    data = bytearray(pack.read_bytes())
    at = data.rindex(end["session"].encode())
    data[at] ^= 1
    pack.write_bytes(data)
    first = json.loads(call(tmp_path, "status", "--json").stdout)["sessions"][0]
    assert first["session"] == end["session"]
    assert "damaged" in first["detail"]
    assert "blobs.pack" in first["detail"]
