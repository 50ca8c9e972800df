"""``humans.notify`` is told of questions and ends, and harms nothing (H7)."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from orchestra.interview.notify import Notifier
from orchestra.run.events import Event, InterviewStarted, Meta, PipelineCompleted, PipelinePaused, Recorded

ASKED = InterviewStarted(
    question="s1/gate#1.1",
    node="gate",
    text="Ship it?",
    kind="multiple_choice",
    options=({"key": "Y", "label": "Ship"},),
)
ENDED = PipelineCompleted(status="success", node="exit", duration_ms=1, steps=3)


def told(notifier: Notifier, event: Event) -> None:
    notifier.tell(Recorded(Meta(session="s1", epoch=1, sequence=1, at=1), event))


def lines(file: Path, count: int) -> list[str]:
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        found = file.read_text().splitlines() if file.exists() else []
        if len(found) >= count:
            return found
        time.sleep(0.02)
    raise AssertionError(file.read_text() if file.exists() else "nothing")


def test_a_question_and_the_end_reach_the_command(tmp_path: Path) -> None:
    out = tmp_path / "told"
    command = f'echo "$(cat) $ORCHESTRA_NODE" >> {out}'
    notifier = Notifier(command, {"PATH": os.environ["PATH"]}, "orchestra answer --store /s")
    told(notifier, ASKED)
    first = lines(out, 1)[0]
    said = json.loads(first.rpartition(" ")[0])
    assert first.endswith(" gate")
    assert (said["event"], said["question"], said["choices"]) == ("question", "s1/gate#1.1", {"Y": "Ship"})
    assert said["command"] == "orchestra answer --store /s s1"
    told(notifier, PipelinePaused(reason="waiting", waiting=True))
    told(notifier, ENDED)
    assert json.loads(lines(out, 2)[1].rpartition(" ")[0])["status"] == "completed"
    wait(notifier)


def test_a_command_that_fails_or_cannot_take_its_input_harms_nothing() -> None:
    for command in ("exit 3", "exec 0<&-; true", "/no/such/command"):
        notifier = Notifier(command, {"PATH": os.environ["PATH"]}, "orchestra answer --store /s")
        told(notifier, ASKED)
        wait(notifier)


def wait(notifier: Notifier) -> None:
    """Until every command has ended: a test leaves nothing running."""
    for process in notifier._started:
        process.wait(8)
