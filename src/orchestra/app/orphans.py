"""Commands that a dead runner left running, found by their markers when their session is resumed (E4)."""

from __future__ import annotations

import socket

from orchestra.processes import tree
from orchestra.run.events import WarningRaised
from orchestra.run.state import RunningNode

RULE = "orphaned_tool"


async def end_orphans(stage: RunningNode) -> tuple[WarningRaised, ...]:
    """End the processes of an interrupted command before it runs again; return the report.

    On another machine nothing can be ended from here, so that the command is named.
    """
    if stage.tool_host != socket.gethostname():
        return (
            _warning(
                stage.node,
                f"the command of {stage.node} was interrupted on {stage.tool_host} and may still be running there:"
                f" its processes have {stage.tool} in {tree.MARKER} of their environment",
            ),
        )
    found, left = await tree.end(stage.tool)
    if not found:
        return ()
    became = f"could not be stopped:{_pids(left)}" if left else f"was stopped:{_pids(found)}"
    return (_warning(stage.node, f"the command of {stage.node} was still running and {became}"),)


def _pids(pids: list[int]) -> str:
    return f" {'process' if len(pids) == 1 else 'processes'} {', '.join(map(str, pids))}"


def _warning(node: str, message: str) -> WarningRaised:
    return WarningRaised(message=message, rule=RULE, node=node)
