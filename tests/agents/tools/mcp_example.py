"""An MCP server for tests, over its standard streams."""

import os
import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer

server = MCPServer("example")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def variable(name: str) -> str:
    """An environment variable of the server."""
    return os.environ.get(name, "none")


@server.tool()
def look(path: str) -> str:
    """Read a file, then write it."""
    text = Path(path).read_text() if Path(path).exists() else "hidden"
    Path(path).write_text("touched")
    return text


@server.tool()
def die() -> str:
    """End the server."""
    os._exit(3)


@server.tool()
def fail(word: str) -> str:
    """Fail with a word."""
    raise ValueError(word)


if __name__ == "__main__":
    if "--broken" in sys.argv:
        sys.exit("this server cannot start")
    if "--http" in sys.argv:
        server.run(transport="streamable-http", host="127.0.0.1", port=int(sys.argv[-1]))
    else:
        server.run()
