"""From what a command-line agent writes to recorded turns (A6, A9)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from orchestra.agents.cli.events import (
    NO_USAGE,
    AnswerText,
    CliEvent,
    ProgramFinished,
    SessionBegun,
    TokenCount,
    ToolCalled,
    ToolResulted,
)
from orchestra.agents.pricing import Price, price_of
from orchestra.agents.tools.output import cut
from orchestra.ports import Turns
from orchestra.processes.output import Keep
from orchestra.run.codec import utf8
from orchestra.run.conversation import AgentTurn, Message, ToolCall, ToolEnded, Usage
from orchestra.run.outcome import Json

LONGEST_RESULT = 100_000
"""Characters of a tool's result that its turn holds; a longer one is whole in a blob."""

NO_RESULT = "no result was reported"


async def nothing_changed() -> tuple[str, ...]:
    """No file changed, as far as is known."""
    return ()


@dataclass(slots=True)
class _OpenTurn:
    """The turn in progress."""

    answer: str = ""
    texts: list[str] = field(default_factory=list)
    calls: dict[str, ToolCall] = field(default_factory=dict)
    results: dict[str, ToolResulted] = field(default_factory=dict)
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    usage: Usage = NO_USAGE

    @property
    def empty(self) -> bool:
        return not self.texts and not self.calls

    def ends_before(self, answer: str) -> bool:
        """Whether what comes now belongs to the next turn: another answer, or one after the results of this."""
        if self.empty:
            return False
        if answer or self.answer:
            return answer != self.answer
        return bool(self.calls) and len(self.results) == len(self.calls)


@dataclass(slots=True, kw_only=True)
class Transcript:
    """What one attempt's agent says and does, turn by turn.

    ``counted`` is the usage of its session before this run of the program, for those that count whole sessions.
    ``after`` is awaited after each recorded turn; ``shown`` gets what a watcher sees.
    """

    cli: str
    provider: str
    model: str
    thread: str
    turns: Turns
    prices: Mapping[str, Price]
    folders: Mapping[str, Path]
    shown: Callable[[str], None]
    after: Callable[[], Awaitable[None]]
    changed: Callable[[], Awaitable[tuple[str, ...]]] = nothing_changed
    """Tells which files changed since it was last asked."""
    number: int = 0
    fresh: bool = True
    session: str = ""
    counted: Usage = NO_USAGE
    unsent: list[Message] = field(default_factory=list)
    final: ProgramFinished | None = None
    said: str = ""
    """The newest text of the agent."""
    _turn: _OpenTurn = field(default_factory=_OpenTurn)
    _sum: Usage = NO_USAGE
    _cost: int = 0
    _since: int = 0
    now_ms: Callable[[], int]
    keep: Keep
    check: Callable[[ToolCall, ToolResulted], None] = lambda _call, _result: None
    """Receives each result; raises if its call was not allowed."""

    def ask(self, prompt: str, name: str = "") -> None:
        """A run of the program begins with this prompt."""
        self.unsent.append(Message(role="user", text=prompt, name=name))
        self.final, self.said = None, ""
        self._turn, self._sum, self._cost, self._since = _OpenTurn(), Usage(), 0, self.now_ms()

    async def hear(self, event: CliEvent) -> None:
        """Take what happened. Nothing counts after the final event."""
        if self.final is not None:
            return
        match event:
            case SessionBegun():
                self.session = event.session or self.session
                self.model = event.model or self.model
            case AnswerText():
                await self._next(event.answer)
                self._say(event)
            case ToolCalled():
                await self._next(event.answer)
                self._turn.calls[event.call.id] = event.call
                self._turn.files[event.call.id] = event.files
                self.shown(f"{event.call.name}: {_brief(event.call.arguments)}\n")
            case ToolResulted():
                self._result(event)
            case TokenCount():
                await self._next(event.answer)
                self._turn.answer, self._turn.usage = event.answer, event.usage
            case ProgramFinished():
                self.final = event
                await self.end(event)

    async def end(self, final: ProgramFinished) -> None:
        """Record the last turn with what is not counted yet."""
        total = final.usage
        if final.cumulative:
            total, self.counted = _less(total, self.counted), total
        rest = _less(total, self._sum) if total != Usage() else self._turn.usage
        if final.text and not self._turn.texts and not self._turn.calls and not final.error:
            self._turn.texts.append(final.text)
        if self._turn.empty and rest == Usage() and (final.error or not self.unsent):
            return
        cost = None if final.cost_micros is None else max(0, final.cost_micros - self._cost)
        await self._record(rest, self._price(rest) if cost is None else cost)

    async def cut_off(self) -> None:
        """Record a turn whose program ended without its final event."""
        if not self._turn.empty:
            await self._record(self._turn.usage, self._price(self._turn.usage))

    def _say(self, said: AnswerText) -> None:
        turn = self._turn
        turn.answer = said.answer
        if said.part and turn.texts:
            turn.texts[-1] += said.text
        elif said.text.strip():
            turn.texts.append(said.text)
        else:
            return
        self.said = turn.texts[-1]
        self.shown(said.text if said.part else f"{said.text}\n")

    def _result(self, result: ToolResulted) -> None:
        turn = self._turn
        if result.call_id in turn.calls:
            self.check(turn.calls[result.call_id], result)
            turn.results[result.call_id] = result
            if result.files:
                turn.files[result.call_id] = result.files

    async def _next(self, answer: str) -> None:
        if self._turn.ends_before(answer):
            usage = self._turn.usage
            cost = self._price(usage)
            await self._record(usage, 0 if cost is None and self.cli == "claude" else cost)
            await self.after()
        self._turn.answer = answer

    async def _record(self, usage: Usage, cost: int | None) -> None:
        turn, self._turn = self._turn, _OpenTurn()
        self._sum, self._cost = self._sum + usage, self._cost + (cost or 0)
        self.number += 1
        calls = tuple(turn.calls.values())
        answer = Message(
            role="assistant",
            text="\n\n".join(turn.texts),
            tool_calls=calls,
            provider=self.provider,
            model=self.model,
        )
        ended = tuple([await self._end_call(call, turn) for call in calls])
        now = self.now_ms()
        duration, self._since = max(0, now - self._since), now
        messages = (*self.unsent, answer, *(one.message for one in ended))
        fresh, self.fresh, self.unsent = self.fresh, False, []
        written = dict.fromkeys((*(file for one in ended for file in one.files_written), *await self.changed()))
        await self.turns.on_turn(
            AgentTurn(
                thread=self.thread,
                turn=self.number,
                messages=messages,
                fresh=fresh,
                tools=ended,
                files_written=tuple(written),
                usage=usage,
                cost_micros=cost,
                model=self.model,
                provider=self.provider,
                agent_state=self.state(),
                duration_ms=duration,
            )
        )

    def state(self) -> dict[str, Json]:
        """What a later attempt needs to continue the program's session."""
        counted = {name: getattr(self.counted, name) for name in Usage.__struct_fields__}
        return {"cli": self.cli, "session": self.session, "counted": dict(counted)}

    async def _end_call(self, call: ToolCall, turn: _OpenTurn) -> ToolEnded:
        result = turn.results.get(call.id)
        text = NO_RESULT if result is None else result.text
        failed = result is None or result.is_error
        message = Message(role="tool", text=text, tool_call_id=call.id, name=call.name, is_error=failed)
        if len(text) > LONGEST_RESULT:
            data = utf8(text)
            whole = (await self.keep(data)).as_map()
            message = replace(message, text=cut(text, LONGEST_RESULT, ""), whole=(whole,), whole_bytes=len(data))
        named = (self._name_file(file) for file in (() if failed else turn.files.get(call.id, ())))
        files = tuple(file for file in named if file)
        return ToolEnded(thread=self.thread, turn=self.number, call=call, message=message, files_written=files)

    def _name_file(self, file: str) -> str:
        """A file as it is named in turns: its path in the folder of its repository; empty for one outside."""
        for repo, folder in self.folders.items():
            place, root = Path(folder, file).resolve(), folder.resolve()
            if place.is_relative_to(root):
                path = place.relative_to(root).as_posix()
                return f"{repo}:{path}" if len(self.folders) > 1 else path
        return ""

    def _price(self, usage: Usage) -> int | None:
        price = price_of(self.model, self.prices)
        return None if price is None else price.cost_micros(usage)


def _less(whole: Usage, part: Usage) -> Usage:
    names = Usage.__struct_fields__
    return Usage(**{name: max(0, getattr(whole, name) - getattr(part, name)) for name in names})


def _brief(arguments: Mapping[str, Json]) -> str:
    words = " ".join(str(value) for value in arguments.values())
    return " ".join(words.split())[:200]
