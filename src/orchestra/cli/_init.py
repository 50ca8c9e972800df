"""What ``orchestra init`` does."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from orchestra.cli._terminal import one_line, say
from orchestra.config.providers import KINDS
from orchestra.errors import ConfigError
from orchestra.graph.attributes import nearest

OFFERED = ("anthropic", "openai", "google")
"""The providers that the starters have models for; the first is the default."""

PIPELINE, SETTINGS = "pipeline.dot", "orchestra.yaml"


def write_starter(folder: Path, template: str, provider: str) -> int:
    """Write a template's files. Raises ``ConfigError``, and writes nothing, where one of them exists."""
    chosen = _provider(provider)
    texts = {name: source.read_text(encoding="utf-8") for name, source in _files(_template(template), "")}
    texts[SETTINGS] = texts[SETTINGS].replace("default: anthropic ", f"default: {chosen} ".ljust(19), 1)
    taken = [name for name in texts if os.path.lexists(folder / name)]
    if taken:
        raise ConfigError(
            f"{', '.join(str(folder / name) for name in taken)} exists already, and is not overwritten",
            fix="name another folder: orchestra init DIR",
        )
    for name, text in texts.items():
        _write(folder / name, text)
    _say_next(folder, list(texts), chosen)
    return 0


def _templates() -> dict[str, Traversable]:
    root = files("orchestra") / "templates"
    return {each.name: each for each in sorted(root.iterdir(), key=lambda each: each.name) if each.is_dir()}


def _template(name: str) -> Traversable:
    known = {key: value for key, value in _templates().items() if not key.startswith("_")}
    if name not in known:
        near = nearest(name, known)
        raise ConfigError(
            f"no template {name!r}", fix=f"did you mean {near!r}?" if near else f"there are: {', '.join(known)}"
        )
    return known[name]


def _files(folder: Traversable, below: str) -> Iterator[tuple[str, Traversable]]:
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        if each.is_dir():
            yield from _files(each, f"{below}{each.name}/")
        else:
            yield f"{below}{each.name}", each


def _provider(name: str) -> str:
    """The provider named, else the only one whose key is set, else the first."""
    if name and name not in OFFERED:
        near = nearest(name, OFFERED)
        raise ConfigError(
            f"no provider {name!r} in the starters",
            fix=f"did you mean {near!r}?" if near else f"there are: {', '.join(OFFERED)}",
        )
    set_ = [each for each in OFFERED if any(os.environ.get(key) for key in KINDS[each].keys)]
    return name or (set_[0] if len(set_) == 1 else OFFERED[0])


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}") from error


def _say_next(folder: Path, names: list[str], provider: str) -> None:
    say("Created " + ", ".join(one_line(str(folder / name)) for name in names))
    cd = f"cd {shlex.quote(str(folder))} && " if folder != Path() else ""
    simulate = " --simulate simulation.yaml" if "simulation.yaml" in names else ""
    backend = "langgraph" if simulate else "direct"
    say(f"\nRun it without a model:\n  {cd}orchestra run {PIPELINE}{simulate}")
    say(f"\nWith a model: write `backend: {backend}` in {folder / SETTINGS}, then\n")
    say(f"  pip install 'orchestra-dot[{KINDS[provider].extra}]'")
    say(f"  export {KINDS[provider].keys[0]}=…\n  {cd}orchestra run {PIPELINE}")
