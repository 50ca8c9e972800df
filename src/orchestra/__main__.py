"""The entry point: ``orchestra`` and ``python -m orchestra``."""

import _signal  # type: ignore[import-not-found]  # built in; an interrupt may be lost while importing signal
import gc
import io
import os
import sys


def main() -> None:
    """Run the command line.

    Start-up and the reading of a pipeline only make objects that stay; looking for garbage among them costs a
    tenth of the time. So the cyclic collector is off until a run begins, and then skips the objects made so far. At
    the end Python would search all objects again, another eighth: nothing of ours waits for that.
    """
    _end_when_interrupted()
    gc.disable()
    _open_standard_streams()
    from orchestra.cli import main as command_line

    try:
        command_line()
    finally:
        gc.freeze()


def _end_when_interrupted() -> None:
    """Let SIGINT end the process at once, with exit code 130, until a command has its own way (C4).

    The exception that Python would raise instead is dropped where it meets a finalizer, such as those of the import
    system, and shows a traceback where it meets anything else that we did not write. Whatever is stored bears it
    (S7). An interrupt that was ignored when the program was started stays ignored.
    """

    def end(_number: int, _frame: object) -> None:
        if os.isatty(2):
            os.write(2, b"\n")  # after the ^C
        os._exit(130)

    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, end)


def _open_standard_streams() -> None:
    """Open closed standard streams on /dev/null and give unbuffered ones a buffer.

    A closed stream (``>&-``) would lend its number to a file of the store; without a buffer (``PYTHONUNBUFFERED``)
    Python takes half a write for a whole one.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest free one: the stream's own
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115  open until the end
        elif mode == "w" and isinstance(stream.buffer, io.RawIOBase):
            number, encoding, errors = stream.fileno(), stream.encoding, stream.errors
            again = open(number, mode, 1, encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
            setattr(sys, name, again)


if __name__ == "__main__":
    main()
