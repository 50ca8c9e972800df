"""Import the providers' clients quickly: it is most of the time before a first request (A1)."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from typing import Any

_LOADING = threading.RLock()


@contextmanager
def importing(*packages: str) -> Iterator[None]:
    """Import modules of many classes within, but not what ``packages`` bring themselves (see ``_defer``).

    The garbage collector rests meanwhile: nothing of the modules is garbage, and looking through them again and
    again costs a fifth of the import.
    """
    with _LOADING:
        resting = gc.isenabled()
        gc.disable()
        try:
            for package in packages:
                _defer(package)
            yield
        finally:
            if resting:
                gc.enable()


def _defer(package: str) -> None:
    """Let a package's modules be imported without the package's own code, until a name of it is used.

    ``langsmith.types`` for one makes 200 pydantic models, where a single alias of one of its modules is needed.
    """
    parent, _, name = package.rpartition(".")
    if package in sys.modules or (parent and find_spec(parent) is None):
        return
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return
    module: Any = module_from_spec(spec)
    module.__getattr__ = _Names(module, spec)
    sys.modules[package] = module
    if parent:
        setattr(sys.modules[parent], name, module)


class _Names:
    """The names of a deferred package: modules are imported alone, other names run its code."""

    def __init__(self, module: Any, spec: ModuleSpec) -> None:
        self._module = module
        self._spec = spec
        self._begun = False

    def __call__(self, name: str) -> Any:
        own = self._module.__dict__
        with _LOADING:
            if not self._begun:
                if find_spec(f"{self._spec.name}.{name}") is not None:
                    return import_module(f"{self._spec.name}.{name}")
                self._run()
        if name in own:
            return own[name]
        later = own.get("__getattr__")
        if later is not None and later is not self:
            return later(name)
        raise AttributeError(f"module {self._spec.name!r} has no attribute {name!r}")

    def _run(self) -> None:
        """Run the package's code; where it fails, the package is imported again the next time."""
        self._begun = True
        assert self._spec.loader is not None
        try:
            self._spec.loader.exec_module(self._module)
        except BaseException:
            sys.modules.pop(self._spec.name, None)
            raise
