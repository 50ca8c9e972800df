"""Commit messages by a model: recorded before the commit, charged to the node (W3)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from orchestra.engine.journal import Journal
from orchestra.errors import BackendError
from orchestra.ports import MessageWriter, WrittenMessage
from orchestra.run.events import CommitMessageWritten, WarningRaised
from orchestra.run.secrets import clean


async def message_for(
    journal: Journal,
    writer: MessageWriter,
    paid: Callable[[CommitMessageWritten], None],
    *,
    node: str,
    repo: str,
    intent: str,
    diff: str,
) -> str:
    """Return the recorded message of a change, else one that the model writes now.

    ``paid`` records it as the node's expense. Where the model fails, the text is empty and a Warning says why: the
    commit gets its message from the template.
    """
    key = hashlib.sha256(f"{repo}\0{node}\0{diff}".encode("utf-8", "replace")).hexdigest()[:32]
    known = journal.state.stage
    if known is not None and known.message_for == key:
        return known.message
    try:
        written = await writer(intent, journal.redactor.text(diff))
    except BackendError as error:
        message = f"no commit message from the model, so the template is used: {error}"
        journal.record(WarningRaised(message=message, rule="commit_message", node=node))
        return ""
    if written is None:
        return ""
    text = journal.redactor.text(clean(written.text))
    paid(_event(node, repo, key, text, written))
    await journal.flush()
    return text


def _event(node: str, repo: str, key: str, text: str, written: WrittenMessage) -> CommitMessageWritten:
    return CommitMessageWritten(
        repo=repo,
        node=node,
        text=text,
        change=key,
        model=written.model,
        provider=written.provider,
        tokens_in=written.tokens_in,
        tokens_out=written.tokens_out,
        cost_micros=written.cost_micros,
        unpriced=written.unpriced,
        duration_ms=written.duration_ms,
    )
