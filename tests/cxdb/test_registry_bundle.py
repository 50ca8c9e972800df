"""The registry bundle has the shape that a CXDB server reads (S12), and is one thing for one content."""

from __future__ import annotations

import json
from typing import Any

from orchestra.cxdb.format.registry import bundle
from orchestra.run.codec import REFS
from orchestra.run.declare import BY_CLASS

SHOWN_WELL = {"string", "u64", "u32", "bool", "unix_ms", "array", "ref"}
SHOWN_AS_IT_IS = {"any", "f64", "map"}


def described() -> dict[str, Any]:
    name, data = bundle()
    body: dict[str, Any] = json.loads(data)
    assert body["bundle_id"] == name
    assert body["registry_version"] > 0
    return body


def test_every_declared_event_has_its_type_with_every_field() -> None:
    types = described()["types"]
    for declared in BY_CLASS.values():
        fields = types[declared.type_id]["versions"][str(declared.version)]["fields"]
        for field in declared.fields:
            assert fields[str(field.tag)]["name"] == field.name
            if field.type == "json":
                assert fields[str(field.tag + REFS)]["name"] == f"{field.name}_refs"


def test_every_field_is_of_a_type_that_the_typed_view_shows_and_every_reference_is_inside() -> None:
    types = described()["types"]
    for body in types.values():
        for version in body["versions"].values():
            for field in version["fields"].values():
                assert field["type"] in SHOWN_WELL | SHOWN_AS_IT_IS
                if field["type"] == "ref":
                    assert field["ref"] in types
                if field["type"] == "array":
                    assert field["items"] == "string"


def test_the_context_metadata_is_under_key_thirty_everywhere() -> None:
    for name, body in described()["types"].items():
        if name.endswith((".ContextMetadata", ".Provenance")):
            continue
        for version in body["versions"].values():
            assert version["fields"]["30"]["ref"] == "dev.orchestra.ContextMetadata"


def test_the_same_content_has_the_same_bytes_and_name() -> None:
    assert bundle() == bundle()
