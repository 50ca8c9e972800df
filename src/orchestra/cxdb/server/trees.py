"""HTTP routes for file trees."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import unquote

from starlette.responses import Response

from orchestra.cxdb.format.frames import Malformed
from orchestra.cxdb.format.fstree import DIRECTORY, KINDS, TreeEntry, read_tree
from orchestra.cxdb.server.core import Core, refusing
from orchestra.cxdb.server.http import HttpRequest, answer, json_answer

_TYPES = {
    **dict.fromkeys(("html", "htm"), "text/html"),
    "css": "text/css",
    "js": "application/javascript",
    "json": "application/json",
    "xml": "application/xml",
    "txt": "text/plain",
    "md": "text/markdown",
    "rs": "text/x-rust",
    "go": "text/x-go",
    "py": "text/x-python",
    "rb": "text/x-ruby",
    "java": "text/x-java",
    **dict.fromkeys(("c", "h"), "text/x-c"),
    **dict.fromkeys(("cpp", "cc", "cxx", "hpp"), "text/x-c++"),
    "ts": "text/typescript",
    "tsx": "text/typescript-jsx",
    "jsx": "text/javascript-jsx",
    **dict.fromkeys(("yaml", "yml"), "text/yaml"),
    "toml": "text/toml",
    **dict.fromkeys(("sh", "bash"), "text/x-shellscript"),
    "png": "image/png",
    **dict.fromkeys(("jpg", "jpeg"), "image/jpeg"),
    "gif": "image/gif",
    "svg": "image/svg+xml",
    "webp": "image/webp",
    "pdf": "application/pdf",
    "zip": "application/zip",
    "tar": "application/x-tar",
    "gz": "application/gzip",
}


async def listing(core: Core, request: HttpRequest) -> Response:
    """A directory, named in the query."""
    turn_id = request.id("turn_id")
    path = request.query.get("path", "")
    root = await _root(core, turn_id)
    return await _listing(core, turn_id, root, path)


async def file(core: Core, request: HttpRequest) -> Response:
    """A file, or a directory where the path is one."""
    turn_id = request.id("turn_id")
    path = "/".join(request.path[4:])
    if not path:
        raise Malformed(422, "empty file path")
    root = await _root(core, turn_id)
    parts = _parts(path)
    if not parts:
        raise Malformed(422, "empty file path")
    entry, meant = await _find_as_meant(core, root, parts)
    if meant != parts:
        path = "/".join(meant)
    if entry.kind == DIRECTORY:
        return await _listing(core, turn_id, root, path)
    content = await _blob(core, entry.digest)
    if request.query.get("format") == "json":
        shown = {"turn_id": str(turn_id), "path": path, **_entry(entry)}
        return json_answer({**shown, "content_base64": b64encode(content).decode()})
    kind = _TYPES.get(path.rsplit(".", 1)[-1].lower(), "application/octet-stream")
    headers = {"X-Fs-Hash": entry.digest.hex(), "X-Fs-Mode": f"{entry.mode:o}"}
    return answer(content, kind=kind, headers={**headers, "X-Content-Type-Options": "nosniff"})


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


async def _root(core: Core, turn_id: int) -> bytes:
    with refusing("no fs snapshot for turn"):
        root = await core.store.fs_root(turn_id)
    if root is None:
        raise Malformed(404, "no fs snapshot for turn")
    return root


async def _blob(core: Core, digest: bytes) -> bytes:
    with refusing("blob"):
        return await core.store.get_blob(digest)


async def _find_as_meant(core: Core, root: bytes, parts: list[str]) -> tuple[TreeEntry, list[str]]:
    """What a path's names lead to, and those names as they are in the tree.

    They are taken raw, as CXDB takes them. A browser writes spaces and letters beyond ASCII as ``%`` and two
    digits, so names that lead nowhere are taken for what they stand for.
    """
    try:
        return await _find(core, root, parts), parts
    except Malformed:
        meant = [unquote(part) for part in parts]
        if meant == parts:
            raise
        return await _find(core, root, meant), meant


async def _find(core: Core, root: bytes, parts: list[str]) -> TreeEntry:
    digest = root
    for number, part in enumerate(parts):
        entries = read_tree(await _blob(core, digest))
        entry = next((entry for entry in entries if entry.name == part), None)
        if entry is None:
            raise Malformed(404, f"path component not found: {part}")
        if number == len(parts) - 1:
            return entry
        if entry.kind != DIRECTORY:
            raise Malformed(422, f"not a directory: {part}")
        digest = entry.digest
    raise Malformed(422, "empty file path")


async def _listing(core: Core, turn_id: int, root: bytes, path: str) -> Response:
    digest, parts = root, _parts(path)
    if parts:
        entry = await _find(core, root, parts)
        if entry.kind != DIRECTORY:
            raise Malformed(422, f"path is not a directory: {path}")
        digest = entry.digest
    entries = read_tree(await _blob(core, digest))
    return json_answer(
        {
            "turn_id": str(turn_id),
            "path": path,
            "fs_root_hash": root.hex(),
            "entries": [_entry(entry) for entry in entries],
        }
    )


def _entry(entry: TreeEntry) -> dict[str, object]:
    return {
        "name": entry.name,
        "kind": KINDS[entry.kind],
        "mode": f"{entry.mode:o}",
        "size": entry.size,
        "hash": entry.digest.hex(),
    }
