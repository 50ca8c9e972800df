"""``orchestra skill``: what a coding agent needs to write pipelines, from the same tables as the reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from orchestra.cli import COMMANDS
from orchestra.cli.terminal import deliver, one_line, say
from orchestra.errors import ConfigError
from orchestra.graph.attributes import EDGE, GRAPH, NODE, SHAPES, AttributeScope, Entry, Value
from orchestra.graph.explain import summaries

NAME = "orchestra-pipelines"

FOLDERS = (Path(".claude") / "skills", Path(".agents") / "skills")
"""Where coding agents look for skills: Claude Code, and Codex and others."""

HANDLERS = {
    "start": "where the run begins",
    "exit": "where it ends, if every goal gate is met",
    "codergen": "an agent works on `prompt`",
    "wait.human": "a person chooses one of the edges by its label",
    "conditional": "passes on the outcome of the node before it; for edges with conditions",
    "parallel": "starts one branch per edge, or per item of `for_each`",
    "parallel.fan_in": "joins the branches; with a prompt an agent picks the best",
    "tool": "runs `tool_command` in a shell",
    "stack.manager_loop": "runs the pipeline `stack.child_dotfile` and watches or steers it",
}
"""What a node of each handler does."""

EXAMPLES = (
    ("review-loop", "A loop with a bound and a goal gate"),
    ("plan-build-review", "Retries, a decision, and a path after a failure"),
    ("three-reviewers", "Parallel agents and a synthesis"),
    ("each-file", "One branch per line of a command's output"),
    ("release-gate", "A question to a person"),
)
"""The worked examples and what each shows."""


def skill(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Project, or ~ for all projects, with --install.", show_default=False),
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Write it where coding agents look for skills, or update it there.")
    ] = False,
) -> None:
    """Print a skill with which coding agents write, check, run and debug pipelines, or install it.

    --install writes DIR/.claude/skills and DIR/.agents/skills, which Claude Code, Codex and other agents read.
    """
    if not install:
        if folder is not None:
            raise typer.BadParameter("DIR is for --install")
        deliver(skill_text())
        return
    project = (folder or Path()).expanduser()
    if not project.is_dir():
        raise ConfigError(
            f"{one_line(str(project), 1000)} is no folder",
            fix="name the folder of a project that exists, or make it",
        )
    for below in FOLDERS:
        say(_write(project / below / NAME / "SKILL.md"))


def skill_text() -> str:
    """The whole SKILL.md."""
    from jinja2 import Environment, StrictUndefined

    examples = files("orchestra") / "examples"
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
    )
    template = (files("orchestra.cli") / "commands" / "skill.md").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        shapes=_rows((f"`{shape}`", f"`{handler}`", HANDLERS[handler]) for shape, handler in SHAPES.items()),
        node=_attributes(NODE),
        edge=_attributes(EDGE),
        graph=_attributes(GRAPH),
        commands=_rows((f"`orchestra {name}`", text) for name, (_place, text) in COMMANDS.items()),
        diagnostics=_rows((f"`{rule}`", meaning) for rule, meaning in summaries().items()),
        examples=EXAMPLES,
        text=lambda name: (examples / name).read_text(encoding="utf-8"),
        answers=lambda name: (examples / f"{name}.answers.yaml").is_file(),
    )


def _rows(rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)


def _attributes(scope: AttributeScope) -> str:
    return _rows(
        (f"`{entry.key}`", _type(entry), _default(entry.default), entry.meaning) for entry in scope.entries.values()
    )


def _type(entry: Entry) -> str:
    return ", ".join(f"`{choice}`" for choice in entry.choices if choice) or entry.kind.value


def _default(value: Value | None) -> str:
    if value is None or value == "":
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _write(file: Path) -> str:
    """Write the skill, or a newer one over an older; what was done. Raises ``ConfigError`` over another's file."""
    text = skill_text()
    known = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    if known and f"name: {NAME}\n" not in known:
        raise ConfigError(f"{file} is not ours and would be overwritten", fix="move it away")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}") from error
    done = "unchanged" if known == text else "updated" if known else "wrote"
    return f"{done} {one_line(str(file), 1000)}"
