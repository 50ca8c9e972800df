"""Orchestra runs pipelines of AI agents: Graphviz DOT files in the Attractor dialect.

The front door: ``Source``, ``parse`` and ``lint`` for checking a text, ``start`` for running one, ``resume`` for
continuing a session, ``replay`` for forking one at a turn; all three take a ``RunSetup``. Importing the package
costs nothing; each name is loaded when it is first used.
"""

TYPE_CHECKING = False  # importing typing would be the larger part of importing this
if TYPE_CHECKING:
    from typing import Any

_PLACES = {
    "Source": "orchestra.errors",
    "parse": "orchestra.graph.dot",
    "lint": "orchestra.graph.lint",
    "RunSetup": "orchestra.app.runs",
    "start": "orchestra.app.runs",
    "resume": "orchestra.app.runs",
    "replay": "orchestra.app.runs",
}

__all__ = ["RunSetup", "Source", "lint", "parse", "replay", "resume", "start"]


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name not in _PLACES:
        raise AttributeError(f"module 'orchestra' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
