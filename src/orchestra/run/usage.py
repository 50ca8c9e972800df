"""What agents used, by node and by model, from recorded turns (A14)."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from orchestra.run.events import (
    AgentResponded,
    AgentTurnCompleted,
    CommitMessageWritten,
    ConversationCompacted,
    Event,
)
from orchestra.run.turns import Paid


class RunUsage(Struct, frozen=True, kw_only=True):
    """Turns, tool calls, tokens and cost of agents; ``unpriced`` says that some of it has no price."""

    turns: int = 0
    tool_calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost_micros: int = 0
    unpriced: bool = False
    time_ms: int = 0
    models: tuple[str, ...] = ()


NOTHING = RunUsage()


def together(one: RunUsage, other: RunUsage) -> RunUsage:
    """Both added up."""
    numbers = {
        name: getattr(one, name) + getattr(other, name)
        for name in RunUsage.__struct_fields__
        if name not in ("unpriced", "models")
    }
    models = tuple(dict.fromkeys((*one.models, *other.models)))
    return RunUsage(**numbers, unpriced=one.unpriced or other.unpriced, models=models)


class Totals(Struct, frozen=True, kw_only=True):
    """The same by node, and by model."""

    nodes: dict[str, RunUsage]
    models: dict[str, RunUsage]


def usage_of(events: Iterable[Event]) -> Totals:
    """Add up the turns of agents; an answer whose turn has not ended counts too."""
    nodes: dict[str, RunUsage] = {}
    models: dict[str, RunUsage] = {}
    waiting: dict[str, AgentResponded] = {}
    for event in events:
        if isinstance(event, AgentResponded):
            if event.thread in waiting:
                _add(waiting[event.thread], nodes, models)
            waiting[event.thread] = event
        elif isinstance(event, AgentTurnCompleted):
            answer = waiting.pop(event.thread, None)
            if answer is not None and answer.number == event.number and not event.tokens_in:
                _add(answer, nodes, models)  # its turn was ended by another runner, which paid for nothing
                calls = len(event.tool_calls)
                for key, of in ((event.node, nodes), (answer.model, models)):
                    of[key] = replace(of[key], tool_calls=of[key].tool_calls + calls)
            else:
                _add(event, nodes, models)
        elif isinstance(event, CommitMessageWritten) or (isinstance(event, ConversationCompacted) and event.model):
            _add(event, nodes, models)
    for answer in waiting.values():
        _add(answer, nodes, models)
    return Totals(nodes=nodes, models=models)


def _add(
    event: Paid,
    nodes: dict[str, RunUsage],
    models: dict[str, RunUsage],
) -> None:
    for key, found in ((event.node, nodes), (event.model, models)):
        known = found.get(key, NOTHING)
        more = _of_turn(event) if isinstance(event, AgentResponded | AgentTurnCompleted) else NOTHING
        found[key] = RunUsage(
            turns=known.turns + more.turns,
            tool_calls=known.tool_calls + more.tool_calls,
            tokens_in=known.tokens_in + event.tokens_in,
            tokens_out=known.tokens_out + event.tokens_out,
            cache_read=known.cache_read + more.cache_read,
            cache_write=known.cache_write + more.cache_write,
            reasoning=known.reasoning + more.reasoning,
            cost_micros=known.cost_micros + event.cost_micros,
            unpriced=known.unpriced or event.unpriced,
            time_ms=known.time_ms + event.duration_ms,
            models=tuple(dict.fromkeys((*known.models, event.model))),
        )


def _of_turn(event: AgentResponded | AgentTurnCompleted) -> RunUsage:
    return RunUsage(
        turns=1,
        tool_calls=len(event.tool_calls) if isinstance(event, AgentTurnCompleted) else 0,
        cache_read=event.cache_read,
        cache_write=event.cache_write,
        reasoning=event.reasoning,
    )
