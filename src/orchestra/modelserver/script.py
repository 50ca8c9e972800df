"""A model server's script from YAML, strict: every fault with its place."""

from __future__ import annotations

from pathlib import Path

from orchestra.config import schema
from orchestra.errors import ConfigError, Source, Span
from orchestra.modelserver.answers import ReplyRule, Script, ScriptFile


def read(file: Path) -> Script:
    """The script in a file. Raises ``ConfigError``."""
    try:
        return parse(Source(str(file), file.read_text(encoding="utf-8-sig")))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"cannot read the script {file}: {error.strerror or error}") from error


def parse(source: Source | str) -> Script:
    """The script in a text. Raises ``ConfigError``.

    ::

        rules:
          - when: {model: "claude-*", contains: "review"}
            answers:
              - tool_calls: [{name: read-file, arguments: {path: a.txt}}]
              - text: "looks good"
        answers:
          - error: rate_limit
          - {text: hello, usage: {input: 100, output: 5}}
    """
    if isinstance(source, str):
        source = Source("script", source)
    given = schema.read(source, schema.Section(ScriptFile))
    rules = given.rules
    if given.answers:
        rules = (*rules, ReplyRule(answers=given.answers, repeat=given.repeat))
    if not rules:
        raise ConfigError(
            "a model server's script needs 'answers:' or 'rules:'",
            span=Span(source, 0, 1),
            fix='write it as answers: [{text: "…"}]',
        )
    return Script(rules=rules, strict=given.strict)
