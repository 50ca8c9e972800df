"""``humans.notify``: a command that runs for each question and at a run's end (H7)."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
from collections.abc import Mapping
from typing import Any

from orchestra.run.codec import preview_of
from orchestra.run.events import (
    InterviewStarted,
    LiveEvent,
    PipelineCanceled,
    PipelineCompleted,
    PipelineFailed,
    PipelinePaused,
    Recorded,
)

LONGEST = 4000
"""Characters of one text that the command gets: it has to fit the pipe."""

_log = logging.getLogger(__name__)


class Notifier:
    """Starts the command for each event that needs a person's attention, and does not wait for it.

    It gets the event as JSON on standard input and its main parts in the environment. Whatever becomes of it does
    not touch the run. ``environment`` holds no provider's key; ``answer`` is the command that answers a question,
    without its session.
    """

    def __init__(self, command: str, environment: Mapping[str, str], answer: str) -> None:
        self._command = command
        self._environment = environment
        self._answer = answer
        self._started: list[subprocess.Popen[bytes]] = []

    def tell(self, recorded: Recorded | LiveEvent) -> None:
        """A listener of the run."""
        if isinstance(recorded, Recorded) and (said := payload_for(recorded, self._answer)) is not None:
            self._start(said)

    def _start(self, said: Mapping[str, Any]) -> None:
        self._started = [process for process in self._started if process.poll() is None]
        names = {f"ORCHESTRA_{key.upper()}": value for key, value in said.items() if isinstance(value, str)}
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**self._environment, **names},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            _log.warning("humans.notify could not be started: %s", error)
            return
        self._started.append(process)
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.write(json.dumps(said).encode())
        with contextlib.suppress(OSError):
            process.stdin.close()


def payload_for(recorded: Recorded, answer: str) -> dict[str, Any] | None:
    """Return what the command gets of an event; None if it needs no attention."""
    event, meta = recorded.event, recorded.meta
    common: dict[str, Any] = {"session": meta.session, "at": meta.at}
    match event:
        case InterviewStarted():
            return {
                "event": "question",
                **common,
                "question": event.question,
                "node": event.node,
                "text": event.text[:LONGEST],
                "about": preview_of(event.about) if not isinstance(event.about, str) else event.about[:LONGEST],
                "choices": {str(one.get("key")): str(one.get("label"))[:200] for one in event.options},
                "freeform": event.freeform,
                "timeout_ms": event.timeout_ms,
                "command": f"{answer} {meta.session}",
            }
        case PipelineCompleted():
            return {"event": "end", **common, "status": "completed", "node": event.node, "text": event.status}
        case PipelineFailed():
            return {"event": "end", **common, "status": "failed", "node": event.node, "text": event.error[:LONGEST]}
        case PipelineCanceled() if not meta.branch:
            return {
                "event": "end",
                **common,
                "status": "canceled",
                "node": event.node,
                "text": event.reason[:LONGEST],
            }
        case PipelinePaused() if not meta.branch and not event.waiting:
            return {
                "event": "end",
                **common,
                "status": "paused",
                "node": event.node,
                "text": event.reason[:LONGEST],
            }
        case _:
            return None
