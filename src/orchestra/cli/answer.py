"""``orchestra answer`` and ``inbox``: the questions that people have to answer (H7)."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Config, NoInput, Session, Store


def answer(
    session: Session,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[QUESTION] [VALUE]",
            help="The answer: a key, a label, the beginning of one label, a number, or words. With several open"
            " questions, the question's id or node before it. Without a value you are asked here.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str,
        typer.Option("--text", metavar="TEXT", help="Words to go with the answer, or alone.", show_default=False),
    ] = "",
    skip: Annotated[bool, typer.Option("--skip", help="Skip the question: its node fails.")] = False,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question of a session, from any terminal or machine that can reach the store.

    The first answer counts; a later one is refused and shows the first.

    Exit codes: 0: the answer counts; 1: already answered, or no open question; 2: not an answer to it, or
    several questions are open.
    """
    from orchestra.cli._answer import Given, answer_session

    given = list(words or ())
    if len(given) > 2:
        raise typer.BadParameter("put the answer in quotes: it is one argument")
    raise typer.Exit(
        answer_session(
            session, Given(words=tuple(given), text=text, skip=skip), store=store, config=config, as_json=as_json
        )
    )


def inbox(
    watch: Annotated[bool, typer.Option("--watch", help="Show new questions as they are asked.")] = False,
    no_input: NoInput = False,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the open questions of all sessions; on a terminal, answer them one by one.

    Exit codes: 0: also if there are no questions.
    """
    from orchestra.cli._inbox import show_inbox

    raise typer.Exit(show_inbox(watch=watch, ask=not no_input, store=store, config=config, as_json=as_json))
