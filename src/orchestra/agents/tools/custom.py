"""Tools that are Python functions: by decorator, their schema from type hints and docstring (A34).

from orchestra.agents.tools.custom import tool

@tool("run-migration", repo="backend")
def run_migration(name: str, dry: bool = True) -> str:
    \"\"\"Run one database migration.

    Args:
        name: File name of the migration.
    \"\"\"
"""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from orchestra.agents.tools import ToolContext, ToolError, ToolResult
from orchestra.agents.tools.paths import inside
from orchestra.errors import ConfigError
from orchestra.run.outcome import Json

SECONDS = 600.0
"""Seconds that a call may take without a ``timeout``."""

_F = TypeVar("_F", bound=Callable[..., Any])
_NAME = re.compile(r"[a-z_][a-z0-9_-]*", re.IGNORECASE)
_MODIFIES = "__orchestra_modifies_files__"


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonTool:
    """A function as a tool; it can still be called as the function that it is."""

    function: Callable[..., Any]
    plain: str
    repo: str = ""
    description: str
    parameters: Mapping[str, Json]
    model: Any = field(repr=False)
    context_parameter: str = ""
    read_only: bool = False
    idempotent: bool = False
    seconds: float = SECONDS
    modifies_files: bool = False
    origin: str = ""

    @property
    def name(self) -> str:
        """Its name, with the repository that it is for."""
        return f"{self.repo}:{self.plain}" if self.repo else self.plain

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """The function itself."""
        return self.function(*arguments, **named)

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
        """Call the function with arguments of its own types."""
        from pydantic import ValidationError

        try:
            checked = self.model.model_validate(dict(arguments))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"])
            raise ToolError(f"{self.name}: {where}: {first['msg']}") from error
        given = {name: getattr(checked, name) for name in type(checked).model_fields}
        if self.context_parameter:
            given[self.context_parameter] = context
        try:
            async with asyncio.timeout(self.seconds) as timer:
                value = await _call(self.function, given)
        except TimeoutError:
            if not timer.expired():
                raise
            raise ToolError(f"{self.name} took more than {self.seconds:g} seconds") from None
        return self._result(value, context)

    def _result(self, value: Any, context: ToolContext) -> ToolResult:
        if isinstance(value, ToolResult):
            return replace(value, files_written=context.tracker.note(self.repo, value.files_written))
        if self.modifies_files:
            paths = _paths(value)
            folder = context.folder(self.repo)
            written = context.tracker.note(self.repo, [_relative(folder, path) for path in paths])
            return ToolResult(text="changed: " + (", ".join(written) or "nothing"), files_written=written)
        return ToolResult(text=_text(value))


def _paths(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str | Path):
        return [str(value)]
    if isinstance(value, Iterable):
        return [str(path) for path in value]
    raise ToolError(f"a tool with @modifies_files returns paths, not {type(value).__name__}")


def _relative(folder: Path, path: str) -> str:
    with inside(folder, path) as place:
        return place.path


def _text(value: Any) -> str:
    from pydantic_core import to_json

    if value is None:
        return "done"
    return value if isinstance(value, str) else to_json(value, indent=2, fallback=str).decode()


async def _call(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(**given)
    value = await in_thread(lambda: function(**given))
    return await value if isinstance(value, Awaitable) else value


async def in_thread(work: Callable[[], Any]) -> Any:
    """Work in a thread that may be left behind: one that never ends does not keep the program from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(value)
        else:
            done.set_exception(error)

    def run() -> None:
        value: Any = None
        problem: Exception | None = None
        try:
            value = work()
        except StopIteration as error:
            problem = RuntimeError(f"StopIteration: {error}")
        except BaseException as error:  # noqa: BLE001  handed on to who waits
            problem = error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
        try:
            loop.call_soon_threadsafe(settle, value, problem)
        except RuntimeError:
            return  # the caller was canceled

    threading.Thread(target=run, daemon=True, name="orchestra-tool").start()
    return await done


def modifies_files(function: _F) -> _F:
    """Say that a function returns the paths of the files that it changed; stands below ``@tool`` (A33)."""
    setattr(function, _MODIFIES, True)
    return function


def tool(
    name: str | None = None,
    *,
    repo: str = "",
    description: str = "",
    read_only: bool = False,
    idempotent: bool = False,
    timeout: float = SECONDS,
) -> Callable[[Callable[..., Any]], PythonTool]:
    """Make a function a tool for agents.

    ``name`` is the function's with hyphens where it is left out. ``repo`` is the repository that it works in.
    ``read_only`` says that it changes nothing, so that it may run in parallel with others and again after a crash
    (A9); ``idempotent`` that running it twice has the same effect, so that it may run again after a crash.
    ``timeout`` is in seconds. A parameter annotated with ``ToolContext`` is given the context and is not shown to
    the model. Raises ``ConfigError`` for a function that cannot be a tool.
    """

    def decorated(function: Callable[..., Any]) -> PythonTool:
        plain = name or function.__name__.replace("_", "-")
        if not _NAME.fullmatch(plain):
            raise ConfigError(f"{plain!r} is not a tool's name", fix="letters, digits, _ and - after a letter")
        model, context_parameter, summary = _describe(function, plain)
        return PythonTool(
            function=function,
            plain=plain,
            repo=repo,
            description=description or summary or plain,
            parameters=_schema(model),
            model=model,
            context_parameter=context_parameter,
            read_only=read_only,
            idempotent=idempotent,
            seconds=timeout,
            modifies_files=getattr(function, _MODIFIES, False),
            origin=f"{function.__module__}:{function.__qualname__}",
        )

    return decorated


def _describe(function: Callable[..., Any], plain: str) -> tuple[Any, str, str]:
    """Return the model of a function's arguments, its context parameter, and its description."""
    from pydantic import ConfigDict, Field, create_model

    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigError(f"the tool {plain!r} has a type hint that cannot be resolved: {error}") from error
    summary, described = read_docstring(inspect.getdoc(function) or "")
    fields: dict[str, Any] = {}
    context_parameter = ""
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ConfigError(f"the tool {plain!r} has the parameter {parameter}, which no schema can describe")
        if hints.get(name) is ToolContext:
            context_parameter = name
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        about = described.get(name)
        fields[name] = (hints.get(name, Any), Field(default, description=about) if about else default)
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=False)
    try:
        return create_model(plain, __config__=config, **fields), context_parameter, summary
    except Exception as error:
        raise ConfigError(f"the tool {plain!r} has parameters that no schema can describe: {error}") from error


def _schema(model: Any) -> dict[str, Json]:
    found: dict[str, Json] = model.model_json_schema()
    found.pop("title", None)
    properties = found.setdefault("properties", {})
    if isinstance(properties, dict):
        for one in properties.values():
            if isinstance(one, dict):
                one.pop("title", None)
    return found


_SECTION = re.compile(r"^(args|arguments|parameters|returns?|raises|yields|examples?|notes?):?\s*$", re.IGNORECASE)
_GOOGLE = re.compile(r"^\s+\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_SPHINX = re.compile(r"^\s*:param\s+(?:[^:]*\s)?(\w+):\s*(.*)$")


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of a function, and of each parameter (Google's and Sphinx's forms)."""
    summary: list[str] = []
    about: dict[str, str] = {}
    section, current = "", ""
    for line in text.splitlines():
        heading = _SECTION.match(line)
        if heading:
            section, current = heading[1].lower(), ""
            continue
        sphinx = _SPHINX.match(line)
        google = _GOOGLE.match(line) if section in ("args", "arguments", "parameters") else None
        found = sphinx or google
        if found:
            current = found[1]
            about[current] = found[2].strip()
            section = section or "args"
        elif not section:
            summary.append(line)
        elif current and line.strip():
            about[current] = f"{about[current]} {line.strip()}".strip()
    return "\n".join(summary).strip(), about
