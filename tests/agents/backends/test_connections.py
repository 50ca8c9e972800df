"""The connections of the providers' clients belong to one conversation."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import langsmith
import pytest

from agents.backends.talking import GRAPH, world
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


@pytest.fixture
def tracing() -> Iterator[list[str]]:
    """What a tracing service is sent, while the process has tracing on."""
    asked: list[str] = []

    class Service(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        client = langsmith.Client(api_url=f"http://127.0.0.1:{service.server_port}", api_key="k")
        langsmith.configure(enabled=True, client=client)
        try:
            yield asked
        finally:
            client.flush()
            langsmith.configure(enabled=None, client=None)
            service.shutdown()


@pytest.mark.parametrize("backend", ["direct", "langgraph"])
async def test_nothing_is_sent_to_a_tracing_service(backend: str, tmp_path: Path, tracing: list[str]) -> None:
    with world(tmp_path, "answers: [{text: fine}]") as here:
        await here.ran(GRAPH.replace("prompt=", f"backend={backend} prompt="))
        assert len(here.requests) == 1
    langsmith.run_trees.get_cached_client().flush()
    assert not tracing
