"""What a run lacks is said before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestra.app.pipelines import compile_pipeline, read
from orchestra.app.plans import ResumeChanges
from orchestra.app.runs import RunSetup, resume, start
from orchestra.config.settings import settle
from orchestra.cxdb.memory import MemoryStore
from orchestra.errors import ConfigError, CredentialsMissing, Source

FAN = """digraph p { start [shape=Mdiamond] exit [shape=Msquare] fan [shape=component]
a [shape=parallelogram, tool_command="true"] b [shape=parallelogram, tool_command="true"]
join [shape=tripleoctagon, prompt="choose"] start -> fan -> {a b} -> join -> exit }"""


async def test_a_fan_in_that_asks_a_model_needs_its_key_as_any_agent_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    (tmp_path / "orchestra.yaml").write_text(
        "backend: direct\nproviders: {anthropic: {models: {worker: claude-sonnet-4-5}}}\n"
    )
    settings = settle(folders=(tmp_path,), store="memory", environment={})
    pipeline = compile_pipeline(Source("p.dot", FAN), variables={}, secrets={})
    with pytest.raises(CredentialsMissing):
        await start(RunSetup(store=MemoryStore(), settings=settings), pipeline, variables={})


async def test_a_session_whose_folder_was_moved_says_how_it_continues(tmp_path: Path) -> None:
    folder, store = tmp_path / "before", MemoryStore()
    folder.mkdir()
    file = folder / "p.dot"
    file.write_text(
        "digraph p { start [shape=Mdiamond] exit [shape=Msquare] "
        'a [shape=parallelogram, tool_command="false"] start -> a -> exit }'
    )
    settings = settle(folders=(tmp_path,), environment={})
    source, found = read(file)
    pipeline = compile_pipeline(source, found, variables={}, secrets={})
    run = await start(RunSetup(store=store, settings=settings), pipeline, variables={})
    await run.walk()
    folder.rename(tmp_path / "after")
    with pytest.raises(ConfigError, match="does not exist") as caught:
        await resume(RunSetup(store=store, settings=settings), run.session)
    assert "--graph" in caught.value.fix
    changes = ResumeChanges(graph=read(tmp_path / "after" / "p.dot")[0])
    again, _pipeline = await resume(RunSetup(store=store, settings=settings), run.session, changes)
    await again.walk()
