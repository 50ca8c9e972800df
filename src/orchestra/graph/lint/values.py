"""Rules about the values that prompts and commands name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestra.errors import Diagnostic
from orchestra.graph.attributes import nearest
from orchestra.graph.lint.survey import Survey, quoted, warning
from orchestra.graph.places import inside, rewritten

_OF_NODE = re.compile(
    r"\{\{\s*(?:context\.)?(tools|responses)\.([A-Za-z_]\w*)[\w.\[\]-]*\s*(?:\|\s*raw\s*)?\}\}", re.ASCII
)


def value_of_node(survey: Survey) -> Iterator[Diagnostic]:
    """``{{ tools.NODE.output }}`` and ``{{ responses.NODE }}`` name a node of the pipeline."""
    for key in ("prompt", "tool_command"):
        for node, attribute in survey.written_on_nodes(key):
            text = str(attribute.value)
            for match in _OF_NODE.finditer(text):
                if match[2] in survey.graph.nodes:
                    continue
                near = nearest(match[2], survey.graph.nodes)
                yield warning(
                    "value_of_node",
                    f"{quoted(f'{match[1]}.{match[2]}')} names no node of this pipeline: it will have no value",
                    inside(attribute.span, match.start(2), match.end(2)),
                    node=node.id,
                    fix=f"did you mean {near!r}?" if near else "name a node of this pipeline",
                    edits=(rewritten(attribute.span, match.start(2), match.end(2), near),) if near else (),
                )
