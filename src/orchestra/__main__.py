"""The entry point: ``orchestra`` and ``python -m orchestra``."""

import gc
import os
import sys


def main() -> None:
    """Run the command line.

    Start-up and the reading of a pipeline only make objects that stay; looking for garbage among them costs a
    tenth of the time. So the cyclic collector is off until a run begins, and then passes over what is there.
    """
    gc.disable()
    _open_standard_streams()
    try:
        from orchestra.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)


def _open_standard_streams() -> None:
    """Give a closed standard stream (``>&-``) a place to go, before a file of the store gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest free one: the stream's own
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115  open until the end


if __name__ == "__main__":
    main()
