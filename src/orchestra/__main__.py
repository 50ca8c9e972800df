"""The entry point: ``orchestra`` and ``python -m orchestra``."""

import gc


def main() -> None:
    """Run the command line.

    Start-up and the reading of a pipeline only make objects that stay; looking for garbage among them costs a
    tenth of the time. So the cyclic collector is off until a run begins, and then passes over what is there.
    """
    gc.disable()
    from orchestra.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
