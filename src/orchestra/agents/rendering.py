"""Templates over the run's context: sandboxed, strict Jinja2 for tasks and prompts (A22).

Values are data. They are put into the text once and never read as a template, whatever is in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeAlias

from jinja2 import (
    ChainableUndefined,
    StrictUndefined,
    Template,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
    meta,
)
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from orchestra.errors import ConfigError, Span
from orchestra.graph import paths
from orchestra.graph.conditions import text_of
from orchestra.run.state import END_KEYS

LARGEST = 10_000_000
"""Characters that one operation of a template may make."""

Data: TypeAlias = tuple[tuple[int, int], ...]
"""Stretches of a text in which nothing is an expression."""


class ContextPart(dict[str, Any]):
    """A part of the context by the next word of its keys; ``path`` is the key that leads to it.

    Where the key has a value of its own too (``a`` and ``a.b``), it prints as that.
    """

    def __init__(self, path: str = "") -> None:
        super().__init__()
        self.path = path
        self.own: Any = self

    def __str__(self) -> str:
        return _finalize(dict(self) if self.own is self else self.own)


ALWAYS = ("graph", "human", "parallel", "responses", "run", "stack", "tool", "tools", "workspace")
"""Roots that are always defined, also before anything is written below them, so that a task can test for keys."""


def nest(context: Mapping[str, Any]) -> ContextPart:
    """The context with its dotted keys as mappings in mappings."""
    top = ContextPart()
    top.update((root, ContextPart(root)) for root in ALWAYS)
    for name, value in context.items():
        level = top
        words = name.split(".")
        for place, each in enumerate(words[:-1]):
            below = level.get(each)
            if not isinstance(below, ContextPart):
                made = ContextPart(".".join(words[: place + 1]))
                if each in level:
                    made.own = below
                    made.update(below if isinstance(below, dict) else {})
                level[each] = below = made
            level = below
        known = level.get(words[-1])
        if isinstance(known, ContextPart):
            known.own = value
        else:
            level[words[-1]] = value
    return top


_METHODS = frozenset({"get", "items", "keys", "values"})


class BoundedSandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with a bound on what one operation makes."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A part of the context, whatever it is called: a node may be named ``get`` or ``items``."""
        if not isinstance(obj, dict):
            return super().getattr(obj, attribute)
        if attribute in obj:
            return obj[attribute]
        if attribute in _METHODS:
            return super().getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The result, where it is of a reasonable size."""
        numbers = [each for each in (left, right) if isinstance(each, int) and not isinstance(each, bool)]
        sized = [each for each in (left, right) if isinstance(each, str | list | tuple)]
        if operator == "*" and numbers and sized and numbers[0] * len(sized[0]) > LARGEST:
            raise SecurityError("a value of this size cannot be made in a template")
        if operator == "**" and len(numbers) == 2 and abs(numbers[1]) > 64:
            raise SecurityError("a number of this size cannot be made in a template")
        return super().call_binop(context, operator, left, right)


class _Missing(StrictUndefined):
    """An undefined name that says which ones there are."""

    @property
    def _undefined_message(self) -> str:
        around = self._undefined_obj
        name = str(self._undefined_name)
        if isinstance(around, ContextPart) and around.path:
            name = f"{around.path}.{name}"
        return f"{name!r} is not defined"

    def __getattr__(self, name: str) -> _Missing:
        """A part of what is missing is missing too, so that ``default`` and ``is defined`` work on it."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, _item: Any) -> _Missing:  # type: ignore[override]
        return self

    def known(self) -> Iterable[str]:
        """Return the names that exist next to the missing one."""
        around = self._undefined_obj
        if isinstance(around, ContextPart) and around.path:
            return (f"{around.path}.{name}" for name in around)
        return tuple(around) if isinstance(around, dict) else ()


class _Placeholder(ChainableUndefined):
    """A value that is known only when the pipeline runs: it prints as its name."""

    def __str__(self) -> str:
        return f"<{self._show()}>"

    def __html__(self) -> str:
        return str(self)

    def __iter__(self) -> Iterator[_Placeholder]:
        yield _Placeholder(name=f"{self._show()}[0]")

    def __len__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        return True

    def __getattr__(self, name: str) -> _Placeholder:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Placeholder(name=f"{self._show()}.{name}")

    def __getitem__(self, item: Any) -> _Placeholder:  # type: ignore[override]
        step = f"[{item}]" if isinstance(item, int) else f".{item}"
        return _Placeholder(name=f"{self._show()}{step}")

    def _anyway(self, _other: Any) -> Any:
        return True

    __lt__ = __le__ = __gt__ = __ge__ = _anyway

    def _itself(self, *_others: Any) -> Any:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _itself
    __call__ = _itself

    def _show(self) -> str:
        around = self._undefined_obj
        name = str(self._undefined_name)
        return f"{around.path}.{name}" if isinstance(around, ContextPart) and around.path else name


def _finalize(value: Any) -> str:
    """How a value is printed: as conditions compare it (L32), so that nothing prints as Python."""
    if isinstance(value, Undefined | ContextPart):
        return str(value)
    return text_of(value)


def _environment(undefined: type[Undefined]) -> BoundedSandbox:
    made = BoundedSandbox(
        undefined=undefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
        cache_size=0,
    )
    made.globals.pop("lipsum", None)
    return made


_STRICT, _OPEN = _environment(_Missing), _environment(_Placeholder)


def compile_template(text: str, start: Span | None, *, placeholders: bool = False) -> Template:
    """Return the template; ``start`` is the position of the text.

    Raises ``ConfigError`` with the line that is not Jinja2.
    """
    environment = _OPEN if placeholders else _STRICT
    try:
        return environment.from_string(text)
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"not a Jinja2 template: {error.message}", span=_line(text, error.lineno, start)
        ) from None
    except RecursionError:
        raise ConfigError("the template is nested too deep", span=start) from None


def _line(text: str, number: int, start: Span | None) -> Span | None:
    """The line of a template in its file: found there by its words."""
    if start is None:
        return None
    lines = text.splitlines()
    line = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    at = start.source.text.find(line, start.start) if line else -1
    return Span(start.source, at, at + len(line)) if at >= 0 else start


def roots_of(text: str) -> frozenset[str]:
    """The names that a template reads: the first word of each, which may be a key of the context."""
    try:
        return frozenset(meta.find_undeclared_variables(_STRICT.parse(text)))
    except (TemplateSyntaxError, RecursionError):
        return frozenset()


def render(text: str, context: Mapping[str, Any], start: Span | None = None, *, placeholders: bool = False) -> str:
    """A task's text with the context's values. Raises ``ConfigError`` for a name that is not defined."""
    values = nest(context)
    if placeholders:
        values = _without_empty(values)
    template = compile_template(text, start, placeholders=placeholders)
    try:
        return template.render({**values, "context": values}).strip()
    except UndefinedError as error:
        _raise_undefined(error, values, start)
    except (TemplateError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        if "no loader" in str(error):
            fix = "name a file that comes first with `extends:` in the layer file"
            raise ConfigError("a task cannot include or import other templates", span=start, fix=fix) from error
        raise ConfigError(f"the template cannot be filled in: {error}", span=start) from error


def _without_empty(values: ContextPart) -> ContextPart:
    """The values in which a root that holds nothing is unknown too, so that all below it print as names."""
    kept = ContextPart()
    kept.update(
        (name, value) for name, value in values.items() if not (isinstance(value, ContextPart) and not value)
    )
    return kept


_NAME = re.compile(r"'([^']*)' is not defined")


def _raise_undefined(error: UndefinedError, values: ContextPart, start: Span | None) -> NoReturn:
    match = _NAME.search(str(error))
    if match is None:
        raise ConfigError(f"the template cannot be filled in: {error}", span=start) from error
    raise undefined_error(match[1], _beside(match[1], values), start) from error


def _beside(name: str, values: ContextPart) -> list[str]:
    """The names that a missing one could have been."""
    level: Any = values
    for each in name.split(".")[:-1]:
        level = level.get(each) if isinstance(level, dict) else None
    lead = name.rpartition(".")[0]
    return sorted(f"{lead}.{each}" if lead else each for each in level) if isinstance(level, dict) else []


MOST_NAMES = 20
"""Known names that an error lists."""


def undefined_error(name: str, known: list[str], span: Span | None = None) -> ConfigError:
    """What is said of a name that is not defined, with the known ones: those nearest in place first."""
    from orchestra.graph.nearest import nearest

    told = [each for each in known if not each.startswith(("internal.", "run.id")) and each != "internal"]
    root = name.partition(".")[0]
    told.sort(key=lambda each: each.partition(".")[0] != root)
    shown = ", ".join(told[:MOST_NAMES]) + (" …" if len(told) > MOST_NAMES else "")
    near = nearest(name, told)
    return ConfigError(
        f"{name!r} is not defined; " + (f"known here: {shown}" if shown else "nothing is known by such a name"),
        span=span,
        fix=f"did you mean {near!r}?" if near else "",
    )


EXPRESSION = re.compile(r"\{\{\s*([A-Za-z_][\w-]*(?:\.[\w-]+|\[[0-9]+\])*)\s*\}\}", re.ASCII)
_GO = frozenset({"end", "else"})
"""Words of Go's templates, which are no names."""


def expressions(text: str, data: Data = ()) -> list[re.Match[str]]:
    """The expressions ``{{ dotted.name }}`` of a prompt, outside of what was put in for variables."""
    return [
        match
        for match in EXPRESSION.finditer(text)
        if match[1] not in _GO and not any(start < match.end() and match.start() < end for start, end in data)
    ]


def fill(text: str, context: Mapping[str, Any], data: Data = (), *, placeholders: bool = False) -> str:
    """A prompt with each expression replaced by its value. Raises ``ConfigError`` for one without a value."""
    parts: list[str] = []
    at = 0
    for match in expressions(text, data):
        parts.append(text[at : match.start()])
        found, value = look_up(match[1], context)
        if placeholders and (not found or value == ""):
            value = f"<{match[1]}>"
        elif not found:
            raise undefined_error(match[1], sorted(context))
        parts.append(text_of(value))
        at = match.end()
    return "".join((*parts, text[at:]))


def look_up(name: str, context: Mapping[str, Any]) -> tuple[bool, Any]:
    """Whether the context has a value by that name, and the value: a key, or a part of one (L31)."""
    known, value = paths.look_up(name, context)
    return (True, value) if known else (name.removeprefix("context.") in END_KEYS, "")
