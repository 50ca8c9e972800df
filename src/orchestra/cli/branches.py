"""``orchestra merge``, ``discard``, ``cleanup``, ``compare`` and ``pr``: the branches that runs left."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Config, Session, Store


def merge(
    session: Session,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Merge a session's branch into the branch that is checked out in its repository.

    Refused, with nothing changed, for a checkout with uncommitted changes and for conflicts.
    """
    from orchestra.cli._branches import merge_session

    raise typer.Exit(merge_session(session, store=store, config=config, as_json=as_json))


def discard(
    session: Session,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Remove a session's branches and worktrees; they can be brought back for 14 days."""
    from orchestra.cli._branches import discard_session

    raise typer.Exit(discard_session(session, store=store, config=config, as_json=as_json))


def cleanup(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="Only sessions that ended so long ago: 7d, 12h, 0.")
    ] = "7d",
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove; without it, only list what would be removed.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also remove branches that are merged nowhere.")] = False,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the branches and worktrees of ended sessions, and remove them with --yes.

    What is running, paused, waiting, unmerged or uncommitted stays, each with its reason. What was removed can be
    brought back for 14 days.
    """
    from orchestra.cli._cleanup import clean_up

    raise typer.Exit(clean_up(older_than, yes=yes, force=force, store=store, config=config, as_json=as_json))


def compare(
    first: Session,
    second: Session,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Compare two sessions: outcome, nodes, cost, and how their code differs."""
    from orchestra.cli._compare import compare_sessions

    raise typer.Exit(compare_sessions(first, second, store=store, config=config, as_json=as_json))


def pr(
    session: Session,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the text; push nothing and create nothing.")
    ] = False,
    store: Store = None,
    config: Config = None,
) -> None:
    """Push a session's branch and open a pull request with gh, or print its title and text.

    The text is made from the record: goal, nodes, verdicts, cost.
    """
    from orchestra.cli._pr import pull_request

    raise typer.Exit(pull_request(session, dry_run=dry_run, store=store, config=config))
