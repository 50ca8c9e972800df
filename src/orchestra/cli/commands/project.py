"""``orchestra init``, ``config`` and ``skill``: set up a project for pipelines."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from orchestra.cli import COMMANDS
from orchestra.cli.options import EnvFile
from orchestra.cli.stores import OutputOptions
from orchestra.cli.terminal import deliver, one_line, say, say_json, say_wrapped
from orchestra.config.providers import KINDS
from orchestra.config.showing import SettingRow, rows
from orchestra.errors import ConfigError
from orchestra.graph.attributes import EDGE, GRAPH, NODE, SHAPES, AttributeScope, Entry, Value
from orchestra.graph.explain import summaries
from orchestra.graph.nearest import nearest


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder to write to.", show_default=False)
    ] = Path(),
    template: Annotated[
        str,
        typer.Option(
            "--template", metavar="NAME", help="agent (plan, implement, test, review), minimal or pr-review."
        ),
    ] = "agent",
    provider: Annotated[
        str,
        typer.Option(
            "--provider",
            metavar="NAME",
            help="anthropic, openai or google; otherwise the one whose key is set.",
            show_default=False,
        ),
    ] = "",
) -> int:
    """Write a starter: a pipeline, orchestra.yaml and prompts. No existing file is overwritten."""
    texts = {name: source.read_text(encoding="utf-8") for name, source in _files(_template(template), "")}
    chosen = _provider(provider, texts[SETTINGS])
    texts[SETTINGS] = _DEFAULT.sub(
        lambda found: f"  default: {chosen}".ljust(len(found[0]) if found[1] else 0), texts[SETTINGS], count=1
    )
    taken = [name for name in texts if os.path.lexists(folder / name)]
    if taken:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise ConfigError(
            f"{folder / taken[0]}{more} would be overwritten; nothing was written",
            fix="name another folder: orchestra init DIR",
        )
    for name, text in texts.items():
        _write(folder / name, text)
    _say_next(folder, texts, chosen)
    return 0


DEMO = "demo"
"""The template of ``orchestra demo``, which is no starter."""

OFFERED = ("anthropic", "openai", "google")
"""The providers that a starter may have models for; the first is the default."""

EXAMPLES = ("pr-review",)
"""The examples that are starters, too."""

SETTINGS = "orchestra.yaml"
_DEFAULT = re.compile(r"^  default: anthropic( *)", re.MULTILINE)


def _templates() -> dict[str, Traversable]:
    package = files("orchestra")
    starters = [each for each in (package / "templates").iterdir() if each.is_dir()]
    known = {each.name: each for each in [*starters, *(package / "examples" / name for name in EXAMPLES)]}
    return {name: known[name] for name in sorted(known) if not name.startswith("_")}


def _template(name: str) -> Traversable:
    known = _templates()
    if name not in known:
        near = nearest(name, known)
        raise ConfigError(
            f"no template {name!r}",
            fix=f"did you mean {near!r}?" if near else f"use {', '.join(sorted(known.keys() - {DEMO}))}",
        )
    return known[name]


def _files(folder: Traversable, below: str) -> Iterator[tuple[str, Traversable]]:
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        if each.name.startswith(("__", ".")):
            continue
        if each.is_dir():
            yield from _files(each, f"{below}{each.name}/")
        else:
            yield f"{below}{each.name}", each


def _provider(name: str, settings: str) -> str:
    """The provider named, else the only one whose key is set, else the first."""
    known = [each for each in OFFERED if re.search(rf"^  {each}:", settings, re.MULTILINE)]
    if name and name not in known:
        near = nearest(name, known)
        raise ConfigError(
            f"the starter has no models of provider {name!r}",
            fix=f"did you mean {near!r}?" if near else f"there are: {', '.join(known)}",
        )
    keyed = [each for each in known if any(os.environ.get(key) for key in KINDS[each].keys)]
    return name or (keyed[0] if len(keyed) == 1 else known[0])


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}") from error


def _say_next(folder: Path, texts: Mapping[str, str], provider: str) -> None:
    pipeline = next(name for name in texts if name.endswith(".dot"))
    backend = re.search(r"set `backend: (\w+)`|to `backend: (\w+)`", texts[SETTINGS])
    simulate = " --simulate simulation.yaml" if "simulation.yaml" in texts else ""
    answers = " --answers answers.yaml" if "answers.yaml" in texts else ""
    cd = f"cd {shlex.quote(str(folder))} && " if folder != Path() else ""
    say("Created " + ", ".join(one_line(str(folder / name)) for name in texts))
    say(f"\nRun it without a model:\n  {cd}orchestra run {pipeline}{simulate}{answers}")
    name = backend[1] or backend[2] if backend is not None else "langgraph"
    say(f"\nWith a model: set `backend: {name}` in {folder / SETTINGS}, then\n")
    kind = KINDS[provider]
    if any(find_spec(module) is None for module in (kind.module, "langchain")):
        say(f"  pip install 'orchestra-dot[{kind.extra}]'")
    say(f"  export {kind.keys[0]}=…\n  {cd}orchestra run {pipeline}")


def config(
    action: Annotated[
        str, typer.Argument(metavar="[show]", help="Show the settings: the only action.", show_default=False)
    ] = "show",
    pipeline: Annotated[
        str, typer.Argument(metavar="[PIPELINE]", help="Settings for this pipeline.", show_default=False)
    ] = "-",
    origin: Annotated[
        bool, typer.Option("--origin", help="Show where each value comes from, defaults included.")
    ] = False,
    env_file: EnvFile = None,
    *,
    options: OutputOptions,
) -> int:
    """Show the settings in force. Secrets are not shown.

    A flag comes before an ORCHESTRA_* variable, a variable before orchestra.yaml, the file before the default.
    """
    if action != "show":
        raise typer.BadParameter(f"{action!r} is not show: write orchestra config show")
    if pipeline != "-" and not Path(pipeline).is_file():
        raise ConfigError(
            f"no pipeline {pipeline}", fix="name a .dot file, or leave it out for this folder's settings"
        )
    settings = options.access(pipeline).settings
    found = [row._replace(origin=_short(row.origin)) for row in rows(settings)]
    if options.as_json:
        file = str(settings.file) if settings.file is not None else None
        shown = {row.name: {"value": row.value, "origin": row.origin} for row in found}
        say_json({"file": file, "settings": shown}, indent=2)
        return 0
    shown_rows = [row for row in found if origin or row.origin != "default"]
    wide = max((len(_line(row)) for row in shown_rows if len(_line(row)) <= _WIDE), default=0) if origin else 0
    for row in shown_rows:
        say_wrapped(f"{_line(row).ljust(wide)}  # {row.origin}" if origin else _line(row))
    return 0


_WIDE = 60


def _line(row: SettingRow) -> str:
    shown = row.written
    value = "" if shown is None else shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
    return one_line(f"{row.name}: {value}".rstrip(), 1000)


def _short(origin: str) -> str:
    """An origin with the path of the file from the working directory, where it is below that."""
    here = f"{os.getcwd()}{os.sep}"  # noqa: PTH109  as text
    return origin.replace(here, "", 1) if origin.startswith(here) else origin


SKILL_NAME = "orchestra-pipelines"

SKILL_FOLDERS = (Path(".claude") / "skills", Path(".agents") / "skills")
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

SKILL_EXAMPLES = (
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
) -> int:
    """Print a skill with which coding agents write, check, run and debug pipelines, or install it.

    --install writes DIR/.claude/skills and DIR/.agents/skills, which Claude Code, Codex and other agents read.
    """
    if not install:
        if folder is not None:
            raise typer.BadParameter("DIR is for --install")
        deliver(skill_text())
        return 0
    project = (folder or Path()).expanduser()
    if not project.is_dir():
        raise ConfigError(
            f"{one_line(str(project), 1000)} is not a folder",
            fix="name the folder of a project that exists, or make it",
        )
    for below in SKILL_FOLDERS:
        say(_write_skill(project / below / SKILL_NAME / "SKILL.md"))
    return 0


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
        examples=SKILL_EXAMPLES,
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


def _write_skill(file: Path) -> str:
    """Write or update the skill and return what was done.

    Raises ``ConfigError`` if the file is not ours.
    """
    text = skill_text()
    known = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    if known and f"name: {SKILL_NAME}\n" not in known:
        raise ConfigError(f"{file} is not ours and would be overwritten", fix="move it away")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}") from error
    done = "unchanged" if known == text else "updated" if known else "wrote"
    return f"{done} {one_line(str(file), 1000)}"
