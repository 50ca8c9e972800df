"""``orchestra compile`` and ``orchestra explain``: check pipelines, and say what a diagnostic means."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestra.app.pipelines import Pipeline, compile_pipeline, needs_settings, read
from orchestra.cli.errors import INVALID, USAGE, show_diagnostics
from orchestra.cli.options import AsJson, Colour, Config, EnvFile
from orchestra.cli.terminal import complain, deliver, room, say, say_json, use_colour, width
from orchestra.config.environment import find, folders_of, known_secrets
from orchestra.errors import ConfigError, Diagnostic, InvalidPipeline, Severity
from orchestra.graph import render, report
from orchestra.graph.explain import entries
from orchestra.graph.explain import explain as explanation
from orchestra.graph.model import Graph
from orchestra.graph.nearest import nearest
from orchestra.graph.report import plural, wrap

if TYPE_CHECKING:
    from orchestra.app.estimates import CostBounds
    from orchestra.config.settings import Settings


def compile_(
    pipelines: Annotated[
        list[str], typer.Argument(metavar="PIPELINE...", help="One or more .dot files, or - for standard input.")
    ],
    format_: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="text, json, dot, svg, github or sarif.")
    ] = "text",
    as_json: AsJson = False,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as errors.")] = False,
    models: Annotated[
        bool, typer.Option("--models", help="Show each agent's model, provider and backend, and what decided them.")
    ] = False,
    prompt: Annotated[
        str, typer.Option("--prompt", metavar="NODE", help="Show a node's prompt.", show_default=False)
    ] = "",
    config: Config = None,
    env_file: EnvFile = None,
    color: Colour = "auto",
) -> int:
    """Check pipelines: parse, transform, lint. Exit code 0 when they may be run, 3 when not."""
    if as_json and format_ not in ("text", "json"):
        raise typer.BadParameter(f"--json and --format {format_} exclude each other; use one")
    if (models or prompt) and (format_ not in ("text", "json") or len(pipelines) > 1):
        raise typer.BadParameter("--models and --prompt take one pipeline, and no other --format than json")
    if models and prompt:
        raise typer.BadParameter("--models and --prompt exclude each other; use one")
    wanted = CompileOptions(strict=strict, models=models, prompt=prompt, config=config)
    return _compile(pipelines, "json" if as_json else format_, wanted, color=color)


FORMATS = ("text", "json", "dot", "svg", "github", "sarif")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """What to print besides the findings: each node's model, or the prompt of one."""

    strict: bool = False
    models: bool = False
    prompt: str = ""
    config: Path | None = None


def _compile(names: list[str], format_: str, wanted: CompileOptions, *, color: str) -> int:
    """Check the files and print them in a format; the exit code says whether all can run."""
    if format_ not in FORMATS:
        raise ConfigError(f"--format must be one of {', '.join(FORMATS)}, not {format_!r}")
    if format_ in ("dot", "svg") and len(names) > 1:
        raise ConfigError(f"--format {format_} takes one pipeline, not {len(names)}")
    if wanted.models or wanted.prompt:
        return _agents(names[0], format_, wanted)
    checked = [_check(name, wanted) for name in names]
    if format_ == "text":
        _text(names, checked, wanted, color)
    elif format_ in ("dot", "svg"):
        return _draw(checked[0], format_)
    else:
        _data(names, checked, wanted, format_)
    return 0 if all(_passes(pipeline, wanted.strict) for pipeline in checked) else INVALID


def _check(name: str, wanted: CompileOptions) -> Pipeline:
    source, found = read(name)
    settings = _settings(name, wanted)
    secrets = known_secrets() if settings is None else settings.secrets
    pipeline = compile_pipeline(source, found, variables={}, secrets=secrets, strict=wanted.strict)
    if settings is None and not needs_settings(pipeline):
        return pipeline
    from orchestra.app.checking import with_agents, with_tools  # only a pipeline with agents pays for knowing them
    from orchestra.cli.stores import settings_for

    settings = settings or settings_for(None, None, name)
    return with_agents(with_tools(pipeline, settings), settings, name)


_STORE = ("ORCHESTRA_CXDB_", "ORCHESTRA_TEST_")
"""Variables that do not concern agents."""


def _settings(name: str, wanted: CompileOptions) -> Settings | None:
    """The settings in force; None if there are none."""
    folders = folders_of(name)
    named = any(each.startswith("ORCHESTRA_") and not each.startswith(_STORE) for each in os.environ)
    if not (named or wanted.config or wanted.models or wanted.prompt) and find(folders) is None:
        return None
    from orchestra.config.settings import settle  # a YAML reader, only where there is a file to read

    return settle(folders=folders, environment=os.environ, config=wanted.config)


def _agents(name: str, format_: str, wanted: CompileOptions) -> int:
    """The models of a pipeline's nodes, or the prompt of one; findings go to standard error."""
    from orchestra.app.briefs import Brief
    from orchestra.cli.screen.briefs import say_models, say_prompt

    pipeline, settings = _check(name, wanted), _settings(name, wanted)
    if pipeline.graph is None or settings is None or pipeline.secret:
        raise InvalidPipeline(pipeline.diagnostics)
    if any(each.severity is Severity.ERROR and each.node == wanted.prompt for each in pipeline.diagnostics):
        raise InvalidPipeline(pipeline.diagnostics)  # its prompt cannot be composed, as is said there
    show_diagnostics(pipeline.diagnostics)
    brief = Brief(graph=pipeline.graph, settings=settings, file=name)
    if wanted.models:
        say_models(brief, as_json=format_ == "json")
    else:
        say_prompt(brief, wanted.prompt, as_json=format_ == "json")
    return 0 if _passes(pipeline, wanted.strict) else INVALID


def _passes(pipeline: Pipeline, strict: bool) -> bool:
    tally = report.count(pipeline.diagnostics)
    return pipeline.valid and not (strict and tally[Severity.WARNING])


def _judged(diagnostic: Diagnostic, strict: bool) -> Diagnostic:
    """The diagnostic for a program that refuses errors: with ``strict`` a warning is one."""
    if strict and diagnostic.severity is Severity.WARNING:
        return replace(diagnostic, severity=Severity.ERROR)
    return diagnostic


def _text(names: list[str], checked: list[Pipeline], wanted: CompileOptions, color: str) -> None:
    colour = use_colour(color, sys.stdout)
    for name, pipeline in zip(names, checked, strict=True):
        found = report.text(pipeline.diagnostics, width=width(sys.stdout), colour=colour)
        size = ""
        if pipeline.graph is not None:
            nodes, edges = len(pipeline.graph.nodes), len(pipeline.graph.edges)
            size = f" ({plural(nodes, 'node')}, {plural(edges, 'edge')})"
        strict = (
            ", which --strict treats as errors" if pipeline.valid and not _passes(pipeline, wanted.strict) else ""
        )
        say(f"{found}{report.safe(name)}: {report.summary(pipeline.diagnostics)}{strict}{size}")
        rules = list(dict.fromkeys(d.rule for d in pipeline.diagnostics if d.severity is not Severity.INFO))
        if explained := [rule for rule in rules if rule in entries()]:  # a package's own rules are not
            say(f"  details: orchestra explain {explained[0]}")
        if (bounds := _bounds(pipeline, name, wanted)) is not None:
            from orchestra.cli.screen.briefs import in_words

            say(f"  {in_words(bounds)}")


def _bounds(pipeline: Pipeline, name: str, wanted: CompileOptions) -> CostBounds | None:
    """What a run costs at most, where its nodes ask models (A5)."""
    settings = _settings(name, wanted) if pipeline.valid and pipeline.graph is not None else None
    if settings is None:
        return None
    from orchestra.app.estimates import cost_bounds

    bounds = cost_bounds(pipeline, settings, name)
    return bounds if bounds.nodes else None


def _costs(pipeline: Pipeline, name: str, wanted: CompileOptions) -> dict[str, Any]:
    bounds = _bounds(pipeline, name, wanted)
    if bounds is None:
        return {}
    from orchestra.cli.screen.briefs import as_data

    return {"cost": as_data(bounds)}


def _data(names: list[str], checked: list[Pipeline], wanted: CompileOptions, format_: str) -> None:

    diagnostics = tuple(_judged(d, wanted.strict) for pipeline in checked for d in pipeline.diagnostics)
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
            "ok": _passes(pipeline, wanted.strict),
            "graph": None if pipeline.graph is None or pipeline.secret else render.to_json(pipeline.graph),
            **_costs(pipeline, name, wanted),
        }
        for name, pipeline in zip(names, checked, strict=True)
    ]
    whole = files[0] if len(files) == 1 else {"ok": all(file["ok"] for file in files), "files": files}
    say_json(whole, indent=2)


def _sarif(diagnostics: tuple[Diagnostic, ...]) -> dict[str, report.Json]:
    from importlib.metadata import version

    from orchestra.graph.explain import summaries

    return report.sarif(diagnostics, version=version("orchestra-dot"), summaries=summaries())


def _draw(pipeline: Pipeline, format_: str) -> int:
    """The pipeline written back, or drawn; findings go to standard error, nothing is drawn from errors."""
    shown = [d for d in pipeline.diagnostics if d.severity is not Severity.INFO]
    if shown:
        text = report.text(shown, width=width(sys.stderr), colour=use_colour("auto", sys.stderr))
        complain(f"{text}{report.summary(shown)}")
    if pipeline.written is None or pipeline.secret or any(d.rule in ("syntax", "attribute_type") for d in shown):
        return INVALID
    if format_ == "dot":
        deliver(render.to_dot(pipeline.written))
        return 0 if pipeline.valid else INVALID
    return draw(pipeline.written) or (0 if pipeline.valid else INVALID)


LAYOUT_LIMIT = 300
"""Seconds that Graphviz may take for a drawing."""


def draw(graph: Graph) -> int:
    """Write the graph as SVG to standard output; the exit code says whether that worked."""
    program = shutil.which("dot")
    if program is None:
        raise ConfigError(
            "no Graphviz found: `compile --format svg` needs its program `dot`",
            fix="apt install graphviz, or use --format dot and draw it elsewhere",
        )
    try:
        done = subprocess.run(
            [program, "-Tsvg"],
            input=render.to_drawing(graph).encode("utf-8", "replace"),
            capture_output=True,
            timeout=LAYOUT_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        complain(f"error: dot did not finish within {LAYOUT_LIMIT} s")
        return USAGE
    if done.returncode:
        complain(f"error: dot failed: {report.safe(done.stderr.decode('utf-8', 'replace').strip())}")
        return USAGE
    deliver(done.stdout.decode("utf-8", "replace"))
    return 0


def explain(
    rule: Annotated[
        str | None, typer.Argument(metavar="[RULE]", help="Rule of a diagnostic (default: list all rules).")
    ] = None,
) -> int:
    """Say what a diagnostic means, with a wrong and a right example."""
    if rule is None:
        longest = max(map(len, entries()))
        for name, known in entries().items():
            lead = f"{name:{longest}}  {'/'.join(s.value for s in known.severities):15}  "
            say("\n".join(wrap(lead, known.meaning, room(), "    ")))
        return 0
    entry = entries().get(rule)
    if entry is None:
        near = nearest(rule, entries(), within=3)
        fix = f"did you mean {near!r}?" if near else "list all rules: orchestra explain"
        raise ConfigError(f"unknown rule {rule!r}", fix=fix)
    prose, example, pipelines = explanation(entry).rstrip("\n").partition("\nWrong:")
    say("\n".join(line for text in prose.splitlines() for line in wrap("", text, room(), "")) + example + pipelines)
    return 0
