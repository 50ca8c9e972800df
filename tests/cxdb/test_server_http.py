"""Our server's HTTP routes (S30)."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from wire_client import Client, served

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.format import frames
from orchestra.cxdb.format.fstree import DIRECTORY, FILE, SYMLINK, TreeEntry, tree
from orchestra.cxdb.format.packing import digest_of
from orchestra.cxdb.server.http import Guard

pack = msgspec.msgpack.encode

FIRST = pack(
    {
        1: "x",
        30: {
            1: "tag",
            2: "A title",
            3: ["a", 5, "env=prod"],
            10: {1: 7, 20: "Jay", 43: -5, 60: {"a": "b", "c": 1}},
        },
    }
)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with served() as connected:
        await connected.ask(frames.HELLO, frames.hello("session tag"))
        await connected.ask(frames.CREATE, frames.number(0))
        await connected.append(1, FIRST)
        yield connected


async def test_the_list_has_cxdbs_members_and_what_its_page_looks_for(client: Client) -> None:
    body = await client.json("/v1/contexts")
    (row,) = body["contexts"]
    assert {name: row[name] for name in ("context_id", "head_turn_id", "head_depth", "is_live", "session_id")} == {
        "context_id": "1", "head_turn_id": "1", "head_depth": 0, "is_live": True, "session_id": "1",
    }  # fmt: skip
    assert (row["client_tag"], row["title"], row["labels"]) == ("tag", "A title", ["a", "env=prod"])
    assert body["count"] == 1
    assert body["active_tags"] == ["session tag"]
    assert "provenance" not in row


async def test_the_list_is_by_last_append_and_cut_before_the_tag_is_looked_at(client: Client) -> None:
    for _ in range(2):
        await client.ask(frames.CREATE, frames.number(0))
        await asyncio.sleep(0.003)
    await client.append(2, b"\x80")
    rows = (await client.json("/v1/contexts"))["contexts"]
    assert [row["context_id"] for row in rows] == ["2", "3", "1"]
    assert (await client.json("/v1/contexts?limit=2&tag=tag"))["contexts"] == []
    assert (await client.json("/v1/contexts?limit=0"))["contexts"] == []
    assert len((await client.json("/v1/contexts?limit=many"))["contexts"]) == 3


async def test_provenance_has_all_its_members_and_the_live_peer(client: Client) -> None:
    found = (await client.json("/v1/contexts/1/provenance"))["provenance"]
    assert len(found) == 25
    assert (found["parent_context_id"], found["on_behalf_of"], found["process_pid"]) == (7, "Jay", -5)
    assert found["env"] == {"a": "b"}
    assert found["client_address"].startswith("127.0.0.1:")
    (row,) = (await client.json("/v1/contexts?include_provenance=1"))["contexts"]
    assert row["provenance"] == found
    assert await client.json("/v1/contexts/99/provenance") == {"context_id": "99", "provenance": None}


async def test_pages_of_turns_end_before_a_turn(client: Client) -> None:
    for number in range(5):
        await client.append(1, b"%d" % number)
    page = await client.json("/v1/contexts/1/turns?view=raw&limit=2&before_turn_id=5")
    assert [turn["turn_id"] for turn in page["turns"]] == ["3", "4"]
    assert page["next_before_turn_id"] == "3"
    assert page["turns"][0]["bytes_b64"] == b64encode(b"1").decode()
    assert page["meta"]["head_turn_id"] == "6"
    assert (await client.json("/v1/contexts/1/turns?view=raw&before_turn_id=1"))["turns"] == []
    assert await client.error("/v1/contexts/1/turns?before_turn_id=99") == (404, "before turn")
    assert await client.error("/v1/contexts/9/turns") == (404, "context")
    assert await client.error("/v1/contexts/x/turns") == (422, "invalid context_id")


async def test_what_is_no_route_is_not_found(client: Client) -> None:
    for target in ("/", "/v1/contexts/", "//v1/contexts", "/v1/nothing", "/healthz/", "http://localhost/healthz"):
        assert await client.error(target) == (404, "route")
    for method in ("DELETE", "OPTIONS", "PATCH"):
        assert (await client.web.request(method, "/v1/contexts")).status == 404
    assert (await client.get("/v1/./x/../contexts")).status == 200
    assert (await client.get("/healthz")).body == b"ok"


BUNDLE = {
    "registry_version": 1,
    "bundle_id": "b1",
    "types": {"t": {"versions": {"1": {"fields": {"1": {"name": "n", "type": "u64"}}}}}},
}


def changed(bundle_id: str, **more: object) -> dict[str, object]:
    return {"registry_version": 1, "bundle_id": bundle_id, **more}


async def test_a_bundle_is_stored_once_and_shown(client: Client) -> None:
    raw = msgspec.json.encode(BUNDLE)
    assert await client.send_http("PUT", "/v1/registry/bundles/ignored", raw) == (201, {"bundle_id": "b1"})
    assert await client.send_http("PUT", "/v1/registry/bundles/ignored", raw) == (204, None)
    assert (await client.send_http("PUT", "/v1/registry/bundles/b1", raw + b" "))[0] == 422
    reply = await client.get("/v1/registry/bundles/b1")
    assert (reply.body, reply.headers["etag"]) == (raw, f'"{digest_of(raw).hex()}"')
    assert (await client.json("/v1/registry/types/t/versions/1")) == {"fields": {"1": {"name": "n", "type": "u64"}}}
    assert (await client.json("/v1/contexts/1/turns?view=raw"))["meta"]["registry_bundle_id"] == "b1"


async def test_a_bundle_may_not_change_what_is_there_and_leaves_nothing_when_it_is_refused(client: Client) -> None:
    await client.send_http("PUT", "/v1/registry/bundles/b1", BUNDLE)
    field = {"1": {"name": "n", "type": "string"}}
    refusals = {
        "tag reuse conflict for type t tag 1": {"types": {"t": {"versions": {"2": {"fields": field}}}}},
        "type t version 1 differs from existing": {"types": {"t": {"versions": {"1": {"fields": field}}}}},
        "missing enum E for type u version 1 tag 1": {
            "types": {"u": {"versions": {"1": {"fields": {"1": {"name": "e", "type": "u32", "enum": "E"}}}}}}
        },
    }
    for number, (message, body) in enumerate(refusals.items()):
        status, answer = await client.send_http("PUT", "/v1/registry/bundles/x", changed(f"x{number}", **body))
        assert (status, answer["error"]["message"]) == (422, message)
    assert (await client.send_http("PUT", "/v1/registry/bundles/ok", changed("ok")))[0] == 201
    assert await client.error("/v1/registry/types/u/versions/1") == (404, "type version")


async def test_a_file_is_found_by_its_raw_name_and_as_a_browser_writes_it(client: Client) -> None:
    sub = tree([TreeEntry("ü.go", FILE, 0o644, 3, digest_of(b"goo"))])
    names = {"a b.md": b"space", "50%.txt": b"half", "%41": b"raw", "A": b"letter", "a#b?c": b"marks"}
    root = tree(
        [TreeEntry(name, FILE, 0o644, len(data), digest_of(data)) for name, data in names.items()]
        + [TreeEntry("my dir", DIRECTORY, 0o755, 0, digest_of(sub))]
    )
    for data in (b"goo", sub, root, *names.values()):
        await client.store.put_blob(data)
    await client.ask(frames.ATTACH_FS, frames.attach_fs(1, digest_of(root)))
    asked = {"a%20b.md": b"space", "50%.txt": b"half", "50%25.txt": b"half", "%41": b"raw", "A": b"letter"}
    for name, data in asked.items():
        assert (await client.get(f"/v1/turns/1/fs/{name}")).body == data, name
    assert (await client.get("/v1/turns/1/fs/a%23b%3Fc")).body == b"marks"
    shown = await client.json("/v1/turns/1/fs/my%20dir/%C3%BC.go?format=json")
    assert (shown["path"], shown["name"]) == ("my dir/ü.go", "ü.go")
    assert (await client.json("/v1/turns/1/fs/my%20dir"))["entries"][0]["name"] == "ü.go"
    assert (await client.error("/v1/turns/1/fs/no%20pe"))[0] == 404


async def test_of_a_bundle_in_the_folder_that_does_not_fit_the_other_types_are_shown(client: Client) -> None:
    def bundle(name: str, **types: dict[str, object]) -> bytes:
        versions = {type_id: {"versions": {"1": {"fields": fields}}} for type_id, fields in types.items()}
        body = {"registry_version": 1, "bundle_id": name, "types": versions, "enums": {"e": {"1": name}}}
        return msgspec.json.encode(body)

    old: dict[str, object] = {"1": {"name": "old", "type": "string"}}
    new: dict[str, object] = {"1": {"name": "new", "type": "string"}}
    labelled: dict[str, object] = {"1": {"name": "what", "type": "u32", "enum": "e"}}
    await client.store.publish_types("a", bundle("a", t=old))
    await client.store.publish_types("b", bundle("b", t=new, beside=new, other=labelled))
    await client.store.publish_types("c", b"no bundle")
    await client.append(1, pack({1: "x"}), type_id="beside")
    await client.append(1, pack({1: "y"}), type_id="t")
    shown = await client.json("/v1/contexts/1/turns?limit=2")
    assert [turn["data"] for turn in shown["turns"]] == [{"new": "x"}, {"old": "y"}]
    assert await client.error("/v1/registry/types/other/versions/1") == (404, "type version")
    assert (await client.send_http("PUT", "/v1/registry/bundles/b", bundle("b", t=new)))[0] == 422


async def test_file_trees_are_listed_and_files_read(client: Client) -> None:
    sub = tree([TreeEntry("in.go", FILE, 0o644, 3, digest_of(b"goo"))])
    root = tree(
        [
            TreeEntry("README.md", FILE, 0o644, 3, digest_of(b"# T")),
            TreeEntry("sub", DIRECTORY, 0o755, 0, digest_of(sub)),
            TreeEntry("link", SYMLINK, 0o777, 6, digest_of(b"target")),
        ]
    )
    for data in (b"goo", b"# T", b"target", sub, root):
        await client.store.put_blob(data)
    await client.ask(frames.ATTACH_FS, frames.attach_fs(1, digest_of(root)))
    await client.append(1, b"\x80")
    listing = await client.json("/v1/turns/2/fs")
    assert [(e["name"], e["kind"], e["mode"]) for e in listing["entries"]] == [
        ("README.md", "file", "644"),
        ("link", "symlink", "777"),
        ("sub", "dir", "755"),
    ]
    assert (await client.json("/v1/turns/2/fs?path=/sub/"))["entries"][0]["name"] == "in.go"
    reply = await client.get("/v1/turns/2/fs/sub/in.go")
    assert (reply.body, reply.headers["content-type"], reply.headers["x-fs-mode"]) == (b"goo", "text/x-go", "644")
    assert (await client.get("/v1/turns/2/fs/link")).body == b"target"
    assert (await client.json("/v1/turns/2/fs/README.md?format=json"))["content_base64"] == b64encode(
        b"# T"
    ).decode()
    assert (await client.json("/v1/turns/2/fs/sub"))["path"] == "sub"
    errors = {
        "/v1/turns/9/fs": (404, "no fs snapshot for turn"),
        "/v1/turns/x/fs": (422, "invalid turn_id"),
        "/v1/turns/2/fs/nope": (404, "path component not found: nope"),
        "/v1/turns/2/fs/README.md/x": (422, "not a directory: README.md"),
        "/v1/turns/2/fs?path=README.md": (422, "path is not a directory: README.md"),
        "/v1/turns/2/fs/": (422, "empty file path"),
    }
    for target, error in errors.items():
        assert await client.error(target) == error


async def test_the_later_write_routes_write(client: Client) -> None:
    status, made = await client.send_http("POST", "/v1/contexts/create", {})
    assert (status, made["context_id"]) == (201, "2")
    await client.send_http("PUT", "/v1/registry/bundles/b1", BUNDLE)
    body = {"type_id": "t", "type_version": 1, "data": {"n": 5, "2": "two", "else": 1}, "idempotency_key": "k"}
    status, added = await client.send_http("POST", "/v1/contexts/2/append", body)
    assert (status, added["turn_id"], added["depth"]) == (201, "2", 0)
    assert await client.send_http("POST", "/v1/contexts/2/turns", body) == (status, added)
    (turn,) = await client.store.turns(2)
    assert msgspec.msgpack.decode(turn.payload) == {1: 5, 2: "two", "else": 1}
    status, made = await client.send_http("POST", "/v1/contexts/fork", {"base_turn_id": "2"})
    assert (status, made["head_turn_id"]) == (201, "2")
    for target, wrong in (
        ("/v1/contexts/fork", {}),
        ("/v1/contexts/2/append", {}),
        ("/v1/contexts/2/append", b"["),
    ):
        assert (await client.send_http("POST", target, wrong))[0] == 422
    assert (await client.json("/v1/contexts/3"))["head_turn_id"] == "2"
    assert (await client.get(f"/v1/blobs/{added['content_hash']}")).body == turn.payload


async def raw(client: Client, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(client.at.http_host, client.at.http_port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer.partition(b"\r\n")[0]


async def test_only_local_names_and_those_allowed_are_served(client: Client) -> None:
    get = b"GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: %s\r\n\r\n"
    for host, status in ((b"localhost:9010", b"200"), (b"[::1]:9010", b"200"), (b"evil.example", b"403")):
        assert status in await raw(client, get % host)
    post = b"POST /v1/contexts HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\nOrigin: %s\r\n\r\n"
    assert b"403" in await raw(client, post % b"http://evil.example")
    assert b"201" in await raw(client, post % b"http://localhost")


async def test_other_origins_may_read_only_where_they_are_allowed() -> None:
    guard = Guard(origins=frozenset({"http://page.example"}))
    async with served(guard=guard) as client:
        for origin, allowed in ((b"http://page.example", True), (b"http://evil.example", False)):
            reader, writer = await asyncio.open_connection(client.at.http_host, client.at.http_port)
            writer.write(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\nOrigin: %s\r\n\r\n" % origin)
            assert (b"Access-Control-Allow-Origin: " + origin in await reader.read()) == allowed
            writer.close()


async def test_a_token_is_wanted_at_both_doors() -> None:
    async with served(guard=Guard(token="secret")) as client:
        assert (await client.get("/v1/contexts")).status == 401
        assert await client.refused(frames.CREATE, frames.number(0)) == (401, "token")
        assert await client.refused(frames.HELLO, frames.hello("x", '{"orchestra.token":"wrong"}')) == (
            401,
            "token",
        )
        await client.ask(frames.HELLO, frames.hello("x", '{"orchestra.token":"secret"}'))
        await client.ask(frames.CREATE, frames.number(0))


async def test_metrics_have_cxdbs_members(client: Client) -> None:
    found = await client.json("/v1/metrics")
    assert set(found) == {
        "ts", "uptime_seconds", "memory", "sessions", "objects", "storage", "filesystem", "perf", "errors",
    }  # fmt: skip
    assert found["objects"]["turns_total"] == 1
    assert found["perf"]["append_latency_ms"]["count"] == 1


@pytest.mark.parametrize("embedded", [False, True])
async def test_metrics_count_each_content_of_the_file_trees_once(embedded: bool, tmp_path: Path) -> None:
    sub = tree(
        [
            TreeEntry("again", FILE, 0o644, 3, digest_of(b"one")),
            TreeEntry("two", FILE, 0o644, 5, digest_of(b"twoxx")),
        ]
    )
    one = tree(
        [TreeEntry("one", FILE, 0o644, 3, digest_of(b"one")), TreeEntry("sub", DIRECTORY, 0o755, 0, digest_of(sub))]
    )
    other = tree(
        [TreeEntry("sub", DIRECTORY, 0o755, 0, digest_of(sub)), TreeEntry("s", SYMLINK, 0o777, 1, digest_of(b"x"))]
    )
    gone = tree([TreeEntry("sub", DIRECTORY, 0o755, 0, digest_of(b"nowhere"))])
    async with served(EmbeddedStore.open(tmp_path) if embedded else None) as client:
        await client.ask(frames.CREATE, frames.number(0))
        for data in (sub, one, other, gone):
            await client.store.put_blob(data)
        sizes = []
        for number, root in enumerate((one, other, one, gone), 1):
            await client.append(1, b"\x80")
            await client.ask(frames.ATTACH_FS, frames.attach_fs(number, digest_of(root)))
            sizes.append((await client.json("/v1/metrics"))["filesystem"]["content_bytes"])
        first = len(one) + len(sub) + 3 + 5
        second = first + len(other) + 1
        assert sizes == [first, second, second, second + len(gone)]
        await client.store.close()


HEAD = b"POST /v1/contexts HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (HEAD + b"no header\r\n\r\n", b"400"),
        (HEAD + b"X: " + b"x" * 70_000, b"431"),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", b"501"),
        (HEAD + b"Content-Length: x\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 1099511627776\r\n\r\n", b"413"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", b"400"),
        (b"GET /v1/contexts?" + b"a=1&" * 101 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
    ],
)
async def test_a_malformed_request_is_refused_with_the_status_that_says_why(
    client: Client, request_: bytes, status: bytes
) -> None:
    assert status in await raw(client, request_)
    assert (await client.get("/healthz")).status == 200


async def test_a_client_that_sends_no_more_gets_its_answer(client: Client) -> None:
    reader, writer = await asyncio.open_connection(client.at.http_host, client.at.http_port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    writer.write_eof()
    assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"ok")
    writer.close()
