"""The registered types, and what a new bundle may change.

The rules and their order are CXDB's, but a bundle that is refused leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from orchestra.cxdb.format.frames import Malformed
from orchestra.cxdb.server.msgpack import unsigned

LARGEST_TAG = (1 << 64) - 1
LARGEST_VERSION = (1 << 32) - 1


class Renderer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What shows a type on CXDB's page."""

    esm_url: str
    component: str | None = None
    integrity: str | None = None


class _Field(msgspec.Struct, frozen=True):
    name: str
    type: str
    enum: str | None = None
    ref: str | None = None
    optional: bool | None = None
    items: object = None


class _Version(msgspec.Struct, frozen=True):
    fields: dict[str, _Field] = {}
    renderer: Renderer | None = None


class _Type(msgspec.Struct, frozen=True):
    versions: dict[str, _Version] = {}


class _Bundle(msgspec.Struct, frozen=True):
    registry_version: int
    bundle_id: str
    types: dict[str, _Type] = {}
    enums: dict[str, dict[str, str]] = {}


_decode = msgspec.json.Decoder(_Bundle).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """A field; an array's ``items`` are of a simple type, or maps of the type ``items_ref``."""

    name: str
    type: str
    enum: str | None = None
    ref: str | None = None
    optional: bool = False
    items: str | None = None
    items_ref: str | None = None


@dataclass(frozen=True, slots=True)
class TypeVersion:
    """One version of a type."""

    fields: Mapping[int, FieldSpec]
    renderer: Renderer | None


@dataclass(slots=True)
class Types:
    """Bundles, and the types and enums they make together."""

    bundles: dict[str, bytes] = field(default_factory=dict)
    newest: str | None = None
    """The bundle that was stored last."""
    _types: dict[str, dict[int, TypeVersion]] = field(default_factory=dict)
    _signatures: dict[tuple[str, int], tuple[str, str | None]] = field(default_factory=dict)
    _enums: dict[str, dict[str, str]] = field(default_factory=dict)

    def version(self, type_id: str, number: int) -> TypeVersion | None:
        """That version of a type."""
        return self._types.get(type_id, {}).get(number)

    def latest(self, type_id: str) -> tuple[int, TypeVersion] | None:
        """The highest version of a type, and its number."""
        versions = self._types.get(type_id)
        return max(versions.items(), key=lambda item: item[0]) if versions else None

    def label(self, enum: str, number: int) -> str | None:
        """What a number is called."""
        return self._enums.get(enum, {}).get(str(number))

    def renderers(self) -> dict[str, Renderer]:
        """The renderer of each type's highest version."""
        found = {type_id: self.latest(type_id) for type_id in sorted(self._types)}
        return {
            type_id: latest[1].renderer
            for type_id, latest in found.items()
            if latest is not None and latest[1].renderer is not None
        }

    def counts(self) -> tuple[int, int]:
        """How many types and bundles."""
        return len(self._types), len(self.bundles)

    def put(self, raw: bytes) -> tuple[str, Types | None]:
        """A bundle's id, and what is known with it; None where it is known already. Raises ``Malformed``."""
        bundle = _read(raw)
        known = self.bundles.get(bundle.bundle_id)
        if known == raw:
            return bundle.bundle_id, None
        if known is not None:
            raise Malformed(422, "bundle_id already exists with different content")
        if bundle.registry_version == 0:
            raise Malformed(422, "registry_version must be > 0")
        after = self._copy({**self.bundles, bundle.bundle_id: raw}, bundle.bundle_id)
        after._merge(bundle)
        return bundle.bundle_id, after

    def with_what_fits(self, raw: bytes) -> Types:
        """What is known with those types of a bundle that agree with the others; the bundle is not taken in."""
        try:
            bundle = _read(raw)
        except Malformed:
            return self
        after = self
        for type_id, described in bundle.types.items():
            used = {each.enum for version in described.versions.values() for each in version.fields.values()}
            enums = {enum: labels for enum, labels in bundle.enums.items() if enum in used}
            trial = after._copy(after.bundles, after.newest)
            try:
                trial._merge(_Bundle(bundle.registry_version, bundle.bundle_id, {type_id: described}, enums))
            except Malformed:
                continue
            after = trial
        return after

    def _copy(self, bundles: dict[str, bytes], newest: str | None) -> Types:
        types = {type_id: dict(versions) for type_id, versions in self._types.items()}
        return Types(bundles, newest, types, dict(self._signatures), dict(self._enums))

    def _merge(self, bundle: _Bundle) -> None:
        for enum, labels in bundle.enums.items():
            if self._enums.setdefault(enum, labels) != labels:
                raise Malformed(422, f"enum {enum} already exists with different mapping")
        for type_id, described in bundle.types.items():
            versions = self._types.setdefault(type_id, {})
            for text, version in described.versions.items():
                number = _number(text, LARGEST_VERSION, "invalid type version")
                self._add(type_id, versions, number, _normal(version))
        self._check_enums()

    def _add(self, type_id: str, versions: dict[int, TypeVersion], number: int, new: TypeVersion) -> None:
        known = versions.get(number)
        if known is not None:
            if known.fields != new.fields:
                raise Malformed(422, f"type {type_id} version {number} differs from existing")
            versions[number] = TypeVersion(known.fields, known.renderer or new.renderer)
            return
        for tag, described in new.fields.items():
            signature = (described.type, described.enum)
            if self._signatures.setdefault((type_id, tag), signature) != signature:
                raise Malformed(422, f"tag reuse conflict for type {type_id} tag {tag}")
        versions[number] = new

    def _check_enums(self) -> None:
        for type_id, versions in self._types.items():
            for number, version in versions.items():
                for tag, described in version.fields.items():
                    if described.enum is not None and described.enum not in self._enums:
                        raise Malformed(
                            422, f"missing enum {described.enum} for type {type_id} version {number} tag {tag}"
                        )


def _read(raw: bytes) -> _Bundle:
    try:
        bundle = _decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Malformed(422, f"invalid json: {error}") from None
    if not 0 <= bundle.registry_version <= LARGEST_VERSION:
        raise Malformed(422, "invalid json: registry_version is not a u32")
    return bundle


def _number(text: str, most: int, complaint: str) -> int:
    found = unsigned(text, most)
    if found is None:
        raise Malformed(422, complaint)
    return found


def _normal(version: _Version) -> TypeVersion:
    fields = {
        _number(tag, LARGEST_TAG, "invalid field tag"): _field(described)
        for tag, described in version.fields.items()
    }
    return TypeVersion(fields, version.renderer)


def _field(described: _Field) -> FieldSpec:
    items, items_ref = _items(described.items)
    return FieldSpec(
        name=described.name,
        type=described.type,
        enum=described.enum,
        ref=described.ref,
        optional=bool(described.optional),
        items=items,
        items_ref=items_ref,
    )


def _items(items: object) -> tuple[str | None, str | None]:
    """An array's items: a simple type's name, or a reference; neither where it cannot be understood."""
    if isinstance(items, str):
        return items, None
    kind = items.get("type") if isinstance(items, dict) else None
    if not isinstance(items, dict) or not isinstance(kind, str):
        return None, None
    if kind != "ref":
        return kind, None
    target = items.get("ref")
    return None, target if isinstance(target, str) else None


def describe(version: TypeVersion) -> dict[str, object]:
    """A version as the HTTP route tells it."""
    out: dict[str, object] = {"fields": {str(tag): _describe(spec) for tag, spec in version.fields.items()}}
    if version.renderer is not None:
        out["renderer"] = version.renderer
    return out


def _describe(spec: FieldSpec) -> dict[str, object]:
    out: dict[str, object] = {"name": spec.name, "type": spec.type}
    if spec.enum is not None:
        out["enum"] = spec.enum
    if spec.ref is not None:
        out["ref"] = spec.ref
    if spec.items_ref is not None:
        out["items"] = {"type": "ref", "ref": spec.items_ref}
    elif spec.items is not None:
        out["items"] = spec.items
    if spec.optional:
        out["optional"] = True
    return out


def faults(files: Iterable[tuple[str, bytes | OSError]]) -> Iterator[str]:
    """What is wrong with the registry's files, which are given oldest first, in a sentence each."""
    known = Types()
    for name, raw in files:
        if isinstance(raw, OSError):
            yield f"{name} cannot be read: {raw.strerror or raw}"
            continue
        try:
            known = known.put(raw)[1] or known
        except Malformed as error:
            yield f"{name} is not used: {error.text}"
            known = known.with_what_fits(raw)
