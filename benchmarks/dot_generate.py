"""Write a large pipeline, the same one for the same size, that Graphviz reads too.

    python benchmarks/dot_generate.py 10000 > big.dot
    python benchmarks/dot_generate.py --flat 10000 > flat.dot

About 220 bytes per node: defaults, subgraphs, chains, quoted keys, prompts of several lines.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

GROUP = 20
"""Nodes in one subgraph."""

_PROMPT = (
    "Implement step {n} of the plan for $goal.\n"
    'Keep the public names, \\"quote\\" what you change,\n'
    "and run the tests."
)


def generate(nodes: int) -> str:
    """A pipeline with this many nodes between its start and its exit."""
    return "\n".join([*_head(), *_groups(nodes), *_tail(nodes), "}", ""])


def _head() -> Iterator[str]:
    yield "// a generated pipeline"
    yield "digraph big {"
    yield '    graph [goal="Port the parser", rankdir=LR]'
    yield "    default_max_retries = 2"
    yield '    node [shape=box, timeout="900s"]'
    yield "    start [shape=Mdiamond]"
    yield "    exit [shape=Msquare]"


def _groups(nodes: int) -> Iterator[str]:
    for first in range(0, nodes, GROUP):
        members = range(first, min(first + GROUP, nodes))
        yield f"    subgraph cluster_{first // GROUP} {{"
        yield f'        label = "Loop {first // GROUP}"'
        yield "        node [max_retries=3]"
        for n in members:
            yield f'        n{n} [label="Step {n}", prompt="{_PROMPT.format(n=n)}"{_extra(n)}]'
        yield f"        {' -> '.join(f'n{n}' for n in members)}"
        yield "    }"


def _extra(n: int) -> str:
    """Every few nodes something more: a gate, a class, a dotted key."""
    if n % 7 == 0:
        return ", goal_gate=true, retry_target=start"
    if n % 5 == 0:
        return ', "agent.role"="engineer", class="fast,cheap"'
    return ""


def _tail(nodes: int) -> Iterator[str]:
    """Edges between the groups: on success onwards, on failure back to where the group began."""
    yield "    start -> n0"
    for last in range(GROUP - 1, nodes - 1, GROUP):
        yield f'    n{last} -> n{last + 1} [condition="outcome=success", label="next"]'
        yield f'    n{last} -> n{last - GROUP + 1} [condition="outcome!=success", weight=2]'
    yield f"    n{nodes - 1} -> exit"


def flat(nodes: int) -> str:
    """The same size without subgraphs, every attribute and edge written out: what Graphviz reads fastest."""
    each = [
        f'    n{n} [label="Step {n}", shape=box, max_retries=3, timeout="900s", prompt="{_PROMPT.format(n=n)}"]'
        for n in range(nodes)
    ]
    ways = [f'    n{n} -> n{n + 1} [condition="outcome=success", weight=2]' for n in range(nodes - 1)]
    ends = [
        "    start [shape=Mdiamond]",
        "    exit [shape=Msquare]",
        "    start -> n0",
        f"    n{nodes - 1} -> exit",
    ]
    return "\n".join(["digraph flat {", *each, *ends, *ways, "}", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a large pipeline to the standard output.")
    parser.add_argument("nodes", type=int, nargs="?", default=10_000)
    parser.add_argument("--flat", action="store_true", help="no subgraphs, defaults or chains")
    given = parser.parse_args()
    sys.stdout.write(flat(given.nodes) if given.flat else generate(given.nodes))


if __name__ == "__main__":
    main()
