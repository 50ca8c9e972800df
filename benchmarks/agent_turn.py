"""What our part costs per turn of an agent, against a bare ``create_agent`` loop with the same model and tool.

Run: ``python benchmarks/agent_turn.py``. CPU time of 50 turns, both in one process, alternately; then what 40 and
400 turns take per turn, in time and in recorded bytes.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool

from orchestra.agents.backends import clients
from orchestra.app.plans import agents_of
from orchestra.config.settings import settle
from support import ran

TURNS = 50
ROUNDS = 7


class Scripted(BaseChatModel):
    """Asks for the same tool ``turns`` times with other arguments, then answers."""

    turns: int
    asked: int = 0

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_options: Any) -> Any:
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_options: Any) -> ChatResult:
        self.asked += 1
        calls: list[Any] = []
        if self.asked < self.turns:
            calls = [{"name": "read-file", "args": {"path": f"f{self.asked % 9}"}, "id": f"c{self.asked}"}]
        message = AIMessage(
            "words of the model " * 10,
            tool_calls=calls,
            usage_metadata={"input_tokens": 1000, "output_tokens": 50, "total_tokens": 1050},
            response_metadata={"finish_reason": "tool_calls" if calls else "stop"},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


async def bare(turns: int, folder: Path) -> None:
    async def read(path: str) -> str:
        return await asyncio.to_thread((folder / path).read_text)

    tool = StructuredTool.from_function(coroutine=read, name="read-file", description="Read a file.")
    graph = create_agent(Scripted(turns=turns), [tool], system_prompt="You work.")
    asked = {"messages": [{"role": "user", "content": "go"}]}
    async for _ in graph.astream(asked, {"recursion_limit": 10_000}, stream_mode=["updates", "messages"]):
        pass


async def ours(turns: int, folder: Path) -> int:
    made = lambda **_given: Scripted(turns=turns)  # noqa: E731
    clients._BUILD["openai"] = lambda _provider, _choice: (made, {})  # type: ignore[index]
    file = folder / "orchestra.yaml"
    file.write_text(
        "backend: langgraph\nproviders: {openai: {base_url: 'http://localhost', models: {worker: gpt-5}}}\n"
    )
    settings = settle(folders=(folder,), environment={}, config=file)
    agents = agents_of(settings, folder, str(folder / "p.dot"), {}, simulated=False)
    session = await ran('a [prompt="go"] start -> a -> exit', more={"codergen": agents})
    assert session.result is not None, session.state.paused
    assert session.result.good, session.result
    return sum(len(turn.payload) for turn in await session.store.turns(session.context_id, limit=100_000))


def cpu(work: Any) -> float:
    began = time.process_time()
    asyncio.run(work)
    return time.process_time() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(9):
            (folder / f"f{number}").write_text(f"text of file {number}\n" * 5)
        cpu(bare(3, folder))
        cpu(ours(3, folder))
        pairs = [(cpu(bare(TURNS, folder)), cpu(ours(TURNS, folder))) for _ in range(ROUNDS)]
        ratio = statistics.median(own / base for base, own in pairs)
        base, own = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"bare create_agent: {base / TURNS * 1000:.2f} ms CPU per turn")
        print(f"orchestra:         {own / TURNS * 1000:.2f} ms CPU per turn, {ratio:.2f} times (at most 1.3)")
        least: dict[int, float] = {}
        for turns in (40, 400) * 3:
            began = time.process_time()
            size = asyncio.run(ours(turns, folder))
            taken = (time.process_time() - began) / turns * 1000
            least[turns] = min(taken, least.get(turns, taken))
            print(f"{turns} turns: {size / turns:.0f} bytes and {taken:.2f} ms CPU per turn")
        print(f"400 turns cost per turn {least[400] / least[40]:.2f} times what 40 cost (at most 1.2)")


if __name__ == "__main__":
    main()
