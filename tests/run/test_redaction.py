"""Secrets never leave the engine (S18), and what is no secret stays as it is."""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from collections.abc import Iterator
from itertools import islice
from random import Random
from urllib.parse import quote, quote_plus
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.agents.simulation import ScriptedResult
from orchestra.engine.loading import history
from orchestra.run.codec import redact_event
from orchestra.run.events import EdgeSelected, PipelineFailed, StageCompleted, StageFailed, WarningRaised
from orchestra.run.secrets import KnownSecrets, Redactor
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


WIDTHS = [(76, "\n"), (64, "\r\n"), (76, "\n    "), (20, "\n"), (76, "\\n"), (76, "\\r\\n")]


@pytest.mark.parametrize(("width", "end"), WIDTHS)
@pytest.mark.parametrize("before", [0, 40, 50, 53, 57, 58, 59, 60, 131])
def test_a_secret_in_base64_is_found_where_a_line_ends_inside_it(before: int, width: int, end: str) -> None:
    secret = "hunter2-Tr0ub4dor&3-staple"
    whole = b64encode(b"x" * before + secret.encode() + b"y" * 40).decode()
    text = end.join(whole[at : at + width] for at in range(0, len(whole), width))
    redactor = Redactor({"IT": secret})
    assert "[redacted:IT]" in redactor.text(text)
    assert "[redacted:IT]" in redactor.data(text.encode()).decode()
    assert {name for _start, _stop, name in redactor.find(text)} == {"IT"}


def test_a_text_in_lines_without_a_secret_is_the_same_object() -> None:
    text = "\n".join(["abcdefghijklmnop0123456789"] * 50)
    assert KNOWN.text(text) is text


def test_values_and_formats_that_are_ignored_are_no_secrets() -> None:
    key = FORMATS["openai"]
    assert Redactor(KnownSecrets({}, [key])).text(f"a {key} b") == f"a {key} b"
    assert Redactor(KnownSecrets({}, ["openai-key"])).text(f"a {key} b") == f"a {key} b"
    assert not Redactor(KnownSecrets({}, ["openai-key"])).find(key)
    assert key not in Redactor(KnownSecrets({}, ["aws-key", "another"])).text(key)


@pytest.mark.parametrize("secret", FORMATS.values(), ids=FORMATS)
def test_the_usual_formats_are_found_without_being_declared(secret: str) -> None:
    found = Redactor({}).text(f"before {secret} after")
    assert secret not in found
    assert found.startswith("before [redacted:")


def test_a_declared_value_is_replaced_by_its_name_everywhere() -> None:
    assert KNOWN.text(f"a{SECRET}b{SECRET}") == "a[redacted:MY_TOKEN]b[redacted:MY_TOKEN]"


def test_of_two_secrets_one_inside_the_other_the_longer_goes_first() -> None:
    redactor = Redactor({"SHORT": "12345678", "LONG": "0123456789"})
    assert redactor.text("0123456789 12345678") == "[redacted:LONG] [redacted:SHORT]"


def test_short_values_are_left_alone_and_named() -> None:
    redactor = Redactor({"PIN": "1234", "EMPTY": "", "LONG": "12345678"})
    assert redactor.text("1234 and 12345678") == "1234 and [redacted:LONG]"
    assert redactor.short == ("PIN",)


@pytest.mark.parametrize(
    "secret", ["p@ss/w rd+x", "12345678", "höchst geheim & so", 'a"b\\c\nd-and-more', "~" * 41]
)
def test_a_secret_is_found_in_every_form_in_which_it_travels(secret: str) -> None:
    redactor, hidden = Redactor({"IT": secret}), "[redacted:IT]"
    browsers = quote(secret, safe="!'()*~"), quote(secret, safe=";,/?:@&=+$!*'()#~")
    lower = re.sub("%..", lambda code: code[0].lower(), quote(secret))
    for form in (
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        quote(secret),
        lower,
        *browsers,
    ):
        assert redactor.text(f"a={form}&b=c") == f"a={hidden}&b=c"
    for lead in range(7):
        for tail in range(4):
            data = b64encode(b"u" * lead + secret.encode() + b"x" * tail).decode()
            assert hidden in redactor.text(f"Authorization: Basic {data}")
            assert hidden in redactor.text(data.replace("+", "-").replace("/", "_"))
            assert hidden.encode() in redactor.data(data.encode())


LOOK_ALIKES = [
    "",
    "sk-",
    "ask-me-nothing",
    "ghost",
    "task-runner_of_the_week",
    "AIzarre",
    "docs/task-runner-for-the-new-pipeline.md",
    "task-550e8400-e29b-41d4-a716-446655440000",
    "disk-0d1f9a6e2b7c4d5e8f90a1b2c3d4e5f6",
    "risk-2026-11-28-assessment-of-the-migration",
    "https://example.org/desk-lamp-with-3-year-warranty-v2",
    "sk-learn-pipeline-and-grid-search-2024.ipynb",
    "sk-SK-translations-of-the-user-interface",
    "sk-ant-colony-optimization-notes-2024",
    "sk-or-swim-the-story-of-a-startup-in-1999",
    "BaseTask-ResultOfTheLastHttpRequest2",
    "xoxo-love-and-kisses-from-all-of-us",
    "xoxp-is-a-prefix-of-slack-tokens",
    "glpat-rotation-guide-for-all-of-our-teams",
    "github_pat_rotation_guide_for_all_teams",
    "ghs_is_the_prefix_of_a_server_to_server_token",
    "AKIAlooksLikeAKeyAndIsNone",
    "xAIza" + "0123456789abcdefghijklmnopqrstuvwxy",
    "-----BEGIN " + "CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
]


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_what_only_looks_like_a_key_is_no_secret(text: str) -> None:
    assert Redactor({}).text(text) is text
    assert not list(Redactor({}).find(text))


@pytest.mark.parametrize("lead", ['"', "=", "key:", "\\n", "%3D", "/", "\n", "-"])
@pytest.mark.parametrize("kind", ["anthropic", "openai", "openai, old", "github", "gitlab", "slack"])
def test_a_key_is_found_after_anything_but_a_letter_or_a_digit(kind: str, lead: str) -> None:
    assert FORMATS[kind] not in Redactor({}).text(f"say{lead}{FORMATS[kind]}")


def ordinary(chance: Random) -> Iterator[str]:
    """Names as they stand in code, documents and logs, each glued to words that end like a key's beginning."""
    words = (
        "task desk disk risk mask ask sk flask ant or proj runner pipeline guide notes gh ghp review fix".split()
    )
    while True:
        numbers = [str(chance.randrange(3000)), f"v{chance.randrange(20)}", f"{chance.getrandbits(32):x}"]
        parts = [chance.choice(words) for _ in range(chance.randrange(2, 7))] + chance.choices(numbers, k=1)
        chance.shuffle(parts)
        yield chance.choice("-_").join(parts) + chance.choice([".md", ".py", ""])
        yield chance.choice("-_").join([chance.choice(words[:8]), str(UUID(int=chance.getrandbits(128)))])
        yield f"{chance.choice(words[:6])}-{chance.getrandbits(chance.choice([64, 128, 160, 256])):x}"
        yield b64encode(chance.randbytes(chance.randrange(20, 200))).decode()
        yield "".join(part.title() for part in parts) + "-" + chance.choice(words)


def test_of_ordinary_names_less_than_one_in_a_thousand_is_taken_for_a_key() -> None:
    names = list(islice(ordinary(Random(7)), 50_000))
    redactor = Redactor({})
    masked = [name for name in names if redactor.text(name) is not name]
    assert len(masked) * 1000 < len(names), masked[:10]


def real_keys(chance: Random) -> Iterator[str]:
    base62 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    for lead, size, alphabet in (
        ("sk-" + "ant-api03-", 93, base62 + "-_"),
        ("sk-" + "proj-", 150, base62 + "-_"),
        ("sk-", 48, base62),
        ("sk-", 32, "0123456789abcdef"),
        ("sk-" + "or-v1-", 64, "0123456789abcdef"),
        ("gh" + "p_", 36, base62),
        ("github" + "_pat_", 82, base62),
        ("gl" + "pat-", 20, base62 + "-_"),
        ("AI" + "za", 35, base62 + "-_"),
    ):
        for _ in range(500):
            yield lead + "".join(chance.choices(alphabet, k=size))


def test_keys_drawn_at_random_are_found() -> None:
    missed = [key for key in real_keys(Random(11)) if key in Redactor({}).text(f"key {key} here")]
    assert len(missed) <= 9, missed  # of 4 500; a short key can be drawn that is all but words


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
    assert SECRET not in repr(redact_event(event, KNOWN))
    done = StageCompleted(node="a", handler="h", visit=1, status="success", word=text, preferred_label=text)
    assert SECRET not in repr(redact_event(done, KNOWN))
    for other in (
        PipelineFailed(node="a", duration_ms=1, steps=1, error=text),
        WarningRaised(message=text),
        EdgeSelected(source="a", target="b", rule=1, reason=text, candidates=({"values": {"k": text}},)),
    ):
        assert SECRET not in repr(redact_event(other, KNOWN))


async def test_no_byte_of_a_store_holds_a_secret_that_an_agent_spoke() -> None:
    key = FORMATS["openai"]
    session = await ran(
        'max_steps=9 a b start -> a -> b b -> exit [condition="context.k=never"]',
        {
            "a": [
                ScriptedResult(
                    text=f"{SECRET} {key}" + "x" * 20_000, updates={"k": SECRET, "l": [key]}, label=SECRET
                ),
            ],
            "b": [ScriptedResult(status="fail", reason=SECRET, notes=key)],
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
