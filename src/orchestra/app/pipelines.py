"""From a file to a checked pipeline: read, parse, transform, lint. Imports nothing that runs one."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestra.app.children import Children, Reading
from orchestra.app.plugins import HANDLERS, entry_points_of_ours, rules, transforms
from orchestra.errors import ConfigError, Diagnostic, InvalidPipeline, Severity, Source, Span
from orchestra.graph.dot import decode, parse
from orchestra.graph.inputs import defaults
from orchestra.graph.lint import BUILT_IN_TYPES, lint
from orchestra.graph.model import Graph
from orchestra.graph.transforms import transform
from orchestra.run.secrets import Redactor

MAX_BYTES = 64 * 1024 * 1024
"""A pipeline file larger than this is refused before it is read into memory."""

SECRET = "secret_in_pipeline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A pipeline: its text, its graph as written and as it runs, its children and all findings.

    A graph is None if nothing could be read; ``children`` are by node.
    """

    source: Source
    graph: Graph | None
    written: Graph | None
    diagnostics: tuple[Diagnostic, ...]
    children: Mapping[str, Pipeline] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        """Whether it may be run: no ERROR among the findings."""
        return self.graph is not None and not any(d.severity is Severity.ERROR for d in self.diagnostics)

    @property
    def secret(self) -> bool:
        """Whether its text holds a secret, so that it may be shown in no form (S18)."""
        return any(d.rule == SECRET for d in self.diagnostics)

    def whole(self) -> Iterator[Pipeline]:
        """Itself, its children, and theirs."""
        yield self
        for child in self.children.values():
            yield from child.whole()

    def checked_graph(self) -> Graph:
        """The graph. Raises ``InvalidPipeline`` when it may not be run."""
        if self.graph is None or not self.valid:
            raise InvalidPipeline(self.diagnostics)
        return self.graph


def read(file: Path | str) -> tuple[Source, tuple[Diagnostic, ...]]:
    """Return a pipeline file's text (``-`` is standard input). Raises ``ConfigError`` if it is missing."""
    if str(file) == "-":
        return decode("<stdin>", sys.stdin.buffer.read(MAX_BYTES))
    path = Path(file)
    try:
        if path.is_dir():
            raise ConfigError(f"{path} is a folder, not a pipeline file", fix=_suggest_inside(path))
        if path.exists() and not path.is_file():
            raise ConfigError(
                f"{path} is not a regular file", fix="give the path of a .dot file, or - for standard input"
            )
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_BYTES // 2**20} MiB: not a pipeline file")
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"file {path} does not exist", fix=_suggest_near(path)) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        fix = "make it readable for this user" if isinstance(error, PermissionError) else ""
        raise ConfigError(f"cannot read {path}: {reason}", fix=fix) from error
    return decode(str(file), data)


def _suggest_inside(folder: Path) -> str:
    found = sorted(item.name for item in folder.glob("*.dot"))[:5]
    return f"it contains: {', '.join(found)}" if found else "give the path of a .dot file"


def _suggest_near(path: Path) -> str:
    from difflib import get_close_matches

    try:
        names = sorted(item.name for item in path.parent.iterdir() if item.is_file())
    except OSError:
        return f"the folder {path.parent} does not exist either"
    folder = "this folder" if path.parent == Path() else path.parent
    pipelines = [name for name in names if name.endswith(".dot")]
    stems = {Path(name).stem.lower(): name for name in [*names, *pipelines]}
    near = get_close_matches(path.stem.lower(), stems, n=1, cutoff=0.65)
    if near:
        return f"did you mean {path.with_name(stems[near[0]])}?"
    return f"{folder} contains {', '.join(pipelines[:3])}" if pipelines else f"{folder} contains no .dot file"


def compile_pipeline(
    source: Source,
    found: tuple[Diagnostic, ...] = (),
    *,
    variables: Mapping[str, str],
    secrets: Mapping[str, str],
    strict: bool = False,
    reading: Reading | None = None,
) -> Pipeline:
    """Parse, transform and lint a text; every finding of every step is kept.

    Child pipelines are compiled with it: ``reading`` gives their texts by their paths relative to this one's file,
    else they are files beside it.
    """

    def compiling(source: Source, found: tuple[Diagnostic, ...], children: Children[Pipeline]) -> Pipeline:
        return _compile(source, found, variables, secrets, strict, children)

    children = Children[Pipeline](reading or _files_beside(source), compiling, (Path(source.name).name,))
    return compiling(source, found, children)


def _files_beside(source: Source) -> Reading:
    folder = Path(source.name).parent

    def reading(path: str) -> tuple[Source, tuple[Diagnostic, ...]]:
        return read(folder / path)

    return reading


def _compile(
    source: Source,
    found: tuple[Diagnostic, ...],
    variables: Mapping[str, str],
    secrets: Mapping[str, str],
    strict: bool,
    children: Children[Pipeline],
) -> Pipeline:
    graph, parsed = parse(source)
    redactor = Redactor(secrets)
    places = list(redactor.find(source.text))
    diagnostics = (*found, *parsed, *_secrets(source, places))
    if graph is None:
        return Pipeline(
            source=source,
            graph=None,
            written=None,
            diagnostics=_redact_findings(diagnostics, source, places, redactor),
        )
    variables = {**defaults(graph), **variables}
    linted = lint(
        graph,
        rules=rules(),
        known_types=BUILT_IN_TYPES | frozenset(handler_points()),
        strict=strict,
        variables={name.partition(".")[0] for name in variables},
        broken=any(each.rule == "syntax" for each in (*found, *parsed)),
    )
    runs = transform(graph, variables, transforms())
    theirs, below = children.of(runs)
    diagnostics = (*_redact_findings((*diagnostics, *linted), source, places, redactor), *below)
    return Pipeline(source=source, graph=runs, written=graph, diagnostics=diagnostics, children=theirs)


def _secrets(source: Source, places: Iterable[tuple[int, int, str]]) -> Iterable[Diagnostic]:
    told = 0
    for start, end, name in places:
        if start < told:
            continue  # the same text, by another format's name
        told = end
        yield Diagnostic(
            rule=SECRET,
            severity=Severity.ERROR,
            message=f"the pipeline's text contains a secret ({name}); it would be stored with every run",
            span=Span(source, start, end),
            fix="remove it and let the command read an environment variable; if it is no secret, list the variable"
            f" under `secrets: {{allow: [...]}}`, or the text or {name!r} under `ignore`, in orchestra.yaml",
        )


def _redact_findings(
    diagnostics: tuple[Diagnostic, ...], source: Source, places: list[tuple[int, int, str]], redactor: Redactor
) -> tuple[Diagnostic, ...]:
    """The findings about a text with secrets, which name their places and do not show them (S18)."""
    if not places:
        return diagnostics
    text = list(source.text)
    for start, end, _name in places:
        text[start:end] = ["\n" if character == "\n" else "*" for character in text[start:end]]
    masked = Source(source.name, "".join(text))
    return tuple(
        replace(
            found,
            message=redactor.text(found.message),
            span=found.span and found.span._replace(source=masked),
            node=found.node and redactor.text(found.node),
            edge=found.edge and (redactor.text(found.edge[0]), redactor.text(found.edge[1])),
            fix=redactor.text(found.fix),
        )
        for found in diagnostics
    )


def handler_points() -> tuple[str, ...]:
    """The handler types that installed packages offer under the entry point ``orchestra.handlers``."""
    return tuple(point.name for point in entry_points_of_ours()[HANDLERS])
