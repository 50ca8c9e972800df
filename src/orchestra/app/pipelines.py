"""From a file to a checked pipeline with its children: read, parse, transform, lint. Runs none."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TypeAlias

from orchestra.app.plugins import HANDLERS, entry_points_of_ours, rules, transforms
from orchestra.errors import ConfigError, Diagnostic, InvalidPipeline, Severity, Source, Span
from orchestra.graph.attributes import BUILT_IN_TYPES
from orchestra.graph.dot import decode, parse
from orchestra.graph.inputs import defaults
from orchestra.graph.lint import lint
from orchestra.graph.model import Graph, Node
from orchestra.graph.transforms import transform
from orchestra.run.secrets import Redactor

MAX_BYTES = 64 * 1024 * 1024
"""A pipeline file larger than this is refused before it is read into memory."""

SECRET = "secret_in_pipeline"

DEEPEST = 5
"""How deep children nest."""

WITH_CHILD = frozenset({"pipeline", "stack.manager_loop"})
"""The types of nodes that run a child."""

Reading: TypeAlias = Callable[[str], tuple[Source, tuple[Diagnostic, ...]]]
"""Returns a text by its path, with the findings of reading it. Raises ``ConfigError`` if it is missing."""


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

    @property
    def depth(self) -> int:
        """How deep its children nest; 0 where it has none."""
        return max((1 + child.depth for child in self.children.values()), default=0)

    def dotfiles(self, path: str = "") -> dict[str, str]:
        """The texts of its children, and theirs, by path relative to its own file."""
        graph, found = self.checked_graph(), dict[str, str]()
        for node, child in self.children.items():
            below = beside(path, dotfile_of(graph, graph.nodes[node]))
            found |= {below: child.source.text, **child.dotfiles(below)}
        return found

    def checked_graph(self) -> Graph:
        """The graph. Raises ``InvalidPipeline`` when it may not be run."""
        if self.graph is None or not self.valid:
            raise InvalidPipeline(self.diagnostics)
        return self.graph


_OF_AGENTS = frozenset({"agent", "backend", "attach", "output_schema", "cli", "fallbacks"})
"""What a node says of its agent, and no rule of the language can judge."""


def needs_settings(pipeline: Pipeline) -> bool:
    """Whether a pipeline says something of its agents that has to be checked, though no settings are written."""
    graphs = [each.graph for each in pipeline.whole() if each.graph is not None]
    if any(
        key.partition(".")[0] in _OF_AGENTS
        for graph in graphs
        for node in graph.nodes.values()
        for key in node.attributes
    ):
        return True
    written = {one.text("llm_provider") for graph in graphs for one in (graph, *graph.nodes.values())} - {""}
    if not written:
        return False
    from orchestra.config.providers import KINDS  # few pipelines name a provider

    return not written <= set(KINDS)


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

    compiler = _Compiler(variables, secrets, reading or _files_beside(source), strict=strict)
    return compiler.compile(source, found, (Path(source.name).name,))


def _files_beside(source: Source) -> Reading:
    folder = Path(source.name).parent

    def reading(path: str) -> tuple[Source, tuple[Diagnostic, ...]]:
        return read(folder / path)

    return reading


@dataclass(frozen=True, slots=True)
class _Compiler:
    """Compiles a pipeline and its children, each file once."""

    variables: Mapping[str, str]
    secrets: Mapping[str, str]
    reading: Reading
    known: dict[str, Pipeline] = field(default_factory=dict)
    strict: bool = field(kw_only=True)

    def compile(self, source: Source, found: tuple[Diagnostic, ...], above: tuple[str, ...]) -> Pipeline:
        """Compile a text; ``above`` are the files from the root down to this one."""
        graph, parsed = parse(source)
        redactor = Redactor(self.secrets)
        places = list(redactor.find(source.text))
        diagnostics = (*found, *parsed, *_secrets(source, places))
        if graph is None:
            diagnostics = _redact_findings(diagnostics, source, places, redactor)
            return Pipeline(source=source, graph=None, written=None, diagnostics=diagnostics)
        variables = {**defaults(graph), **self.variables}
        linted = lint(
            graph,
            rules=rules(),
            known_types=BUILT_IN_TYPES | frozenset(handler_points()),
            strict=self.strict,
            variables={name.partition(".")[0] for name in variables},
            broken=any(each.rule == "syntax" for each in (*found, *parsed)),
        )
        runs = transform(graph, variables, transforms())
        children, below = self.children(runs, above)
        diagnostics = (*_redact_findings((*diagnostics, *linted), source, places, redactor), *below)
        return Pipeline(source=source, graph=runs, written=graph, diagnostics=diagnostics, children=children)

    def children(self, graph: Graph, above: tuple[str, ...]) -> tuple[dict[str, Pipeline], list[Diagnostic]]:
        """A graph's children by node, and what is wrong with them; a child's findings are its parent's once."""
        children: dict[str, Pipeline] = {}
        found: list[Diagnostic] = []
        for node in graph.nodes.values():
            if dotfile := dotfile_of(graph, node):
                path = beside(above[-1], dotfile)
                fresh = path not in self.known
                child = self.child(graph, node, path, above)
                if isinstance(child, Diagnostic):
                    found.append(child)
                    continue
                children[node.id] = child
                if fresh:
                    found.extend(child.diagnostics)
        return children, found

    def child(self, graph: Graph, node: Node, path: str, above: tuple[str, ...]) -> Pipeline | Diagnostic:
        """A node's child, or why it has none."""
        if path in above:
            way = " -> ".join(PurePath(each).name for each in (*above[above.index(path) :], path))
            return _error(graph, node, "child_cycle", f"the child of {node.id!r} is one of its own parents: {way}")
        if path not in self.known:
            if len(above) > DEEPEST:
                return _error(graph, node, "child_cycle", f"children are nested more than {DEEPEST} levels deep")
            try:
                source, found = self.reading(path)
            except ConfigError as error:
                return replace(
                    _error(graph, node, "child_dotfile", f"the child of {node.id!r}: {error.message}"),
                    fix=error.fix or "name a readable file, relative to this one",
                )
            self.known[path] = self.compile(source, found, (*above, path))
        child = self.known[path]
        if len(above) + child.depth > DEEPEST:
            return _error(graph, node, "child_cycle", f"children are nested more than {DEEPEST} levels deep")
        return child


def dotfile_of(graph: Graph, node: Node) -> str:
    """The file of a node's child, as the author named it; empty where the node starts none."""
    if graph.type_of(node.id) not in WITH_CHILD or not node.flag("stack.child_autostart"):
        return ""
    return node.text("stack.child_dotfile") or graph.text("stack.child_dotfile")


def beside(parent: str, dotfile: str) -> str:
    """The path of a child's file, which is named relative to its parent's."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(parent), dotfile))


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


def _error(graph: Graph, node: Node, rule: str, message: str) -> Diagnostic:
    key = "stack.child_dotfile"
    span = node.span_of(key, graph.span_of(key, node.span))
    fix = "remove the child, or run another pipeline there" if rule == "child_cycle" else ""
    return Diagnostic(rule=rule, severity=Severity.ERROR, message=message, span=span, node=node.id, fix=fix)


def recorded_reader(known: Mapping[str, str], folder: str) -> Reading:
    """Reads the texts that a session recorded; they are named as files in its pipeline's folder."""

    def reading(path: str) -> tuple[Source, tuple[Diagnostic, ...]]:
        if path not in known:
            raise ConfigError(f"the text of {path} was not recorded", fix="name the pipeline with --graph")
        return Source(posixpath.join(folder, path), known[path]), ()

    return reading
