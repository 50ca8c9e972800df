"""Starts of the program without its imports, which take most of the time of a short command.

``Popen`` starts ``python -m orchestra`` as a fork of a process that has imported the program and done nothing else.
A fork is a process like any other: a child of the one that asked, with a pid, streams, folder, variables, signals
and an exit of its own. What a fork cannot imitate (``_alike``) is started as always, and so is every other program,
such as ``python -s -m orchestra``. With ``--cold``, everything is.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import io
import json
import os
import platform
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from fcntl import ioctl
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

_SHELL = re.compile(r"[$`|&;<>(){}*?~!#\\\n]")
"""What means something to a shell, wherever it stands."""

PROGRAM = [sys.executable, "-m", "orchestra"]

_READ_AT_START = ("FORCE_COLOR", "GITHUB_ACTIONS", "LC_", "LD_", "PYTHON", "PY_COLORS", "TERMINAL_WIDTH", "TYPER_")
"""How variables begin that the interpreter, or what it imports, reads when it starts."""
_NO_MATTER = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
"""Of them those that change nothing in a fork, or that it can heed."""
_LOCALES = (None, "", "C", "C.UTF-8")
"""Values of LANG with which Python reads and writes alike."""

_LIBRARIES = (
    *("encodings.ascii", "pydantic.plugin._loader", "rich.columns", "rich.markdown", "wcwidth.wcwidth"),
    *("typer._adapters", "typer._click.decorators", "typer.rich_utils"),
)
"""What commands import while they run."""

Wanted = dict[str, Any]

_TID_ADDRESS = 40  # PR_GET_TID_ADDRESS
_CLONE_PARENT, _CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID = 0x8000, 0x200000, 0x1000000


def _clone_number() -> int:
    """The number of the system call ``clone``, 0 where it is not known."""
    known = {"x86_64": 56, "aarch64": 220} if sys.platform == "linux" else {}
    return known.get(platform.machine(), 0)


# --- whoever asks --------------------------------------------------------------------------------


class Warm:
    """The warm process, started when it is first wanted, which ends with this one."""

    def __init__(self) -> None:
        self.used = _clone_number() != 0
        self._lock = threading.Lock()
        self._owner = 0
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def fork(self, wanted: Wanted, streams: Sequence[int]) -> int:
        """Start the program with these streams as 0, 1 and 2; its pid, or 0 where that failed."""
        with self._lock:
            if self._owner not in (0, os.getpid()):  # in a fork of the one whose child it is
                return 0
            try:
                connection = self._socket or self._started()
                text = json.dumps(wanted).encode()
                socket.send_fds(connection, [len(text).to_bytes(4, "big")], list(streams))
                connection.sendall(text)
                answer = connection.recv(4, socket.MSG_WAITALL)
            except OSError:
                return 0
            return int.from_bytes(answer, "big")

    def _started(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            variables = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}
            self._process = Plain(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                env=variables,
                cwd="/",
            )
        self._owner, self._socket = os.getpid(), ours
        return ours

    def close(self) -> None:
        """End the warm process, if this one started it."""
        if self._socket is not None and self._process is not None and self._owner == os.getpid():
            self._socket.close()  # the end of its input
            self._process.wait()


class Popen(subprocess.Popen[Any]):
    """``subprocess.Popen``, whose child is a fork of the warm process where that makes no difference."""

    def _execute_child(
        self,
        args: Any,
        executable: Any,
        preexec_fn: Any,
        close_fds: Any,
        pass_fds: Any,
        cwd: Any,
        env: Any,
        *rest: Any,
    ) -> None:
        _startupinfo, _flags, shell, *pipes, restore, gid, gids, uid, umask, session, group = rest
        usual = (executable, preexec_fn, close_fds, *pass_fds, shell, restore, gid, gids, uid, umask, group)
        if usual == (None, None, True, False, True, None, None, None, -1, -1):
            own = (pipes[0], pipes[3], pipes[5])
            streams = [there if there != -1 else number for number, there in enumerate(own)]
            pid = started(args, cwd, env, streams, session=bool(session))
            if pid:
                self.pid, self._child_created = pid, True
                self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
                return
        super()._execute_child(  # type: ignore[misc]
            args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest
        )


WARM = Warm()
Plain = subprocess.Popen


def started(
    args: Any,
    cwd: Any,
    env: Mapping[str, str] | None,
    streams: Sequence[int],
    *,
    session: bool,
    terminal: bool = False,
) -> int:
    """Start a command in the warm process; its pid, or 0 where it is to be started as always."""
    variables = dict(os.environ if env is None else env)
    folder = Path.cwd() if cwd is None else Path(os.fsdecode(cwd))
    if not WARM.used or not isinstance(args, list) or not _alike(args, folder, variables):
        return 0
    variables.setdefault("LC_CTYPE", "C.UTF-8")  # as Python does in the locale C
    wanted = {
        "words": [os.fspath(word) for word in args[len(PROGRAM) :]],
        "folder": str(folder.absolute()),
        "variables": variables,
        "session": session,
        "terminal": terminal,
    }
    return WARM.fork(wanted, streams)


def _alike(args: list[Any], folder: Path, variables: Mapping[str, str]) -> bool:
    """Whether this is the program, and starts in this environment as the warm process did."""
    return (
        args[: len(PROGRAM)] == PROGRAM
        and folder.is_dir()
        and variables.get("LANG") in _LOCALES
        and not any(name.startswith(_READ_AT_START) and name not in _NO_MATTER for name in variables)
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )


def plain(line: str) -> list[str]:
    """The program and its words, where a line of a shell is nothing but that; else nothing."""
    words = shlex.split(line)
    return [*PROGRAM, *words[1:]] if words[:1] == ["orchestra"] and not _SHELL.search(line) else []


def on_terminal(args: list[str], folder: Path, variables: dict[str, str]) -> tuple[int, int]:
    """Start a command on a new terminal, which controls it; its pid, and our end of the terminal."""
    ours, theirs = pty.openpty()
    try:
        pid = started(args, folder, variables, [theirs] * 3, session=True, terminal=True)
    finally:
        os.close(theirs)
    if pid:
        return pid, ours
    os.close(ours)
    pid, ours = pty.fork()
    if not pid:
        os.chdir(folder)
        os.execvpe(args[0], args, variables)
    return pid, ours


# --- the warm process ----------------------------------------------------------------------------


def _fork_sibling() -> int:
    """``os.fork``, by which the parent of this process becomes that of the new one too."""
    c, python = ctypes.PyDLL(None), ctypes.pythonapi
    own_tid = ctypes.c_void_p()
    if c.prctl(_TID_ADDRESS, ctypes.byref(own_tid)):
        return -1
    flags = _CLONE_PARENT | _CLONE_CHILD_CLEARTID | _CLONE_CHILD_SETTID | signal.SIGCHLD
    last = (0, own_tid) if platform.machine() == "aarch64" else (own_tid, 0)
    python.PyOS_BeforeFork()
    pid = int(c.syscall(ctypes.c_long(_clone_number()), ctypes.c_ulong(flags), None, None, *last))
    if pid:
        python.PyOS_AfterFork_Parent()
    else:
        python.PyOS_AfterFork_Child()
    return pid


def serve() -> None:
    """Fork for each request; return in the forks, which are then to run the program."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for the others
    _import_all()
    gc.collect()
    gc.freeze()
    connection = socket.socket(fileno=int(sys.argv[1]))
    while True:
        head, streams, *_ = socket.recv_fds(connection, 4, 3)
        if not head:
            os._exit(0)
        wanted = json.loads(connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
        pid = _fork_sibling()
        if not pid:
            with connection:
                _become(wanted, streams)
                connection.sendall(os.getpid().to_bytes(4, "big"))
            return _accept_interrupts()
        for number in streams:
            os.close(number)
        if pid < 0:
            connection.sendall(bytes(4))


def _import_all() -> None:
    import orchestra

    for module in walk_packages(orchestra.__path__, "orchestra."):
        if not module.name.startswith(("orchestra.examples", "orchestra.templates")):
            import_module(module.name)
    for name in _LIBRARIES:
        with contextlib.suppress(ImportError):  # another version of a library: it is imported when it is wanted
            import_module(name)


def _become(wanted: Wanted, streams: Sequence[int]) -> None:
    """Be as a process that was started with these streams, in this folder, with these variables and words."""
    if wanted["session"]:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    if wanted["terminal"]:
        ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["variables"])
    time.tzset()
    path = wanted["variables"].get("PYTHONPATH")
    sys.path[:1] = [wanted["folder"], *(path.split(os.pathsep) if path else ())]
    sys.argv = [sys.modules["orchestra.__main__"].__file__ or "", *wanted["words"]]
    sys.modules["__main__"].__package__ = "orchestra"
    sys.stdin, sys.stdout, sys.stderr = (_stream(number, own) for number, own in enumerate(_STREAMS))


def _accept_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _stream(number: int, own: Any) -> io.TextIOWrapper:
    """A standard stream as Python opens it: by lines on a terminal, and always for errors."""
    mode = "wb" if number else "rb"
    raw = open(number, mode, closefd=False)  # noqa: SIM115  open until the end
    by_line = number == 2 or raw.isatty()
    return io.TextIOWrapper(raw, own.encoding, own.errors, "\n" if number else None, line_buffering=by_line)


_STREAMS = (sys.stdin, sys.stdout, sys.stderr)


def _end(code: int) -> None:
    """End as Python does, but for taking every module apart, which takes longer than a short command."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # Python itself says then what became of its last words
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)


if __name__ == "__main__":
    serve()
    from orchestra.__main__ import main

    try:
        main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            _end(end.code or 0)
        raise
