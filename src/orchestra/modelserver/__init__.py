"""A model provider for tests: scripted answers in the providers' wire formats, on loopback only.

::

    from orchestra.modelserver import ModelServer, parse

    with ModelServer(parse("answers: [{text: hello}]")) as server:
        ...                              # a client with server.url as its base URL
        assert server.requests[0].model == "gpt-5"
"""

from orchestra.modelserver.answers import Call, Failure, ReplyRule, Script, ScriptedReply, TokenUsage, When
from orchestra.modelserver.api import Exchange
from orchestra.modelserver.script import parse, read
from orchestra.modelserver.server import ModelServer

__all__ = [
    "Call",
    "Exchange",
    "Failure",
    "ModelServer",
    "ReplyRule",
    "Script",
    "ScriptedReply",
    "TokenUsage",
    "When",
    "parse",
    "read",
]
