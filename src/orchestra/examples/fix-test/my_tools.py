"""A tool of this project's own."""

from pathlib import Path

from orchestra.agents.tools import ToolContext
from orchestra.agents.tools.custom import tool


@tool("count-lines", read_only=True)
def count_lines(path: str, context: ToolContext) -> int:
    """Count the lines of a file.

    Args:
        path: Path in the working folder.
    """
    file = (context.folder("") / path).resolve()
    if not file.is_relative_to(Path(context.folder("")).resolve()):
        raise ValueError("outside the working folder")
    return len(file.read_text(encoding="utf-8").splitlines())
