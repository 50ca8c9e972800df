"""Every event says itself in one line (S13)."""

from __future__ import annotations

import msgspec

from orchestra.run.codec import LONGEST, description, encode
from orchestra.run.declare import EVENTS, BlobRef
from orchestra.run.events import EdgeSelected, Meta, PipelineStarted, StageCompleted, StageFailed, WarningRaised

META = Meta(session="a12345", epoch=1, sequence=1, at=1)


def test_a_description_names_what_happened_where_and_how() -> None:
    done = StageCompleted(node="work", handler="codergen", visit=1, status="success", response="All pass.\nMore.")
    assert description(done) == "stage completed: work, success, All pass."
    failed = StageFailed(node="work", handler="tool", visit=1, failure_reason="exit status 2")
    assert description(failed) == "stage failed: work, fail, exit status 2"
    edge = EdgeSelected(source="a", target="b", rule=5, reason="highest weight")
    assert description(edge) == "edge selected: a -> b, highest weight"
    assert description(WarningRaised(message="near a limit")) == "warning: near a limit"


def test_a_description_is_short_whatever_is_in_the_event() -> None:
    ref = BlobRef("0" * 64, 10_000_000, "first line\nsecond")
    done = StageCompleted(node="work", handler="codergen", visit=1, status="success", response=ref)
    assert description(done).endswith("first line")
    long = StageCompleted(node="x" * 500, handler="codergen", visit=1, status="success", response="y" * 10_000)
    assert len(description(long)) == LONGEST
    assert description(WarningRaised(message="a\ud800b")) == "warning: a?b"


def test_every_payload_carries_the_description_of_its_event() -> None:
    started = PipelineStarted(pipeline="ship", dot="digraph", graph_hash="0", mailbox=2)
    plain = msgspec.msgpack.decode(encode(META, started))
    assert plain[8] == description(started) == "pipeline started: ship"


def test_no_event_has_a_field_that_a_page_would_show_instead_of_its_description() -> None:
    shown = {"content", "description"}
    assert not [(name, field.name) for name, d in EVENTS.items() for field in d.fields if field.name in shown]
