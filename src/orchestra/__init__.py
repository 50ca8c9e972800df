"""Orchestra runs pipelines of AI agents: Graphviz DOT files in the Attractor dialect.

The front door (docs/python.md): ``Source``, ``parse`` and ``lint`` check a text; ``settle``, ``read``,
``compile_pipeline`` and ``open_store`` make what a run needs; ``start`` runs a pipeline, ``resume`` continues a
session, ``replay`` forks one at a turn. All three take a ``RunSetup``. Importing the package costs nothing; each
name is loaded when it is first used.
"""

TYPE_CHECKING = False  # importing typing would be the larger part of importing this
if TYPE_CHECKING:
    from typing import Any

_PLACES = {
    "Source": "orchestra.errors",
    "parse": "orchestra.graph.dot",
    "lint": "orchestra.graph.lint",
    "settle": "orchestra.config.settings",
    "read": "orchestra.app.pipelines",
    "compile_pipeline": "orchestra.app.pipelines",
    "open_store": "orchestra.app.stores",
    "RunSetup": "orchestra.app.runs",
    "Control": "orchestra.engine.control",
    "SessionControl": "orchestra.engine.control",
    "Interviews": "orchestra.engine.shared",
    "start": "orchestra.app.runs",
    "resume": "orchestra.app.runs",
    "replay": "orchestra.app.runs",
}

__all__ = list(_PLACES)


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name not in _PLACES:
        raise AttributeError(f"module 'orchestra' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
