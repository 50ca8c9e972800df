"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help="Folder of the store, URL of a CXDB server (http://host:9010), or 'memory' (nothing is saved).",
        show_default=False,
    ),
]


def _read_env(file: Path | None) -> Path | None:
    """Give this process the variables of a ``.env`` file; those that are set already stay (cli.md)."""
    if file is not None:
        import os

        from orchestra.config.variables import read_env_file

        for name, value in read_env_file(file).items():
            os.environ.setdefault(name, value)
    return file


EnvFile = Annotated[
    Path | None,
    typer.Option(
        "--env-file",
        metavar="FILE",
        help="Read variables, such as keys, from a .env file; variables already set win.",
        show_default=False,
        callback=_read_env,
        is_eager=True,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file (default: the nearest orchestra.yaml)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
JsonStream = Annotated[
    bool, typer.Option("--json-stream", help="Print each event as one line of JSON, as it happens.")
]
Plainly = Annotated[bool, typer.Option("--plain", help="Print plain lines, even on a terminal.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only errors and the result.")]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Show why each edge was taken and the output of commands.")
]
Detach = Annotated[bool, typer.Option("--detach", help="Run in the background; watch it with `orchestra attach`.")]
Colour = Annotated[
    str, typer.Option("--color", metavar="WHEN", help="Use colors: auto, always or never.", show_default=True)
]


def _dollars(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < float("inf"):
        raise typer.BadParameter(f"must be dollars such as 5 or 0.50, not {text!r}")
    return amount


MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost",
        metavar="DOLLARS",
        parser=_dollars,
        help="Pause the run (exit code 7) when its models have cost this much.",
        show_default=False,
    ),
]
AutoApproval = Annotated[
    bool, typer.Option("--auto-approve", help="Answer every question with yes or its first choice.")
]
Answers = Annotated[
    Path | None,
    typer.Option("--answers", metavar="FILE", help="Answers to questions (YAML), by node or in order."),
]
ApproveTools = Annotated[bool, typer.Option("--approve-tools", help="Approve every tool call that needs approval.")]
NoInput = Annotated[
    bool,
    typer.Option("--no-input", help="Do not ask on this terminal; pause until a question is answered elsewhere."),
]


def one_json(as_object: bool, as_stream: bool) -> str:
    """Return the JSON form: ``object``, ``stream`` or empty. Raises a usage error if both are given."""
    if as_object and as_stream:
        raise typer.BadParameter("--json and --json-stream exclude each other; use one")
    return "object" if as_object else "stream" if as_stream else ""


def spread(function: Callable[..., int]) -> Callable[..., None]:
    """Return a command for Typer: the fields of dataclass parameters are options, the result is the exit code."""
    parameters: list[inspect.Parameter] = []
    parts: dict[str, tuple[type[Any], list[str]]] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        kind = parameter.annotation
        if not (isinstance(kind, type) and is_dataclass(kind)):
            parameters.append(parameter)
            continue
        hints = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            option = inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name]
            )
            parameters.append(option)
        parts[parameter.name] = (kind, [field.name for field in fields(kind)])

    def command(**given: Any) -> None:
        for name, (kind, names) in parts.items():
            given[name] = kind(**{option: given.pop(option) for option in names})
        raise typer.Exit(function(**given))

    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    command.__doc__ = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    return command
