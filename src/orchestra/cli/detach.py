"""``--detach``: a run in a process of its own, left alone once its session exists (C1)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from orchestra.cli.errors import exit_code
from orchestra.cli.options import SessionOptions
from orchestra.cli.stores import hint
from orchestra.cli.terminal import say, say_json
from orchestra.config.settings import Settings
from orchestra.errors import ConfigError
from orchestra.run.events import LiveEvent, Recorded


def run_detached(shown: SessionOptions, settings: Settings, run: Callable[[Leaving], int]) -> int:
    """Run in a background process that detaches from this terminal once its session exists.

    An error before that is printed by the child to this terminal; its exit code is returned.
    """
    if settings.place == "memory":
        raise ConfigError(
            "--detach needs a store that other processes can read", fix="name a store with --store DIR"
        )
    if shown.json == "stream":
        raise ConfigError("--json-stream cannot be used with --detach", fix="orchestra attach last --json-stream")
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.close(reader)
        os._exit(_child(run, Leaving(writer)))
    os.close(writer)
    with open(reader, encoding="utf-8") as told:
        session = told.read()
    if not session:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if shown.json:
        say_json({"session": session, "status": "running", "process": child, "exit_code": 0}, indent=2)
    else:
        aim = hint(settings, shown.store)
        say(f"session {session} is running in the background (process {child})")
        say(f"  watch: orchestra attach{aim} {session}")
    return 0


def _child(run: Callable[[Leaving], int], view: Leaving) -> int:
    """A session of its own, so that neither Ctrl-C nor the terminal's end reaches it."""
    os.setsid()
    try:
        return run(view)
    except BaseException as error:  # noqa: BLE001  nothing of the parent's may run in the child
        return exit_code(error)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


class Leaving:
    """A view that names the session to the parent, and then lets the terminal go."""

    def __init__(self, writer: int) -> None:
        self._writer = writer

    def open(self, session: str, title: str) -> None:
        """Name the session; from now on nobody hears anything."""
        sys.stdout.flush()
        sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        os.close(nowhere)
        try:
            os.write(self._writer, session.encode())
        except BrokenPipeError:  # Ctrl-C while we began: nobody wants this run
            os.kill(os.getpid(), signal.SIGTERM)
        os.close(self._writer)

    def tell(self, told: Recorded | LiveEvent) -> None:
        """Nothing: it is recorded."""

    def note(self, text: str) -> None:
        """Nothing."""

    def hold(self, above: Callable[[str], None] | None) -> None:
        """Nothing."""

    def release(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    def abandon(self) -> None:
        """Nothing."""
