"""``orchestra init``."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from orchestra.cli.terminal import one_line, say
from orchestra.config.providers import KINDS
from orchestra.errors import ConfigError
from orchestra.graph.attributes import nearest


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
) -> None:
    """Write a starter: a pipeline, orchestra.yaml and prompts. No existing file is overwritten."""
    raise typer.Exit(write_starter(folder, template, provider))


OFFERED = ("anthropic", "openai", "google")
"""The providers that a starter may have models for; the first is the default."""

EXAMPLES = ("pr-review",)
"""The examples that are starters, too."""

SETTINGS = "orchestra.yaml"
_DEFAULT = re.compile(r"^  default: anthropic( *)", re.MULTILINE)


def write_starter(folder: Path, template: str, provider: str) -> int:
    """Write a template's files. Raises ``ConfigError``, and writes nothing, where one of them exists."""
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
            f"no template {name!r}", fix=f"did you mean {near!r}?" if near else f"there are: {', '.join(known)}"
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
    say(f"  pip install 'orchestra-dot[{KINDS[provider].extra}]'")
    say(f"  export {KINDS[provider].keys[0]}=…\n  {cd}orchestra run {pipeline}")
