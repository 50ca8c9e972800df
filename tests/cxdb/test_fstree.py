"""File trees as the official clients write them."""

from __future__ import annotations

import msgspec
import pytest

from orchestra.cxdb.format.frames import Malformed
from orchestra.cxdb.format.fstree import DIRECTORY, FILE, TreeEntry, read_tree, tree
from orchestra.cxdb.format.packing import digest_of

ROOT = "a33f6fccb99e5e80583440fe62e70ffe0eea6e7f1c28eef7cecff33512fdb662"
ROOT_BYTES = (
    "9385a131a9524541444d452e6d64a132cc00a133ce000001a4a134cf0000000000000006a135c4205a15c561d68ca1d823dee29ef2"
    "de71a7c8d821646f7aefece02f04e7dfa20d8885a131a97363726970742e7368a132cc00a133ce000001eda134cf00000000000000"
    "13a135c420e5c4e38e6c35c3e9bce5f81d4b801f2af77d59d1676ed11764187da15a281acf85a131a3737263a132cc01a133ce0000"
    "01eda134cf0000000000000000a135c4203e24ab8ba3e38df5ac21591f09278f9d876d0ad0d3a7f4ff5853486bcdbe505b"
)
SRC = "3e24ab8ba3e38df5ac21591f09278f9d876d0ad0d3a7f4ff5853486bcdbe505b"


def file(name: str, mode: int, data: bytes) -> TreeEntry:
    return TreeEntry(name, FILE, mode, len(data), digest_of(data))


def fixture() -> tuple[bytes, bytes]:
    src = tree(
        [
            file("main.go", 0o644, b"package main"),
            file("lib.go", 0o644, b"package main\n\nfunc foo() {}"),
        ]
    )
    root = tree(
        [
            TreeEntry("src", DIRECTORY, 0o755, 0, digest_of(src)),
            file("README.md", 0o644, b"# Test"),
            file("script.sh", 0o755, b"#!/bin/bash\necho hi"),
        ]
    )
    return root, src


def test_trees_have_the_bytes_and_hashes_of_the_official_clients() -> None:
    root, src = fixture()
    assert digest_of(src).hex() == SRC
    assert root.hex() == ROOT_BYTES
    assert digest_of(root).hex() == ROOT


def test_an_empty_directory_is_an_empty_array() -> None:
    assert tree([]) == b"\x90"
    assert read_tree(b"\x90") == []


def test_what_is_written_is_read() -> None:
    entries = [file(f"{number:05}", 0o600, b"%d" % number) for number in range(70_000)]
    for count in (1, 15, 16, 65_535, 65_536):
        assert read_tree(tree(entries[:count][::-1])) == entries[:count]


def test_keys_may_be_integers_and_members_may_be_missing() -> None:
    data = msgspec.msgpack.encode([{1: "a", 2: 1, 3: 0o755, 4: 0, 5: b"h" * 32}, {"1": "b", "2": 9}, {}])
    assert read_tree(data) == [
        TreeEntry("a", DIRECTORY, 0o755, 0, b"h" * 32),
        TreeEntry("b", FILE, 0, 0, b""),
        TreeEntry("", FILE, 0, 0, b""),
    ]


@pytest.mark.parametrize("data", ["c0", "80", "", "91c0", "9181a135c40101"])
def test_what_is_no_tree_is_refused(data: str) -> None:
    with pytest.raises(Malformed):
        read_tree(bytes.fromhex(data))
