"""The places where the world comes in: the store, the handlers, the clock.

Each port is a small protocol. The engine gets implementations as required parameters; what is
shipped lives in one folder per port, and ``app`` is the only module that joins them.
"""

from __future__ import annotations

from orchestra.ports.agent import AgentTask, CodergenBackend, ModelChoice, NodeAgents
from orchestra.ports.clock import Clock
from orchestra.ports.handler import Child, Decided, FanPlan, Handler, Scope, Suspended, Telemetry, Turns
from orchestra.ports.interviewer import Interviewer, Unanswered
from orchestra.ports.store import ContextRow, Head, Health, Hold, NewTurn, Store, Turn
from orchestra.ports.workspace import (
    CommitResult,
    Conflict,
    MergeResult,
    MessageWriter,
    NewCommit,
    Workspace,
    Workspaces,
    WrittenMessage,
)

__all__ = [
    "AgentTask",
    "Child",
    "Clock",
    "CodergenBackend",
    "CommitResult",
    "Conflict",
    "ContextRow",
    "Decided",
    "FanPlan",
    "Handler",
    "Head",
    "Health",
    "Hold",
    "Interviewer",
    "MergeResult",
    "MessageWriter",
    "ModelChoice",
    "NewCommit",
    "NewTurn",
    "NodeAgents",
    "Scope",
    "Store",
    "Suspended",
    "Telemetry",
    "Turn",
    "Turns",
    "Unanswered",
    "Workspace",
    "Workspaces",
    "WrittenMessage",
]
