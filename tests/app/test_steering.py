"""An instruction reaches the first agent that starts or continues after it, once, over every kind of stop (S15)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from nested import ENDS, SETTINGS, Clock, compiled

from orchestra.agents.simulation import Simulation
from orchestra.app.runs import RunSetup, resume, start
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.control import Control
from orchestra.engine.mailbox import CANCEL, INTERRUPT, PAUSE, STEER, send
from orchestra.engine.running import Run
from orchestra.graph.model import Graph, Node
from orchestra.ports import Scope
from orchestra.run.outcome import Outcome
from orchestra.run.state import Context
from support import agents_on

LINE = f"digraph parent {{ {ENDS} a b c start -> a -> b -> c -> exit }}"


@dataclass
class Agents:
    """Simulated agents whose prompts are kept; ``stop`` is awaited while ``at`` runs."""

    at: str = ""
    stop: Callable[[], Awaitable[None]] | None = None
    prompts: list[tuple[str, str]] = field(default_factory=list)

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome | None:
        outcome = await agents_on(Simulation({}))(node, context, graph, scope)
        self.prompts.append((node.id, scope.prompted))  # type: ignore[attr-defined]
        if node.id == self.at and self.stop is not None:
            await self.stop()
        return outcome

    def told(self, text: str) -> list[str]:
        return [node for node, prompt in self.prompts if text in prompt]


async def begun(folder: Path, store: MemoryStore, agents: Agents) -> Run:
    return await start(
        RunSetup(store=store, settings=SETTINGS, clock=Clock(), control=Control(), more={"codergen": agents}),
        compiled(folder, parent=LINE),
        variables={},
    )


async def asked(store: MemoryStore, run: Run, action: str, text: str = "") -> None:
    mailbox, session = run.state.mailbox, run.session
    await send(store, mailbox, session, action, text=text, who="me", now_ms=1)


async def continued(store: MemoryStore, run: Run, agents: Agents) -> Run:
    later, _pipeline = await resume(
        RunSetup(store=store, settings=SETTINGS, clock=Clock(), more={"codergen": agents}), run.session
    )
    await later.walk()
    return later


@pytest.mark.parametrize(("how", "first"), [(PAUSE, "b"), (INTERRUPT, "a"), (CANCEL, "a"), ("killed", "a")])
async def test_what_is_sent_after_a_stop_reaches_the_first_agent_of_the_resume(
    how: str, first: str, tmp_path: Path
) -> None:
    store, agents = MemoryStore(), Agents(at="a")
    run = await begun(tmp_path, store, agents)

    async def stop() -> None:
        if how == "killed":
            raise SystemExit
        await asked(store, run, how)
        await asyncio.sleep(0.05)

    agents.stop = stop
    if how == "killed":
        with pytest.raises(BaseException, match=r".*"):
            await run.walk()
    else:
        await run.walk()
    await asked(store, run, STEER, "use French")
    later = Agents()
    result = (await continued(store, run, later)).state.result
    assert result is not None
    assert result.good
    assert later.told("use French") == [first]


async def test_an_agent_that_was_stopped_before_its_end_gets_its_instruction_again_and_no_other_does(
    tmp_path: Path,
) -> None:
    store, agents = MemoryStore(), Agents(at="b")
    run = await begun(tmp_path, store, agents)

    async def stop() -> None:
        await asked(store, run, INTERRUPT)
        await asyncio.sleep(0.05)

    agents.stop = stop
    await asked(store, run, STEER, "use French")
    await run.walk()
    assert agents.told("use French") == ["a"]
    await asked(store, run, STEER, "use tabs")
    later = Agents()
    await continued(store, run, later)
    assert (later.told("use French"), later.told("use tabs")) == ([], ["b"])
