"""A session written as the run directory that Attractor's text describes (S28)."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orchestra.app.pipelines import compile_pipeline
from orchestra.engine.following import Follower
from orchestra.engine.loading import resolve
from orchestra.engine.sessions import Row, find
from orchestra.errors import ConfigError, Source
from orchestra.graph.model import Graph
from orchestra.ports import Store
from orchestra.run.declare import BlobRef, Text
from orchestra.run.rundir import ARTIFACT_BYTES, checkpoint, folders, manifest
from orchestra.run.state import Context, RunState

LONGEST_NAME = 200
"""Bytes of a file's name; the name of an artifact with a longer key ends in its number."""


async def write_run_directory(store: Store, name: str, folder: Path) -> Row:
    """Write a session as a folder, which appears only when complete.

    It is written under another name, then renamed.

    Raises ``ConfigError`` for a folder that holds something, or that cannot be written.
    """
    row = await find(store, name)
    target = _free(folder)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        await _FolderWriter(store, part).write(row)
        part.replace(target)
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(part)
    return row


def _free(folder: Path) -> Path:
    """Where a folder is written. Raises ``ConfigError`` where something is in its place."""
    fix = "name a new folder"
    try:
        target = folder.resolve()
        if target.exists() and not target.is_dir():
            raise ConfigError(f"{folder} is not a folder", fix=fix)
        if target.is_dir() and any(target.iterdir()):
            raise ConfigError(f"{folder} is not empty", fix=fix)
    except OSError as error:
        raise ConfigError(f"cannot read {folder}: {error.strerror or error}", fix=fix) from error
    if target.exists() and target == Path.cwd():
        raise ConfigError(f"{folder} is the current folder", fix=fix)
    return target


class _FolderWriter:
    """Writes the files of one session into a folder of its own."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._artifacts: dict[str, str] = {}

    async def write(self, row: Row) -> None:
        """All of them."""
        following = Follower(self._store, row.context_id)
        events = await following.news()
        state = following.state
        for node, found in folders(events).items():
            inside = self._folder / node
            inside.mkdir(exist_ok=True)
            if found.status is not None:
                updates = await self._plain(found.status["context_updates"])
                _json(inside / "status.json", {**found.status, "context_updates": updates})
            await self._text(inside / "prompt.md", found.prompt)
            await self._text(inside / "response.md", found.response)
        written = checkpoint(events, state, Context(await self._graph(state), state))
        _json(self._folder / "checkpoint.json", {**written, "context": await self._plain(written["context"])})
        _json(self._folder / "manifest.json", manifest(events, state))

    async def _graph(self, state: RunState) -> Graph:
        source = Source(state.file, await resolve(self._store, state.dot))
        variables = {name: str(await resolve(self._store, value)) for name, value in state.variables.items()}
        graph = compile_pipeline(source, variables=variables, secrets={}).graph
        if graph is None:
            raise ConfigError(f"the recorded pipeline of {state.session} cannot be read")
        return graph

    async def _text(self, file: Path, text: Text) -> None:
        if text:
            _write(file, await resolve(self._store, text))

    async def _plain(self, values: Any) -> dict[str, Any]:
        """Return context values for a file; one over the limit by the path of its artifact."""
        return {key: await self._value(key, value) for key, value in values.items()}

    async def _value(self, key: str, value: Any) -> Any:
        if not isinstance(value, BlobRef):
            return value
        if value.size <= ARTIFACT_BYTES:
            return await resolve(self._store, value)
        if value.hash not in self._artifacts:
            place = self._artifact(key)
            (self._folder / place).parent.mkdir(exist_ok=True)
            _json(self._folder / place, await resolve(self._store, value))
            self._artifacts[value.hash] = place
        return {"artifact": self._artifacts[value.hash], "size_bytes": value.size}

    def _artifact(self, key: str) -> str:
        """A file's name for a value's key, which no other one has, nor a node that is called ``artifacts``."""
        number = len(self._artifacts) + 1
        name = quote(key, safe="")
        if len(name) > LONGEST_NAME or name == "status":
            name = f"{name[:LONGEST_NAME]}-{number}"
        place = f"artifacts/{name}.json"
        return place if place not in self._artifacts.values() else f"artifacts/{name}-{number}.json"


def _json(file: Path, value: Mapping[str, Any] | object) -> None:
    _write(file, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def _write(file: Path, text: str) -> None:
    with file.open("w", encoding="utf-8", errors="replace", newline="") as out:
        out.write(text)
