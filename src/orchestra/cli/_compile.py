"""What ``orchestra compile`` does."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestra.app.pipelines import Pipeline, compile_pipeline, read
from orchestra.cli._errors import INVALID, show_diagnostics
from orchestra.cli._terminal import coloured, complain, deliver, say, width
from orchestra.config.environment import find, folders_of, known_secrets
from orchestra.errors import ConfigError, Diagnostic, InvalidPipeline, Severity
from orchestra.graph import render, report
from orchestra.graph.model import Node
from orchestra.graph.report import counted

if TYPE_CHECKING:
    from orchestra.config.settings import Settings

FORMATS = ("text", "json", "dot", "svg", "github", "sarif")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for besides the findings: each node's model, or the prompt of one."""

    strict: bool = False
    models: bool = False
    prompt: str = ""
    config: Path | None = None


def compile_files(names: list[str], format_: str, wanted: Wanted, *, color: str) -> int:
    """Check the files and print them in a format; the exit code says whether all may be run."""
    if format_ not in FORMATS:
        raise ConfigError(f"--format must be one of {', '.join(FORMATS)}, not {format_!r}")
    if format_ in ("dot", "svg") and len(names) > 1:
        raise ConfigError(f"--format {format_} takes one pipeline, not {len(names)}")
    if wanted.models or wanted.prompt:
        return _agents(names[0], format_, wanted)
    checked = [_checked(name, wanted) for name in names]
    if format_ == "text":
        _text(names, checked, color)
    elif format_ in ("dot", "svg"):
        return _drawn(checked[0], format_)
    else:
        _data(names, checked, format_)
    return 0 if all(_passes(pipeline, wanted.strict) for pipeline in checked) else INVALID


def _checked(name: str, wanted: Wanted) -> Pipeline:
    source, found = read(name)
    settings = _settings(name, wanted)
    secrets = known_secrets() if settings is None else settings.secrets
    pipeline = compile_pipeline(source, found, variables={}, secrets=secrets, strict=wanted.strict)
    return _with_agents(_with_tools(pipeline, settings, name), settings, name)


_STORE = ("ORCHESTRA_CXDB_", "ORCHESTRA_TEST_")
"""Variables that say nothing of agents."""


def _settings(name: str, wanted: Wanted) -> Settings | None:
    """The settings in force; None where nothing says anything."""
    folders = folders_of(name)
    named = any(each.startswith("ORCHESTRA_") and not each.startswith(_STORE) for each in os.environ)
    if not (named or wanted.config or wanted.models or wanted.prompt) and find(folders) is None:
        return None
    from orchestra.config.settings import settle  # a YAML reader, only where there is a file to read

    return settle(folders=folders, environment=os.environ, config=wanted.config)


def _with_agents(pipeline: Pipeline, settings: Settings | None, name: str) -> Pipeline:
    """The pipeline with findings about its agents' models, prompts and backends."""
    graph = pipeline.graph
    if graph is None or (settings is None and not any(_names_agent(node) for node in graph.nodes.values())):
        return pipeline
    from orchestra.app.checking import with_agents
    from orchestra.cli._stores import settings_for

    return with_agents(pipeline, settings or settings_for(None, None, name), name)


def _names_agent(node: Node) -> bool:
    return any(key.partition(".")[0] in ("agent", "backend") for key in node.attributes)


def _agents(name: str, format_: str, wanted: Wanted) -> int:
    """The models of a pipeline's nodes, or the prompt of one; findings go to standard error."""
    from orchestra.app.checking import Brief
    from orchestra.cli._briefs import say_models, say_prompt

    pipeline, settings = _checked(name, wanted), _settings(name, wanted)
    if pipeline.graph is None or settings is None or pipeline.secret:
        raise InvalidPipeline(pipeline.diagnostics)
    show_diagnostics(pipeline.diagnostics)
    brief = Brief(graph=pipeline.graph, settings=settings, file=name)
    if wanted.models:
        say_models(brief, as_json=format_ == "json")
    else:
        say_prompt(brief, wanted.prompt, as_json=format_ == "json")
    return 0 if _passes(pipeline, wanted.strict) else INVALID


def _with_tools(pipeline: Pipeline, settings: Settings | None, name: str) -> Pipeline:
    """The pipeline with findings for the tools that it names and that do not exist (A30)."""
    graph = pipeline.graph
    if graph is None or not any(node.has("agent.tools") or node.has("agent") for node in graph.nodes.values()):
        return pipeline
    from orchestra.app.runs import folder_of, whereabouts  # only pipelines that name tools pay for knowing them
    from orchestra.app.toolboxes import tool_problems
    from orchestra.cli._stores import settings_for

    found = tool_problems(
        graph, settings or settings_for(None, None, name), folder_of(whereabouts(pipeline.source))
    )
    return replace(pipeline, diagnostics=(*pipeline.diagnostics, *found)) if found else pipeline


def _passes(pipeline: Pipeline, strict: bool) -> bool:
    tally = report.count(pipeline.diagnostics)
    return pipeline.valid and not (strict and tally[Severity.WARNING])


def _text(names: list[str], checked: list[Pipeline], color: str) -> None:
    colour = coloured(color, sys.stdout)
    for name, pipeline in zip(names, checked, strict=True):
        found = report.text(pipeline.diagnostics, width=width(sys.stdout), colour=colour)
        size = ""
        if pipeline.graph is not None:
            nodes, edges = len(pipeline.graph.nodes), len(pipeline.graph.edges)
            size = f" ({counted(nodes, 'node')}, {counted(edges, 'edge')})"
        say(f"{found}{report.safe(name)}: {report.summary(pipeline.diagnostics)}{size}")
        rules = list(dict.fromkeys(d.rule for d in pipeline.diagnostics if d.severity is not Severity.INFO))
        if rules:
            say(f"  details: orchestra explain {rules[0]}")


def _data(names: list[str], checked: list[Pipeline], format_: str) -> None:
    from orchestra.cli._json import say_json  # text, which is what is asked for most, does without

    diagnostics = tuple(d for pipeline in checked for d in pipeline.diagnostics)
    if format_ == "github":
        if diagnostics:
            say(report.github(diagnostics).rstrip("\n"))
        return
    if format_ == "sarif":
        say_json(_sarif(diagnostics), indent=2)
        return
    files = [
        {
            "file": name,
            **report.report(pipeline.diagnostics),
            "graph": None if pipeline.graph is None or pipeline.secret else render.to_json(pipeline.graph),
        }
        for name, pipeline in zip(names, checked, strict=True)
    ]
    whole = files[0] if len(files) == 1 else {"ok": all(file["ok"] for file in files), "files": files}
    say_json(whole, indent=2)


def _sarif(diagnostics: tuple[Diagnostic, ...]) -> dict[str, report.Json]:
    from importlib.metadata import version

    from orchestra.graph.explain import summaries

    return report.sarif(diagnostics, version=version("orchestra-dot"), summaries=summaries())


def _drawn(pipeline: Pipeline, format_: str) -> int:
    """The pipeline written back, or drawn; findings go to standard error, nothing is drawn from errors."""
    shown = [d for d in pipeline.diagnostics if d.severity is not Severity.INFO]
    if shown:
        text = report.text(shown, width=width(sys.stderr), colour=coloured("auto", sys.stderr))
        complain(f"{text}{report.summary(shown)}")
    if pipeline.written is None or pipeline.secret or any(d.rule in ("syntax", "attribute_type") for d in shown):
        return INVALID
    if format_ == "dot":
        deliver(render.to_dot(pipeline.written))
        return 0 if pipeline.valid else INVALID
    from orchestra.cli._drawing import draw  # starts a program, which checking does not

    return draw(pipeline.written) or (0 if pipeline.valid else INVALID)
