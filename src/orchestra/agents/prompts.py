"""An agent's prompt: four layers, the node's own prompt, project documents (A20-A24)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestra.agents.layers import Layer, LayerFolders, read_layer
from orchestra.agents.models import layer_names
from orchestra.config.model import Config
from orchestra.errors import ConfigError
from orchestra.graph.model import Graph, Node

DOCS = ("AGENTS.md", "CLAUDE.md")
"""Project documents, the first of which that a folder has is read (A24)."""

DOCS_SIZE = 32 * 1024
"""Bytes of project documents that the system message gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedPrompt:
    """A node's prompt: the system and user messages, their layers and documents."""

    system: str
    user: str
    layers: tuple[Layer, ...] = ()
    docs: tuple[Path, ...] = ()


def compose(
    node: Node,
    graph: Graph,
    context: Mapping[str, Any],
    layers: Sequence[Layer],
    *,
    preamble: str = "",
    docs: Sequence[Path] = (),
    placeholders: bool = False,
) -> ComposedPrompt:
    """The prompt of a node over the context, whose values are data and never rendered (A22).

    ``layers`` are those of ``layers_of``. ``docs`` are folders in which project documents are looked for, the
    nearest first. With ``placeholders`` a value that is not known yet prints as its name. Raises ``ConfigError``.
    """
    known = with_goal(context, graph)
    task = next((layer for layer in layers if layer.kind == "task"), None)
    parts = [preamble]
    if task is not None:
        parts.append(_task(task, known, placeholders=placeholders))
    if task is None or node.text("prompt"):
        parts.append(prompt_of(node, known, placeholders=placeholders))
    written, texts = project_docs(docs)
    system = [layer.content for layer in layers if layer.kind != "task"]
    return ComposedPrompt(
        system=_join([*system, *texts]),
        user=_join(parts),
        layers=tuple(layers),
        docs=written,
    )


def _join(parts: Sequence[str]) -> str:
    return "\n\n".join(part.strip("\n") for part in parts if part.strip())


def with_goal(context: Mapping[str, Any], graph: Graph) -> Mapping[str, Any]:
    """The context, with ``goal`` as a name of its own where no variable has it."""
    return context if "goal" in context else {**context, "goal": graph.goal}


def layers_of(node: Node, config: Config, places: LayerFolders) -> tuple[Layer, ...]:
    """The layers of a node in their order; missing ones are skipped. Raises ``ConfigError``."""
    return tuple(read_layer(kind, name, places) for kind, name in layer_names(node, config).items())


def _task(layer: Layer, context: Mapping[str, Any], *, placeholders: bool) -> str:
    from orchestra.agents.rendering import render

    try:
        return render(layer.content, context, layer.start, placeholders=placeholders)
    except ConfigError as error:
        where = f"task {layer.file or layer.name}"
        raise ConfigError(f"{where}: {error.message}", span=error.span, fix=error.fix) from error


def prompt_of(node: Node, context: Mapping[str, Any], *, placeholders: bool = False) -> str:
    """The prompt of a node with the values that it names; its label without one. Raises ``ConfigError``."""
    attribute = node.attributes.get("prompt")
    text = node.text("prompt")
    if attribute is None or not text:
        return node.label
    if "{{" not in text:
        return text
    from orchestra.agents.rendering import fill

    try:
        return fill(text, context, attribute.data, placeholders=placeholders)
    except ConfigError as error:
        raise ConfigError(
            f"the prompt of {node.id!r}: {error.message}", span=attribute.span, fix=error.fix
        ) from error


def needed_names(node: Node, layers: Sequence[Layer]) -> frozenset[str]:
    """Return the first words of all names that a node's prompt reads; ``context`` means all."""
    text, roots = node.text("prompt"), frozenset[str]()
    task = next((layer for layer in layers if layer.kind == "task"), None)
    if task is None and "{{" not in text:
        return roots
    from orchestra.agents.rendering import expressions, roots_of

    if task is not None:
        roots |= roots_of(task.content)
    return roots | {match[1].partition(".")[0].partition("[")[0] for match in expressions(text)}


def doc_folders(folder: Path) -> tuple[Path, ...]:
    """Return the folders from ``folder`` up to the root of its repository; without one, only itself."""
    folder = folder.absolute()
    around = (folder, *folder.parents)
    root = next((place for place in around if (place / ".git").exists()), folder)
    return around[: around.index(root) + 1]


def project_docs(folders: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The documents found, and their texts, together at most ``DOCS_SIZE`` bytes; the nearest first.

    A link that leads out of the outermost folder is not followed.
    """
    files: list[Path] = []
    texts: list[str] = []
    room = DOCS_SIZE
    for folder in dict.fromkeys(folders):
        file = next((folder / name for name in DOCS if _inside(folder / name, folders[-1])), None)
        if file is None or room <= 0:
            continue
        data = _start_of(file, room + 1)
        cut = len(data) > room
        text = data[:room].decode("utf-8", "ignore").strip()
        room -= len(data)
        if text:
            note = f"\n[cut: the documents are longer than {DOCS_SIZE // 1024} KiB]" if cut else ""
            texts.append(f"Instructions of the project, from {file.name}:\n\n{text}{note}")
            files.append(file)
    return tuple(files), tuple(texts)


def _inside(file: Path, root: Path) -> bool:
    try:
        return file.is_file() and file.resolve().is_relative_to(root.resolve())
    except OSError:
        return False


def _start_of(file: Path, size: int) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(size)
    except OSError:
        return b""
