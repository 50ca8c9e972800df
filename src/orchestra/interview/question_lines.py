"""A question as lines of a terminal: the text to decide on, the question, its choices (H4, H9)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestra.graph.report import paint, plural, safe, wrap
from orchestra.run.codec import preview_of
from orchestra.run.questions import (
    FREEFORM_TARGET,
    Option,
    Question,
    limit_in_words,
    numbers_pick,
    offered_options,
    takes_commands,
)

SHOWN_LINES = 12
"""Lines shown at once of the text to decide on; the pager shows all of it."""


def question_lines(question: Question, width: int, colour: bool) -> Iterator[str]:
    """Yield the question as lines of a terminal: the text to decide on, the question, the choices."""
    yield ""
    if takes_commands(question):
        yield from _exchange(question, width, colour)
        return
    yield from _about(question, width, colour)
    first, *rest = wrap("? ", safe(question.text), width, "  ")
    yield paint(first, "1;36", colour)
    yield from (paint(line, "1;36", colour) for line in rest)
    for number, option in enumerate(offered_options(question), 1):
        place = f"{number} " if numbers_pick(question) else ""
        yield from wrap(f"  {place}[{safe(option.key)}] ", _describe(option), width, "        ")
    if question.freeform:
        target = str(question.metadata.get(FREEFORM_TARGET, ""))
        lead = "or write" if offered_options(question) else "write"
        words = f"{lead} what you want to say{f' → {safe(target)}' if target else ''} (? for help)"
        yield from wrap("  ", words, width, "  ")
    if question.timeout_ms:
        yield from wrap("  ", safe(limit_in_words(question)), width, "  ")


def _exchange(question: Question, width: int, colour: bool) -> Iterator[str]:
    """Show an agent's words, how to end the conversation, and what was said in another process."""
    for words, reply in question.earlier:
        yield from render_markdown(words, width, colour)
        yield ""
        for line in reply.splitlines():
            yield from wrap("> ", safe(line), width, "  ")
        yield ""
    yield from render_markdown(str(question.about), width, colour)
    yield ""
    words = (
        f"{question.text}: write your answer; {', '.join(option.key for option in question.options)} end it, /help"
    )
    yield from (paint(line, "90", colour) for line in wrap("", words, width, ""))


def _describe(option: Option) -> str:
    target = f" → {option.target}" if option.target and option.target.lower() != option.label.lower() else ""
    return safe(f"{option.label}{target}")


DIFF = re.compile(r"^```diff\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""A diff in the text to decide on."""


def decision_text(question: Question) -> str:
    """Return the text to decide on."""
    return preview_of(question.about) if not isinstance(question.about, str) else question.about


def _summary(found: re.Match[str]) -> str:
    """What is shown of the diff of a repository: which files are changed, and by how much."""
    files, patch, _rest = found[1].partition("diff --git ")
    summary = files.strip("\n")
    return f"```\n{summary}\n```\n\n`d` shows the diff\n" if patch and summary else found[0]


def _about(question: Question, width: int, colour: bool) -> Iterator[str]:
    text = DIFF.sub(_summary, decision_text(question))
    if not text.strip():
        return
    rendered = render_markdown(text, max(width - 4, 20), colour)
    lines = [line for before, line in zip(["", *rendered], rendered, strict=False) if line or before]
    for line in lines[:SHOWN_LINES]:
        yield f"  {paint('|', '90', colour)} {line}".rstrip()
    if len(lines) > SHOWN_LINES:
        more = plural(len(lines) - SHOWN_LINES, "more line")
        yield f"  {paint('|', '90', colour)} … {more}: /view"


def render_markdown(text: str, width: int, colour: bool) -> list[str]:
    """Markdown as lines of a terminal."""
    from rich.console import Console as Rich
    from rich.markdown import Markdown

    plain = "\n".join(safe(line.replace("\t", "    ")) for line in text.splitlines())
    console = Rich(width=width, color_system="standard" if colour else None, force_terminal=colour, highlight=False)
    with console.capture() as captured:
        console.print(Markdown(_left_align(plain), hyperlinks=False))
    return [line.rstrip() for line in captured.get().rstrip().splitlines()]


def _left_align(markdown: str) -> str:
    """Return the text with its headings as bold lines, which are easier to find than centered ones."""
    lines, code = [], False
    for line in markdown.splitlines():
        code ^= line.lstrip().startswith(("```", "~~~"))
        heading = None if code else re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        lines += [line] if heading is None else ["", f"**{heading[1]}**", ""]
    return "\n".join(lines)


def help_lines(question: Question, width: int) -> Iterator[str]:
    """Yield what can be typed at a question."""
    if takes_commands(question):
        yield from wrap("  ", "/done ends the conversation, /approve too; /reject WHY fails the node", width, "  ")
    elif question.options:
        yield from wrap("  ", "type a key, a label, the beginning of one label, or a number", width, "  ")
    if question.about:
        yield from wrap("  ", "/view shows the whole text to decide on", width, "  ")
    if DIFF.search(decision_text(question)):
        yield from wrap("  ", "/diff shows the changes; so does d, unless it is a choice", width, "  ")
    if question.freeform:
        yield from wrap("  ", "/edit opens $EDITOR; Alt-Enter begins a new line", width, "  ")
    left = "ends the conversation" if takes_commands(question) else "leaves the question open for later"
    yield from wrap("  ", f"Ctrl-C pauses the run, Ctrl-D {left}", width, "  ")
