"""A file of exported sessions: what damage to it does (S28)."""

from __future__ import annotations

import asyncio
import zipfile
from pathlib import Path
from random import Random

from orchestra.app.archives import import_sessions
from orchestra.cxdb.memory import MemoryStore
from orchestra.errors import ConfigError


def archive(file: Path) -> bytes:
    """An archive of no sessions, with a compressed manifest, where every kind of damage can happen."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("manifest.json", '{"format": "orchestra.sessions.v1", "sessions": []}' + " " * 300)
        made.writestr("other", Random(1).randbytes(600) * 3)
        made.writestr("blobs", b"")
    return file.read_bytes()


def test_a_file_damaged_anywhere_is_imported_or_refused_by_name(tmp_path: Path) -> None:
    file, random = tmp_path / "file.orchestra", Random(2)
    whole = archive(file)
    refusals = []
    for _ in range(2_000):
        data = bytearray(whole)
        for _ in range(random.choice([1, 2, 20])):
            data[random.randrange(len(data))] = random.choice([0, 255, random.randrange(256)])
        file.write_bytes(data)
        try:
            assert asyncio.run(import_sessions(MemoryStore(), file)) == []
        except ConfigError as error:
            refusals.append(str(error))
    assert len(refusals) > 1_000
    assert all("file.orchestra" in refusal for refusal in refusals)
