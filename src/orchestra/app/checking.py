"""What a pipeline's agents need of the settings: models, prompts, and what is missing (A8, A10, A23)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from orchestra.agents.inputs import attachments, read_schema
from orchestra.agents.layers import Layer, read_layer
from orchestra.agents.models import (
    CHEAP,
    CLI,
    WITH_MODEL,
    ResolvedModel,
    agent_of,
    layer_names,
    tool_names,
)
from orchestra.agents.prompts import (
    prompt_of,
    with_goal,
)
from orchestra.app.briefs import Brief, folder_of, whereabouts, workdir_of
from orchestra.app.pipelines import Pipeline
from orchestra.app.plugins import entry_points_of_ours
from orchestra.config.providers import KINDS, Provider
from orchestra.config.schema import dotted_path
from orchestra.config.settings import Settings
from orchestra.config.yaml import Document
from orchestra.errors import ConfigError, Diagnostic, InvalidConfig, Severity, Span
from orchestra.graph.lint import in_order
from orchestra.graph.lint.values import OF_NODE, problem
from orchestra.graph.model import Graph, Node
from orchestra.graph.nearest import nearest

USUAL_ALIASES = ("smart", "worker", CHEAP)
"""Names that are aliases in every settings file that `orchestra init` writes, and no provider's model."""

KNOWN_BACKENDS = ("simulation", "direct", "langgraph", *CLI)


def agent_diagnostics(brief: Brief) -> tuple[Diagnostic, ...]:
    """What is wrong with the nodes' agents, models, backends and prompt files."""
    found: list[Diagnostic] = []
    if next(brief.asking(), None) is not None:
        found += _settings(brief)
    for node in brief.asking():
        found += _agent(brief, node)
        found += _layers(brief, node)
        if node.has("attach") or node.has("output_schema"):
            found += _inputs(brief, node)
        if not brief.simulated:
            found += _backend(brief, node)
    return tuple(_unique(found))


def with_agents(pipeline: Pipeline, settings: Settings, file: str, *, simulated: bool = False) -> Pipeline:
    """The pipeline with the findings about its agents and those of its children."""
    found: list[Diagnostic] = []
    for each in pipeline.whole():
        if each.graph is not None:
            name = file if each is pipeline else each.source.name
            found += agent_diagnostics(Brief(graph=each.graph, settings=settings, file=name, simulated=simulated))
    return replace(pipeline, diagnostics=in_order((*pipeline.diagnostics, *found))) if found else pipeline


def with_tools(pipeline: Pipeline, settings: Settings) -> Pipeline:
    """The pipeline with findings for the tools that it or a child names and that do not exist (A30)."""
    found = tuple(_tool_problems(pipeline, settings, folder_of(whereabouts(pipeline.source), settings)))
    return replace(pipeline, diagnostics=(*pipeline.diagnostics, *found)) if found else pipeline


def _tool_problems(pipeline: Pipeline, settings: Settings, folder: Path) -> Iterator[Diagnostic]:
    if pipeline.graph is None:
        return
    yield from tool_findings(pipeline.graph, settings, folder)
    for node, child in pipeline.children.items():
        named = workdir_of(pipeline.graph, node, folder)
        where = Path(named) if named else folder_of(whereabouts(child.source), settings)
        yield from _tool_problems(child, settings, where)


def tool_findings(graph: Graph, settings: Settings, folder: Path) -> Iterable[Diagnostic]:
    """What is wrong with the tools that a graph's nodes name."""
    if not any(tool_names(node, agent_of(node, settings.config)) for node in graph.nodes.values()):
        return ()
    from orchestra.app.toolboxes import tool_problems  # only a pipeline that names tools pays for what it imports

    return tool_problems(graph, settings, folder)


def _unique(found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Each finding once: many nodes with one problem are one diagnostic (diagnostics.md)."""
    seen: set[tuple[str, str]] = set()
    for each in found:
        if (each.rule, each.message) not in seen:
            seen.add((each.rule, each.message))
            yield each


def _finding(
    rule: str, message: str, span: Span | None, node: Node, fix: str, severity: Severity = Severity.ERROR
) -> Diagnostic:
    return Diagnostic(
        rule=rule,
        severity=severity,
        message=message,
        span=span,
        node=node.id,
        fix=fix,
    )


def _near(name: str, known: Iterable[str], otherwise: str) -> str:
    names = list(known)
    near = nearest(name, names)
    if near:
        return f"did you mean {near!r}?"
    return f"known here: {', '.join(names)}" if names else otherwise


def _settings(brief: Brief) -> Iterator[Diagnostic]:
    """Yield findings for missing files in the settings, and for a section of a similar pipeline name."""
    config, document = brief.settings.config, brief.settings.document
    if document is None or brief.settings.file is None:
        return
    base = brief.settings.file.absolute().parent
    names_tools = any(node.has("agent") or node.has("agent.tools") for node in brief.graph.nodes.values())
    modules = [path if path.endswith(".py") and not names_tools else "" for path in config.tools_module]
    yield from _missing(document, base, ("prompts", "paths"), config.prompts.paths, "prompt_file")
    yield from _missing(document, base, ("skills",), config.skills, "tool_known")
    yield from _missing(document, base, ("tools_module",), modules, "tool_known")
    near = "" if brief.name in config.pipelines else nearest(brief.name, config.pipelines) or ""
    if near and not any(os.path.exists(folder / near) for folder in (base, brief.folder)):  # noqa: PTH110
        yield Diagnostic(
            rule="agent_known",
            severity=Severity.WARNING,
            message=f"pipelines has a section for {near!r}, which is not this pipeline",
            span=document.key_span(("pipelines", near)),
            fix=f"did you mean {brief.name!r}?",
        )


def _missing(
    document: Document, base: Path, where: tuple[str, ...], paths: Sequence[str], rule: str
) -> Iterator[Diagnostic]:
    for index, path in enumerate(paths):
        if path and not os.path.exists(base / Path(path).expanduser()):  # noqa: PTH110
            yield Diagnostic(
                rule=rule,
                severity=Severity.ERROR,
                message=f"{dotted_path((*where, index))}: {path} does not exist in {base}",
                span=document.span((*where, index)) or document.span(where),
                fix="correct the path, or remove it",
            )


def _agent(brief: Brief, node: Node) -> Iterator[Diagnostic]:
    name, config, file = node.text("agent"), brief.settings.config, brief.settings.file
    if not name or name in config.agents:
        return
    span = node.span_of("agent", node.span)
    if file is None:
        message = f"nothing defines the agent {name!r}: there is no orchestra.yaml, and all agents are simulated"
        fix = "`orchestra init` writes one; define the agent under `agents:` in it"
        yield _finding("agent_known", message, span, node, fix, Severity.INFO)
        return
    fix = _near(name, config.agents, f"add it under `agents:` in {file.name}")
    yield _finding("agent_known", f"no agent {name!r} in {file.name}", span, node, fix)


def _layers(brief: Brief, node: Node) -> Iterator[Diagnostic]:
    """What is wrong with the node's layer files, else with what is composed of them and the node's prompt."""
    faults: list[tuple[str, ConfigError]] = []
    for kind, name in layer_names(node, brief.settings.config).items():
        with _gathering(faults, kind):
            layer = read_layer(kind, name, brief.places)
            if kind == "task":
                yield from _values_of_nodes(brief, node, layer)
    if not faults:
        with _gathering(faults, "task"):
            brief.compose(node, {})
    if faults or "task" in layer_names(node, brief.settings.config):
        with _gathering(faults, "prompt"):
            prompt_of(node, with_goal({}, brief.graph), placeholders=True)
    for kind, fault in faults:
        span = fault.span or brief.setting_span(node, kind) or node.span_of("prompt", node.span)
        yield _finding("prompt_file", fault.message, span, node, fault.fix)


def _values_of_nodes(brief: Brief, node: Node, layer: Layer) -> Iterator[Diagnostic]:
    """Values of nodes that a task names and that no node leaves, as the rule says of prompts (A22)."""
    for match in OF_NODE.finditer(layer.content):
        kind = brief.graph.type_of(match[2]) if match[2] in brief.graph.nodes else ""
        _group, near, what = problem(match, kind, brief.graph.nodes)
        at = layer.start.source.text.find(match[0]) if layer.start is not None else -1
        if what:
            yield _finding(
                "value_of_node",
                f"{match[1]}.{match[2]!s} {what}: it will have no value",
                Span(layer.start.source, at, at + len(match[0])) if layer.start is not None and at >= 0 else None,
                node,
                f"did you mean {near!r}?" if near else "name a node and a value that it leaves",
                Severity.WARNING,
            )


@contextmanager
def _gathering(faults: list[tuple[str, ConfigError]], kind: str) -> Iterator[None]:
    """Keep every fault that is raised, with the layer that it is of."""
    try:
        yield
    except InvalidConfig as error:
        faults.extend((kind, fault) for fault in error.faults)
    except ConfigError as error:
        faults.append((kind, error))


def _inputs(brief: Brief, node: Node) -> Iterator[Diagnostic]:
    """What is wrong with the files that a node attaches, and with the schema of its answer (A30, A4)."""
    workspace = brief.settings.workspace
    repos = tuple(repo.path for repo in workspace.repos) if workspace is not None else ()
    folders = (*repos, brief.folder)
    try:
        attachments(node, folders)
    except ConfigError as error:
        yield _finding("attach_missing", error.message, node.span_of("attach", node.span), node, error.fix)
    try:
        if node.text("output_schema"):
            read_schema(node.text("output_schema"), folders)
    except ConfigError as error:
        yield _finding("output_schema", error.message, node.span_of("output_schema", node.span), node, error.fix)


def _backend(brief: Brief, node: Node) -> Iterator[Diagnostic]:
    found = brief.resolve(node)
    name = str(found.backend.value)
    known = (*KNOWN_BACKENDS, *(point.name for point in entry_points_of_ours().get("orchestra.backends", ())))
    document = brief.settings.document
    written = document.span(found.backend.path) if document is not None and found.backend.path else None
    span = written or node.span_of("backend", node.span)
    if name not in known:
        yield _finding("backend_known", f"no backend {name!r}", span, node, _near(name, known, ""))
    elif name in WITH_MODEL:
        yield from _model(brief, node, found)
        return
    elif name in CLI:
        yield from _cli(brief, node)
    yield from _provider(brief, node, found)


_CALLED = {"claude": "anthropic", "gpt": "openai", "chatgpt": "openai", "codex": "openai"}
_CALLED |= {"google_genai": "google", "vertexai": "vertex", "vertex_ai": "vertex", "aws": "bedrock"}
_CALLED |= {"azure_openai": "azure", "open_router": "openrouter"}
"""Models and packages that are taken for the names of providers."""


def _provider(brief: Brief, node: Node, found: ResolvedModel) -> Iterator[Diagnostic]:
    """A provider that is nearly a known one, on a node whose backend asks none."""
    name, config = found.provider.value, brief.settings.config
    if not name or config.provider(name) is not None:
        return
    folded = name.lower().replace("-", "_")
    known = (*config.providers.named, *KINDS)
    meant = folded if folded in known else _CALLED.get(folded) or nearest(folded, known)
    if meant:
        message = f"no provider {name!r}: a run with models would refuse it"
        span = node.span_of("llm_provider", brief.graph.span_of("llm_provider", node.span))
        yield _finding("model_known", message, span, node, f"did you mean {meant!r}?", Severity.WARNING)


def _cli(brief: Brief, node: Node) -> Iterator[Diagnostic]:
    from orchestra.app.cli_agents import check_cli  # a backend, which most pipelines do without

    try:
        check_cli(brief.settings, node, brief.graph)
    except ConfigError as error:
        span = error.span or node.span_of("cli", node.span_of("backend", node.span))
        yield _finding("cli_agent", error.message, span, node, error.fix)


def _model(brief: Brief, node: Node, found: ResolvedModel) -> Iterator[Diagnostic]:
    config = brief.settings.config
    provider = config.provider(found.provider.value) if found.provider.value else None
    span = node.span_of("llm_provider", node.span)
    if provider is None:
        message = "no provider is configured for the nodes that ask a model"
        fix = "set `providers.default: anthropic` in orchestra.yaml, or ORCHESTRA_PROVIDER"
        if found.provider.value:
            message = f"no provider {found.provider.value!r} (from {found.provider.rule})"
            fix = _near(found.provider.value, (*config.providers.named, *KINDS), "")
        yield _finding("model_known", message, span, node, fix)
        return
    if not found.model.value:
        yield _finding(
            "model_known",
            f"no model for nodes of provider {provider.name!r}",
            span,
            node,
            f"set `providers.{provider.name}.models.worker`, or llm_model on the node",
        )
    elif not found.alias and (near := nearest(found.model.value, provider.models)):
        yield _finding(
            "model_known",
            f"{found.model.value!r} is not an alias of provider {provider.name!r}; it is passed on as it is",
            node.span_of("llm_model", node.span),
            node,
            f"did you mean {near!r}?",
            Severity.WARNING,
        )
    elif not provider.models and found.model.value in USUAL_ALIASES:
        yield _finding(
            "model_known",
            f"provider {provider.name!r} has no `models`: {found.model.value!r} is asked for as a model's name",
            node.span_of("llm_model", node.span),
            node,
            f"set `providers.{provider.name}.models.{found.model.value}`",
            Severity.WARNING,
        )
    yield from missing(provider, node)
    for name, _name in found.fallbacks.value:
        other = config.provider(name)
        if other is not None:
            yield from missing(other, node)
            continue
        yield _finding(
            "model_known",
            f"no provider {name!r} (from fallbacks)",
            node.span_of("fallbacks", node.span),
            node,
            _near(name, (*config.providers.named, *KINDS), ""),
        )


def missing(provider: Provider, node: Node) -> Iterator[Diagnostic]:
    """What a provider needs and is not there: its package is an error, its key a remark (A8)."""
    if package := provider.lacks_package:
        yield _finding(
            "extra_missing",
            f"provider {provider.name!r} needs the package {package}, which is not installed",
            node.span,
            node,
            f"pip install 'orchestra-dot[{KINDS[provider.kind].extra}]'",
        )
    if provider.lacks_key:
        yield _finding(
            "credentials_missing",
            f"provider {provider.name!r} needs a key: {' or '.join(provider.key_names)} is not set",
            node.span,
            node,
            f"export {provider.key_names[0]}=…, or read it with --env-file FILE",
            Severity.INFO,
        )
