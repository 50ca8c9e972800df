"""The connections of the providers' clients belong to one conversation."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agents.backends.talking import world


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
def test_a_process_asks_its_models_in_one_event_loop_after_another(provider: str, tmp_path: Path) -> None:
    with world(tmp_path, "answers: [{text: fine}]", provider) as here:
        for _ in range(2):
            session = asyncio.run(here.ran())
            assert session.result is not None
            assert session.result.good, session.result
    assert len(here.requests) == 2
