"""The type registry bundle that lets CXDB show our turns as typed data (S12)."""

from __future__ import annotations

import json

from blake3 import blake3

from orchestra.run.codec import ENVELOPE, REFS
from orchestra.run.declare import EVENTS, METADATA_TAG, FieldTag

CONTEXT_METADATA = "dev.orchestra.ContextMetadata"
PROVENANCE = "dev.orchestra.Provenance"

_SHOWN_AS = {"text": "any", "json": "any", "refs": "any", "float": "f64", "map": "map"}
"""Our field types that CXDB shows as they are, under a word that says what they are."""

_METADATA = {1: ("client_tag", "string"), 2: ("title", "string"), 3: ("labels", "array")}
_PROVENANCE = {
    1: ("parent_context_id", "u64"),
    2: ("spawn_reason", "string"),
    3: ("root_context_id", "u64"),
    40: ("service_name", "string"),
    41: ("service_version", "string"),
    43: ("process_pid", "u64"),
    45: ("host_name", "string"),
    80: ("captured_at", "unix_ms"),
}


def bundle() -> tuple[str, bytes]:
    """The bundle's id and its bytes; the id holds the content's hash, so other bytes have another id.

    It is self-contained: every type that a field refers to is in it.
    """
    described: dict[str, dict[str, dict[str, object]]] = {}
    for (type_id, type_version), fields in types().items():
        versions = described.setdefault(type_id, {})
        versions[str(type_version)] = {"fields": _fields(fields)}
    described[CONTEXT_METADATA] = {"1": {"fields": {**_plain(_METADATA), "10": _ref("provenance", PROVENANCE)}}}
    described[PROVENANCE] = {"1": {"fields": _plain(_PROVENANCE)}}
    all_types = {type_id: {"versions": versions} for type_id, versions in sorted(described.items())}
    body: dict[str, object] = {"registry_version": 1, "types": all_types, "enums": {}}
    digest = blake3(_json(body)).hexdigest()[:16]
    name = f"dev.orchestra-{digest}"
    return name, _json({"bundle_id": name, **body})


def _fields(fields: dict[int, FieldTag]) -> dict[str, object]:
    out: dict[int, dict[str, object]] = {tag: {"name": name, "type": kind} for tag, name, kind in ENVELOPE}
    for tag, field in fields.items():
        described: dict[str, object] = {"name": field.name, "type": _SHOWN_AS.get(field.type, field.type)}
        if field.type == "array":
            described["items"] = "string"
        out[tag] = {**described, "optional": True}
        if field.type == "json":
            out[tag + REFS] = {"name": f"{field.name}_refs", "type": "any", "optional": True}
    out[METADATA_TAG] = _ref("context_metadata", CONTEXT_METADATA)
    return {str(tag): out[tag] for tag in sorted(out)}


def _plain(fields: dict[int, tuple[str, str]]) -> dict[str, object]:
    return {
        str(tag): {
            "name": name,
            "type": kind,
            "optional": True,
            **({"items": "string"} if kind == "array" else {}),
        }
        for tag, (name, kind) in fields.items()
    }


def _ref(name: str, target: str) -> dict[str, object]:
    return {"name": name, "type": "ref", "ref": target, "optional": True}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=True).encode()


def bundle_of(raw: bytes) -> str | None:
    """The id that a bundle's bytes give it; None where they are no bundle."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    name = found.get("bundle_id") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None


def types() -> dict[tuple[str, int], dict[int, FieldTag]]:
    """The fields of every CXDB type and version, all events of the type together.

    ``ValueError`` where two events give one tag two meanings.
    """
    found: dict[tuple[str, int], dict[int, FieldTag]] = {}
    for declared in EVENTS.values():
        fields = found.setdefault((declared.type_id, declared.version), {})
        for field in declared.fields:
            known = fields.setdefault(field.tag, field)
            if (known.name, known.type) != (field.name, field.type):
                raise ValueError(f"{declared.type_id}: tag {field.tag} is {known.name} and {field.name}")
    return found
