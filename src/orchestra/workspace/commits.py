"""Commits: exactly what a turn or a node changed, and those that an agent made itself (W3, W4)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestra.errors import WorkspaceError
from orchestra.ports import CommitResult, NewCommit
from orchestra.workspace.durable import commits_synced, names_synced, now_ns
from orchestra.workspace.git import changes_of, failure, list_bytes, new_repositories, stage_all, unstage
from orchestra.workspace.worktrees import IDENTITY, Tree, move, rescue_before

SUBJECT = 72
"""Characters of a commit message's first line."""

INTENT = 2000
"""Characters of the intent that a message's body holds."""

SCANNED = 4 * 1024 * 1024
"""Bytes of a file in which secrets are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Whose commits they are, for the trailers."""

    session: str
    pipeline: str


async def commit(
    tree: Tree, wanted: NewCommit, by: By, files: Sequence[str] | None, nested: list[str]
) -> CommitResult | None:
    """Commit ``files`` (relative to the worktree), or all changes; None where nothing changed.

    Repositories inside the worktree are left out of all changes, and added to ``nested``.
    Raises ``WorkspaceError``, also for a secret in a file: the file stays as it is, and nothing is committed.
    """
    left_out: tuple[str, ...] = ()
    began = now_ns()
    if files is not None:
        left_out = await _stage_files(tree, files)
    else:
        without_commit, error = await stage_all(tree.git)
        if error:
            raise WorkspaceError(error)
        nested += without_commit
    write = None if wanted.message else wanted.write
    staged, patch = await _index_changes(tree, patch=write is not None)
    if files is None:
        if links := new_repositories(staged):
            nested += links
            await unstage(tree.git, links)
            staged = [each for each in staged if each[0] not in links]
        changed = [name for name, _mode in staged]
    else:
        known = set(files)
        changed = [name for name, _mode in staged if name in known]
    if not changed:
        return None
    await _without_secret(tree, changed, wanted)
    if write is not None:
        wanted = replace(wanted, message=await write(tree.name, patch_of(patch, changed)))
    message = message_of(wanted, by, changed)
    more = {**_author(wanted), "GIT_COMMITTER_NAME": "Orchestra", "GIT_COMMITTER_EMAIL": "orchestra@local"}
    options = ("commit", "--quiet", "--no-verify", "--cleanup=verbatim", "-m", message)
    if len(changed) < len(staged):
        only = list_bytes(changed)
        await tree.git.run(
            *options, "--only", "--pathspec-from-file=-", "--pathspec-file-nul", given=only, more=more
        )
    else:
        await tree.git.run(*options, more=more)
    await names_synced(tree.git, (f"refs/heads/{tree.branch}",), began)
    tree.tip = await tip_of(tree)
    return CommitResult(
        repo=tree.name,
        commit=tree.tip,
        subject=message.partition("\n")[0],
        files=tuple(changed),
        left_out=left_out,
    )


async def tip_of(tree: Tree) -> str:
    """The commit checked out now."""
    return tree.head()[1] or (await tree.git.run("rev-parse", "HEAD")).text


def _is_folder(place: Path) -> bool:
    return place.is_dir() and not place.is_symlink()


def _split_missing(folder: Path, files: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the files that exist, without folders, and the deleted ones."""
    there = [name for name in files if os.path.lexists(folder / name)]
    gone = [name for name in files if name not in there]
    return [name for name in there if not _is_folder(folder / name)], gone


async def _stage_files(tree: Tree, files: Sequence[str]) -> tuple[str, ...]:
    """Stage files, missing ones as deleted; return those that git ignores."""
    there, gone = _split_missing(tree.folder, files)
    if gone:
        await tree.git.run("update-index", "-z", "--remove", "--stdin", given=list_bytes(gone))
    if not there:
        return ()
    options = ("add", "--all", "--sparse", "--ignore-errors", "--pathspec-from-file=-", "--pathspec-file-nul")
    done = await tree.git.run(*options, given=list_bytes(there), check=False)
    if not done.code:
        return ()
    left_out = await _ignored_files(tree, there)
    if not left_out:
        raise WorkspaceError(failure(("add",), done))
    return left_out


async def _ignored_files(tree: Tree, files: Sequence[str]) -> tuple[str, ...]:
    """Those of some files that git ignores; a tracked file never is."""
    listed = b"".join(b"./" + os.fsencode(name) + b"\0" for name in files)
    plain = {"GIT_LITERAL_PATHSPECS": "0"}  # it refuses literal ones; ./ keeps a name from being a pattern
    done = await tree.git.run("check-ignore", "-z", "--stdin", given=listed, check=False, more=plain)
    if done.code > 1:
        raise WorkspaceError(f"git check-ignore failed: {done.err.strip()}")
    return tuple(item.removeprefix("./") for item in done.items)


async def _index_changes(tree: Tree, *, patch: bool) -> tuple[list[tuple[str, str]], str]:
    """Return paths that differ between index and commit, with the mode of new ones, else empty.

    And the difference as text where ``patch`` is set, from the same call.
    """
    more = ("-p", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/") if patch else ()
    done = await tree.git.run("diff-index", "--cached", "--raw", *more, "-z", "--no-renames", "HEAD")
    listed, _, text = done.out.partition(b"\0\0") if patch else (done.out, b"", b"")
    items = [os.fsdecode(item) for item in listed.split(b"\0") if item]
    return changes_of(items), text.decode("utf-8", "replace")


def patch_of(text: str, names: Sequence[str]) -> str:
    """The parts of a patch that are about these files."""
    parts = re.split(r"^(?=diff --git )", text, flags=re.MULTILINE)
    wanted = {f"diff --git a/{name} b/{name}" for name in names}
    return "".join(part for part in parts if part.partition("\n")[0] in wanted)


async def _without_secret(tree: Tree, changed: list[str], wanted: NewCommit) -> None:
    """Take files with a secret back out of the index, and raise ``WorkspaceError`` (S18)."""
    try:
        _no_secret(tree.folder, changed, wanted)
    except WorkspaceError:
        await unstage(tree.git, changed)
        raise


def _no_secret(folder: Path, files: Sequence[str], wanted: NewCommit) -> None:
    """Raise ``WorkspaceError`` for a file that holds a secret (S18)."""
    if wanted.secret is None:
        return
    for name in files:
        file = folder / name
        try:
            if file.is_symlink() or not file.is_file():
                continue
            with file.open("rb") as opened:
                text = opened.read(SCANNED).decode("utf-8", "replace")
        except OSError:
            continue
        secret, line = wanted.secret(text)
        if secret:
            raise WorkspaceError(
                f"secret in {name}:{line} ({secret}): it is not committed; take it out of the file"
            )


def message_of(wanted: NewCommit, by: By, files: Sequence[str]) -> str:
    """The commit message: as given, else by the template, with the trailers that lead back to the turn."""
    text = _clean_message(wanted.message) or _template(wanted, files)
    return f"{text}\n\n{trailers_for(wanted, by)}\n"


def _clean_message(message: str) -> str:
    lines = [line.rstrip() for line in message.strip().splitlines()]
    if not lines:
        return ""
    subject, body = lines[0], "\n".join(lines[1:]).strip()
    if len(subject) > SUBJECT:
        body = f"{subject}\n\n{body}".strip()
        subject = _cut(subject, SUBJECT)
    return f"{subject}\n\n{body}" if body else subject


def _template(wanted: NewCommit, files: Sequence[str]) -> str:
    first = next((line.strip() for line in wanted.intent.splitlines() if line.strip()), "")
    what = first or (f"change {files[0]}" if len(files) == 1 else f"change {len(files)} files")
    subject = _cut(f"{wanted.node}: {_clean(what)}", SUBJECT)
    listed = [f"- {name}" for name in files[:20]] + ([f"- and {len(files) - 20} more"] if len(files) > 20 else [])
    intent = wanted.intent.strip()[:INTENT]
    body = [intent] if intent and _clean(intent) != _clean(what) else []
    if len(_clean(what)) + len(wanted.node) + 2 > SUBJECT and not body:
        body = [_clean(what)]
    return "\n\n".join([subject, *body, "\n".join(listed)])


def trailers_of(by: By) -> str:
    """The trailers of a commit that belongs to no node."""
    return f"Orchestra-Pipeline: {_clean(by.pipeline)}\nOrchestra-Session: {by.session}"


def trailers_for(wanted: NewCommit, by: By) -> str:
    """The trailers that lead from a commit back to its turn (W3)."""
    pairs = {
        "Model": wanted.model,
        "Provider": wanted.provider,
        "Node": wanted.node,
        "Pipeline": by.pipeline,
        "Session": by.session,
        "Turn": wanted.turn,
    }
    return "\n".join(f"Orchestra-{name}: {_clean(value)}" for name, value in pairs.items() if value)


def _author(wanted: NewCommit) -> dict[str, str]:
    name = re.sub(r"[<>\n\0]", " ", f"{wanted.node} ({wanted.model or wanted.by})").strip()
    return {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": "orchestra@local"}


def _clean(text: str) -> str:
    return " ".join(text.replace("\0", " ").split())


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


NOTES = "refs/notes/orchestra"
"""The notes with the trailers of commits that an agent made itself."""

MOST = 50
"""Commits of an agent that are recorded one by one."""


@dataclass(slots=True, kw_only=True)
class FoundCommits:
    """Commits that the agent or an interrupted run of this turn made, and remarks for the user."""

    own: list[CommitResult] = field(default_factory=list)
    adopted: CommitResult | None = None
    remarks: list[str] = field(default_factory=list)


async def restore_branch(tree: Tree, wanted: NewCommit, by: By) -> FoundCommits:
    """Bring a worktree back to its branch, with the commits that belong there; nothing is lost.

    Costs no git process where nothing moved. Afterwards ``tree.tip`` is the branch's tip. Files stay as they are.
    """
    found = FoundCommits()
    branch, tip = tree.head()
    if branch == tree.branch and tip == tree.tip:
        return found
    tip = tip or await tip_of(tree)
    if branch == tree.branch and await tree.git.ok("merge-base", "--is-ancestor", tree.tip, tip):
        await _commits(tree, tip, wanted, by, found)
        await commits_synced(tree.git, tree.tip, tip, f"refs/heads/{tree.branch}")
        tree.tip = tip
        return found
    await _put_back(tree, branch, tip, by, found)
    return found


async def _commits(tree: Tree, tip: str, wanted: NewCommit, by: By, found: FoundCommits) -> None:
    """Read the commits since the recorded one, and note on those of the agent where they come from."""
    shown = "%H%x00%s%x00%(trailers:key=Orchestra-Turn,valueonly,separator=%x2C)%x00"
    done = await tree.git.run(
        "log", "--reverse", "--first-parent", f"-{MOST}", f"--format={shown}", f"{tree.tip}..{tip}"
    )
    fields = os.fsdecode(done.out).split("\0")
    for commit, subject, turn in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
        name = commit.strip()
        flags = ("-r", "-z", "--root", "--no-commit-id", "--name-only", "--diff-merges=first-parent")
        listed = await tree.git.run("diff-tree", *flags, name)
        made = CommitResult(repo=tree.name, commit=name, subject=subject, files=tuple(listed.items))
        if turn == wanted.turn:
            found.adopted = made
            continue
        await tree.git.run(
            "notes", f"--ref={NOTES}", "add", "-f", "-m", trailers_for(wanted, by), name, more=IDENTITY, check=False
        )
        found.own.append(made)


async def _put_back(tree: Tree, branch: str, tip: str, by: By, found: FoundCommits) -> None:
    """Put HEAD and the branch back where the record has them; commits that would be lost are rescued."""
    found.remarks += await rescue_before(tree, tree.tip, by.session, branch, tip)
    where = branch if branch != tree.branch else "another commit"
    found.remarks.insert(0, f"HEAD was moved to {where or 'a detached commit'}; it is back on {tree.branch}")
    await move(tree, tree.tip, branch, "--mixed")
