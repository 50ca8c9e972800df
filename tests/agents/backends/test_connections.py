"""The connections of the providers' clients belong to one conversation."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.backends.talking import world
from orchestra.agents.backends.models import _in_thread
from orchestra.run.events import StageFailed


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
def test_a_process_asks_its_models_in_one_event_loop_after_another(provider: str, tmp_path: Path) -> None:
    with world(tmp_path, "answers: [{text: fine}]", provider) as here:
        for _ in range(2):
            session = asyncio.run(here.ran())
            assert session.result is not None
            assert session.result.good, session.result
    assert len(here.requests) == 2


def test_a_blocking_client_that_waits_for_a_silent_provider_keeps_no_event_loop_from_ending() -> None:
    silent = threading.Event()

    def pieces() -> Iterator[str]:
        yield "first"
        silent.wait(60)

    async def first() -> str:
        async with contextlib.aclosing(_in_thread(pieces)) as stream:
            return str(await anext(stream))

    began = time.monotonic()
    assert asyncio.run(first()) == "first"
    assert time.monotonic() - began < 20
    silent.set()


@pytest.mark.parametrize("provider", ["anthropic", "google"])
async def test_settings_that_a_client_refuses_fail_the_node_without_its_key(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.setenv(name, "canary-0123456789")
    with world(tmp_path, "answers: [{text: fine}]", provider) as here:
        here.own = ", options: {temperature: hot}"
        session = await here.ran()
    (failed,) = [event for event in session.events if isinstance(event, StageFailed)]
    assert failed.failure_class == "terminal"
    assert "temperature" in failed.failure_reason
    assert "canary" not in str(session.events)
