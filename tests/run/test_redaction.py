"""Secrets never leave the engine (S18), and what is no secret stays as it is."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.agents.simulation import Scripted
from orchestra.engine.loading import history
from orchestra.run.events import EdgeSelected, PipelineFailed, StageCompleted, StageFailed, WarningRaised
from orchestra.run.redaction import redacted
from orchestra.run.secrets import Redactor
from support import ran

SECRET = "correct horse battery"
KNOWN = Redactor({"MY_TOKEN": SECRET})

# put together here, so that no file of ours holds what looks like a key
FORMATS = {
    "anthropic": "sk-" + "ant-api03-" + "a1B2" * 8,
    "openai": "sk-" + "proj-" + "a1B2" * 8,
    "openai, old": "sk-" + "a1B2" * 8,
    "openrouter": "sk-" + "or-v1-" + "a1B2" * 8,
    "google": "AI" + "za" + "a1B2" * 8 + "xyz",
    "aws": "AK" + "IA" + "A1B2" * 4,
    "github": "gh" + "p_" + "a1B2" * 9,
    "github, fine": "github" + "_pat_" + "a1B2" * 8,
    "gitlab": "gl" + "pat-" + "a1B2" * 5,
    "slack": "xo" + "xb-" + "12345-" * 4,
    "private key": "-----BEGIN " + "RSA PRIVATE KEY-----\nMIIE\n-----END " + "RSA PRIVATE KEY-----",
    "private key, cut": "-----BEGIN " + "PRIVATE KEY-----\nMIIEabc",
}


@pytest.mark.parametrize("secret", FORMATS.values(), ids=FORMATS)
def test_the_usual_formats_are_found_without_being_declared(secret: str) -> None:
    found = Redactor({}).text(f"before {secret} after")
    assert secret not in found
    assert found.startswith("before [redacted:")


def test_a_declared_value_is_replaced_by_its_name_wherever_it_stands() -> None:
    assert KNOWN.text(f"a{SECRET}b{SECRET}") == "a[redacted:MY_TOKEN]b[redacted:MY_TOKEN]"


def test_of_two_secrets_one_inside_the_other_the_longer_goes_first() -> None:
    redactor = Redactor({"SHORT": "12345678", "LONG": "0123456789"})
    assert redactor.text("0123456789 12345678") == "[redacted:LONG] [redacted:SHORT]"


def test_short_values_are_left_alone_and_named() -> None:
    redactor = Redactor({"PIN": "1234", "EMPTY": "", "LONG": "12345678"})
    assert redactor.text("1234 and 12345678") == "1234 and [redacted:LONG]"
    assert redactor.short == ("PIN",)


@pytest.mark.parametrize("text", ["", "sk-", "ask-me-nothing", "ghost", "task-runner_of_the_week", "AIzarre"])
def test_ordinary_words_are_no_secrets(text: str) -> None:
    assert Redactor({}).text(text) is text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abc ", max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_a_value_without_secrets_is_the_same_object(value: object) -> None:
    assert KNOWN.value(value) is value


@settings(max_examples=60, deadline=None)
@given(JSON, st.integers(0, 3))
def test_a_secret_is_found_at_any_depth_in_keys_and_in_values(value: object, depth: int) -> None:
    hidden: object = {f"k {SECRET}": [value, f"x{SECRET}"]}
    for _ in range(depth):
        hidden = {"in": [hidden]}
    assert SECRET not in repr(KNOWN.value(hidden))
    assert repr(KNOWN.value(hidden)).count("[redacted:MY_TOKEN]") == 2


def test_names_and_ids_of_ours_stay_and_words_of_others_do_not_keep_a_secret() -> None:
    text = f"it is {SECRET}"
    event = StageFailed(
        node="a",
        handler="codergen",
        visit=1,
        prompt=text,
        response=text,
        context_updates={"k": text},
        notes=text,
        failure_reason=text,
        preferred_label=text,
        suggested_next_ids=(text,),
    )
    assert SECRET not in repr(redacted(event, KNOWN))
    done = StageCompleted(node="a", handler="h", visit=1, status="success", word=text, preferred_label=text)
    assert SECRET not in repr(redacted(done, KNOWN))
    for other in (
        PipelineFailed(node="a", duration_ms=1, steps=1, error=text),
        WarningRaised(message=text),
        EdgeSelected(source="a", target="b", rule=1, reason=text, candidates=({"values": {"k": text}},)),
    ):
        assert SECRET not in repr(redacted(other, KNOWN))


async def test_no_byte_of_a_store_holds_a_secret_that_an_agent_spoke() -> None:
    key = FORMATS["openai"]
    session = await ran(
        'max_steps=9 a b start -> a -> b b -> exit [condition="context.k=never"]',
        {
            "a": [
                Scripted(text=f"{SECRET} {key}" + "x" * 20_000, updates={"k": SECRET, "l": [key]}, label=SECRET),
            ],
            "b": [Scripted(status="fail", reason=SECRET, notes=key)],
        },
        secrets={"MY_TOKEN": SECRET},
    )
    turns = await history(session.store, session.context_id)
    blobs = session.store._blobs.values()  # type: ignore[attr-defined]
    for data in (
        *(turn.payload for turn in turns),
        *blobs,
        repr(session.state).encode(),
        repr(session.seen).encode(),
    ):
        assert SECRET.encode() not in data
        assert key.encode() not in data


def test_looking_for_secrets_takes_time_in_proportion_to_the_text() -> None:
    def seconds(text: str) -> float:
        begun = time.process_time()
        KNOWN.text(text)
        return time.process_time() - begun

    for unit in ("sk-", "-----BEGIN A PRIVATE KEY-----", "xoxb-1", "gh", "AKIA"):
        seconds(unit * 100)
        assert seconds(unit * 20_000) < 0.5, unit
