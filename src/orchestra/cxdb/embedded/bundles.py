"""The bundles of the type registry: one file each, under CXDB's name for its id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestra.cxdb.embedded.directory import Directory
from orchestra.cxdb.format.packing import digest_of
from orchestra.cxdb.format.registry import bundle_of
from orchestra.errors import StoreError

FOLDER = "registry"


class BundleFiles:
    """The registry of one store."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def put(self, bundle_id: str, bundle: bytes) -> None:
        """Store a bundle durably, under the store's lock. Raises ``StoreError`` if the id has another one.

        CXDB writes ``a:b`` and ``a_b`` to one file; of ours, the second gets a name of its own.
        """
        name = bundle_id.translate({ord(c): "_" for c in "/:#"})
        path = self._directory.at(f"{FOLDER}/bundle_{name}.json")
        known = self._read(path)
        if known is not None and bundle_of(known) not in (bundle_id, None):
            path = self._directory.at(f"{FOLDER}/bundle_{name}-{digest_of(bundle_id.encode()).hex()[:16]}.json")
            known = self._read(path)
        if known is None:
            files, new = self._directory.files, self._directory.at("orchestra/bundle.new")
            files.write_file(new, bundle)
            files.rename(new, path)
            files.sync_folder(self._directory.at(FOLDER))
        elif known != bundle:
            raise StoreError(
                f"bundle {bundle_id} already exists with other content", fix="publish it under another id"
            )

    def _read(self, path: str) -> bytes | None:
        files = self._directory.files
        return files.read_file(path) if files.exists(path) else None

    def files(self) -> Iterator[tuple[Path, bytes | OSError]]:
        """Yield the files in the order in which they were written, each with its bytes or why it cannot be read."""
        paths = [path for path in self._folder.iterdir() if path.suffix == ".json"]
        for path in sorted(paths, key=lambda path: (path.lstat().st_mtime_ns, path)):
            try:
                yield path, path.read_bytes()
            except OSError as error:
                yield path, error

    def changed(self) -> int:
        """When the folder was last changed, in nanoseconds."""
        return self._folder.stat().st_mtime_ns

    @property
    def _folder(self) -> Path:
        return Path(self._directory.at(FOLDER))
