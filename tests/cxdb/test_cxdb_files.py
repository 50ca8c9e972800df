"""CXDB's files, byte for byte, with the bytes that the server wrote (S5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.format import layout
from orchestra.cxdb.format.packing import digest_of, packer, unpack
from orchestra.cxdb.server.types import faults
from orchestra.errors import StoreError
from orchestra.ports import NewTurn

TIME = 1_700_000_000_000

FILES = {
    "blobs/blobs.pack": "424c5342010000000400000004000000"
    "717152f487e585bc3559066a64a3e8769ea0243b944007f905555bc56b4bf60d8101a1611be29b76",
    "blobs/blobs.idx": "717152f487e585bc3559066a64a3e8769ea0243b944007f905555bc56b4bf60d"
    "0000000000000000040000000400000000000000",
    "turns/turns.log": "0100000000000000000000000000000000000000010000000000000000000000"
    "717152f487e585bc3559066a64a3e8769ea0243b944007f905555bc56b4bf60d000000000068e5cf8b010000e3cc5d82",
    "turns/turns.idx": "01000000000000000000000000000000",
    "turns/turns.meta": "010000000000000007000000636f6d2e782e5907000000010000000000000004000000",
    "turns/heads.tbl": "0100000000000000000000000000000000000000000000000068e5cf8b010000b3fcdf46"
    "0100000000000000010000000000000000000000000000000068e5cf8b0100009499fac7",
}

ROOTS = "01000000000000002ba82451e7edbf091af9674a911051229b0452ba7b9276d5159d482a65517d17d0772166"

COMPRESSED = (
    "424c53420100010064000000110000003495f7ff20bb0cfc080d3658207ad92c3b76e962ab0b80dc0aab35d3fa1552dc"
    "28b52ffd004845000010414101003f012c2514fae0"
)


async def test_a_context_with_one_turn_is_written_as_cxdb_writes_it(tmp_path: Path) -> None:
    store = EmbeddedStore.open(tmp_path, now_ms=lambda: TIME)
    context = (await store.create()).context_id
    await store.append(context, [NewTurn(type_id="com.x.Y", type_version=7, payload=b"\x81\x01\xa1a")])
    for name, expected in FILES.items():
        assert (tmp_path / name).read_bytes().hex() == expected, name
    await store.attach_fs(1, await store.put_blob(b"\x90"))
    assert (tmp_path / "fs/roots.idx").read_bytes().hex() == ROOTS
    await store.close()


def test_a_compressed_blob_has_the_servers_bytes() -> None:
    data = b"A" * 100
    codec, stored = packer(smallest=0)(data)
    assert layout.blob_record(digest_of(data), len(data), codec, stored).hex() == COMPRESSED


def test_a_compressor_that_is_used_again_returns_the_same_bytes() -> None:
    pack = packer(smallest=0)
    texts = [bytes([65 + n % 7]) * (n * 37 % 500) + b"tail %d" % n for n in range(40)]
    assert [pack(text) for text in texts] == [packer(smallest=0)(text) for text in texts]


def test_small_blobs_and_those_that_do_not_shrink_are_stored_raw() -> None:
    pack = packer()
    assert pack(b"a" * 255) == (layout.RAW, b"a" * 255)
    assert pack(b"a" * 256)[0] == layout.ZSTD
    noise = b"".join(digest_of(bytes([n])) for n in range(32))
    assert pack(noise) == (layout.RAW, noise)


@pytest.mark.parametrize("size", [0, 1, 17, 255, 256, 131_072, 1_000_003])
def test_what_is_packed_is_unpacked(size: int) -> None:
    data = (b"some words that repeat " * (size // 20 + 1))[:size]
    assert unpack(*packer(smallest=0)(data), size) == data


def test_any_frames_are_unpacked_but_never_beyond_their_declared_size() -> None:
    codec, one = packer(smallest=0)(b"a" * 5000)
    assert unpack(codec, one + one, 10_000) == b"a" * 10_000
    assert unpack(codec, one, 4999) is None
    assert unpack(codec, one, 5001) is None
    assert unpack(codec, one[:-1], 5000) is None
    assert unpack(codec, b"no frame", 8) is None


def test_a_files_names_and_numbers_are_cxdbs() -> None:
    assert [layout.STRIDES[number] for number in (layout.INDEX, layout.LOG, layout.HEADS, layout.ROOTS)] == [
        52,
        80,
        36,
        44,
    ]


async def test_cxdb_sees_nothing_of_ours_outside_our_folder(tmp_path: Path) -> None:
    store = EmbeddedStore.open(tmp_path)
    await store.create()
    await store.publish_types("a:b#1", b"{}")
    await store.close()
    theirs = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    theirs = {name for name in theirs if not name.startswith("orchestra/")}
    assert theirs == {*FILES, "fs/roots.idx", "registry/bundle_a_b_1.json"}


async def test_bundles_whose_ids_have_the_same_file_name_are_both_kept(tmp_path: Path) -> None:
    def bundle(name: str) -> bytes:
        return b'{"registry_version":1,"bundle_id":"%s"}' % name.encode()

    for _ in range(2):
        store = EmbeddedStore.open(tmp_path)
        for name in ("a:b", "a_b", "a#b"):
            await store.publish_types(name, bundle(name))
        assert {*store.bundles()} == {bundle("a:b"), bundle("a_b"), bundle("a#b")}
        with pytest.raises(StoreError, match="other content"):
            await store.publish_types("a_b", bundle("a_b") + b" ")
        await store.close()
    assert (tmp_path / "registry/bundle_a_b.json").read_bytes() == bundle("a:b")


async def test_a_file_of_the_registry_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    store = EmbeddedStore.open(tmp_path)
    await store.publish_types("good", b'{"registry_version":1,"bundle_id":"good"}')
    (tmp_path / "registry/bundle_bad.json").write_bytes(b"no bundle")
    (tmp_path / "registry/bundle_gone.json").symlink_to("nowhere")
    found = sorted(faults((path.name, raw) for path, raw in store.registry.files()))
    assert [fault[:35] for fault in found] == [
        "bundle_bad.json is not used: invali",
        "bundle_gone.json cannot be read: No",
    ]
    assert len(store.bundles()) == 2
    await store.close()


async def test_a_notice_is_kept_while_the_log_is_in_use(tmp_path: Path) -> None:
    notice = tmp_path / "orchestra/UNSETTLED"
    store = EmbeddedStore.open(tmp_path)
    assert not notice.exists()
    await store.create()
    assert notice.exists()
    await store.settle()
    assert not notice.exists()
    await store.create()
    assert notice.exists()
    await store.close()
    assert not notice.exists()
