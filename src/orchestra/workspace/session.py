"""The workspace of a session: the worktrees of its repositories, and those of its parallel branches."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestra.config.environment import ignore_own
from orchestra.config.workspace import WorkspaceSettings
from orchestra.errors import WorkspaceError
from orchestra.ports import CommitResult, MergeResult, MessageWriter, NewCommit
from orchestra.run.events import (
    AgentCommitCreated,
    Event,
    SessionBranchCreated,
    WarningRaised,
    WorkspaceSnapshot,
    WorktreeCreated,
    WorktreeMergeConflict,
    WorktreeMerged,
)
from orchestra.run.outcome import Json
from orchestra.run.state import RepoRecord
from orchestra.run.workspace import branch_name
from orchestra.workspace import commits, merging, remote, repos, worktrees
from orchestra.workspace.cleanup import process_in
from orchestra.workspace.remote import Pusher
from orchestra.workspace.repos import Repo
from orchestra.workspace.worktrees import Tree

FILES_SHOWN = 100
"""Files that an event names of a commit."""

Record = Callable[[Event], None]
Settle = Callable[[], Awaitable[None]]
Shell = Callable[[str, Path], Awaitable[tuple[int, str]]]
"""Runs a command in a folder; its exit code, and the end of what it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitWorkspaces:
    """Makes workspaces from the repositories of the settings, which were found and checked (``prepared``)."""

    settings: WorkspaceSettings
    repos: tuple[Repo, ...]
    shell: Shell
    facts: tuple[Event, ...] = ()
    """What was cloned and fetched before the session existed."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    pusher: Pusher = field(default_factory=Pusher)
    writer: MessageWriter | None = None
    missing: set[tuple[str, str]] = field(default_factory=set)
    """What a repository lacks of the files to bring along, as far as a warning said so."""
    nested: set[tuple[str, str]] = field(default_factory=set)
    """Worktrees and the repositories inside that a warning named."""

    async def open(
        self,
        *,
        session: str,
        pipeline: str,
        known: Mapping[str, RepoRecord],
        keep: bool,
        held: Sequence[str] = (),
        record: Record,
        settle: Settle,
    ) -> GitWorkspace:
        """The workspace of a session, as the port says."""
        for fact in self.facts:
            record(fact)
        fresh = {
            repo.name: branch_name(repo.settings.branch_prefix, pipeline, session)
            for repo in self.repos
            if repo.name not in known or known[repo.name].owner != session
        }
        at = {repo.name: await self._announce(repo, session, fresh, known, record) for repo in self.repos}
        await settle()
        ignore_own(self.settings.home)
        workspace = GitWorkspace(
            maker=self, session=session, pipeline=pipeline, record=record, trees={}, path="", session_path=session
        )
        for repo in self.repos:
            await workspace.place(repo, at[repo.name], keep=keep, held=held)
        await settle()
        return workspace

    async def _announce(
        self, repo: Repo, session: str, fresh: Mapping[str, str], known: Mapping[str, RepoRecord], record: Record
    ) -> RepoRecord:
        """What the chain knows of a repository, once it is recorded that its branch will be made."""
        if repo.name not in fresh:
            return known[repo.name]
        branch = fresh[repo.name]
        await repos.branch_possible(repo, branch)
        before = known.get(repo.name)
        made = RepoRecord(
            branch=branch,
            base=before.base or before.commit if before is not None else repo.commit,
            commit=before.commit if before is not None else repo.commit,
            base_branch=before.base_branch if before is not None else repo.checked_out,
            owner=session,
            path=str(repo.settings.path),
        )
        record(
            SessionBranchCreated(
                repo=repo.name,
                branch=made.branch,
                base=made.base,
                commit=made.commit if made.commit != made.base else "",
                base_branch=made.base_branch,
                path=made.path,
                owner=session,
            )
        )
        if repo.changes and before is None:
            many = f"{repo.changes} uncommitted change{'s' * (repo.changes > 1)}"
            record(warning(f"{many} in {repo.settings.path} not included: the run starts from the last commit"))
        return made


def warning(message: str) -> WarningRaised:
    """A remark about the workspace that stops nothing."""
    return WarningRaised(message=message, rule="workspace")


@dataclass(slots=True, kw_only=True)
class GitWorkspace:
    """The worktrees of one walk. ``path`` is that of its parallel branch, empty for the main walk."""

    maker: GitWorkspaces
    session: str
    pipeline: str
    record: Record
    trees: dict[str, Tree]
    path: str
    session_path: str
    chain: dict[str, str] = field(default_factory=dict)
    """Per repository the commit that this walk's chain knows."""
    bases: dict[str, str] = field(default_factory=dict)
    """Per repository the branch that was checked out when the session began."""
    starts: dict[str, str] = field(default_factory=dict)
    """Per repository the commit at which the session began."""
    left: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Per repository the branches that were left unmerged when the session ended before."""
    completed: bool = False
    lent: bool = False
    """It belongs to the session of a parent."""

    @property
    def repos(self) -> tuple[str, ...]:
        """The names of the repositories."""
        return tuple(self.trees)

    @property
    def writer(self) -> MessageWriter | None:
        """Who writes the messages of its commits."""
        return self.maker.writer

    def folder(self, repo: str = "") -> Path:
        """The worktree of a repository; of the first without a name."""
        name = repo or next(iter(self.trees))
        if name not in self.trees:
            raise WorkspaceError(f"no repository {name!r} in the workspace; it has: {', '.join(self.trees)}")
        return self.trees[name].folder

    async def place(self, repo: Repo, known: RepoRecord, *, keep: bool, held: Sequence[str]) -> None:
        """Make a worktree, or bring an existing one to the recorded commit."""
        folder = Path(known.folder) if known.folder and known.owner == self.session else self._folder(repo)
        if not folder.parent.is_relative_to(self.maker.settings.home) and not repo.settings.in_place:
            folder = self._folder(repo)  # the project has moved
        await self._fetch(repo, known)
        async with self.maker.lock:
            tree, made = await worktrees.place_worktree(
                repo,
                folder=folder,
                branch=known.branch,
                commit=known.commit,
                home=self.maker.settings.home,
                tell=lambda words: self.record(warning(f"{repo.name}: {words}")),
            )
        kept = keep and not made
        for words in await worktrees.put_back(tree, known.commit, self.session, keep=kept, held=held):
            self.record(warning(f"{repo.name}: {words}"))
        self.trees[repo.name] = tree
        self.chain[repo.name] = tree.tip
        self.bases[repo.name] = known.base_branch
        self.starts[repo.name] = known.base
        self.left[repo.name] = known.left or known.unmerged
        if made or str(tree.folder) != known.folder:
            self.record(
                WorktreeCreated(
                    repo=repo.name,
                    branch=tree.branch,
                    folder=str(tree.folder),
                    path=str(repo.settings.path),
                    commit=tree.tip,
                )
            )
        await self._usable(tree, made)

    async def _fetch(self, repo: Repo, known: RepoRecord) -> None:
        """Fetch the recorded commit where it is missing, and the history back to where the session began."""
        url = repo.settings.remote
        if not url:
            return
        await remote.fetch_commit(repo.git, url, known.branch, known.commit)
        if known.base and known.base != known.commit:
            try:
                await remote.deepen(
                    repo.git, url, lambda: repo.git.ok("merge-base", "--is-ancestor", known.base, known.commit)
                )
            except WorkspaceError as error:
                self.record(warning(f"{repo.name}: the history of the session is not all here: {error}"))

    def _folder(self, repo: Repo) -> Path:
        if repo.settings.in_place and not self.path and repo.checkout is not None:
            return repo.checkout
        return self.maker.settings.home / "worktrees" / self.session_path / repo.name

    async def _usable(self, tree: Tree, made: bool) -> None:
        """Bring ignored files along and run the repository's setup, once per state of its key files (W1)."""
        if tree.git.git_dir == tree.repo.git.git_dir:
            return
        for name in worktrees.bring_along(tree) if made else ():
            if (tree.name, name) not in self.maker.missing:  # once for all worktrees of a run
                self.maker.missing.add((tree.name, name))
                self.record(
                    warning(f"{tree.name}: {name} is not in {tree.repo.settings.path}, so it was not brought along")
                )
        mark = tree.git.git_dir / "orchestra-setup"
        key = worktrees.setup_key(tree)
        if tree.repo.settings.setup and worktrees.text_of(mark) != key:
            code, said = await self.maker.shell(tree.repo.settings.setup, tree.folder)
            if code:
                command = " ".join(tree.repo.settings.setup.split())[:200]
                output = f": {said.strip()[-500:]}" if said.strip() else " and wrote nothing"
                raise WorkspaceError(f"the setup of {tree.name}, `{command}`, failed with exit code {code}{output}")
            mark.write_text(key)

    async def commit(self, wanted: NewCommit) -> tuple[CommitResult, ...]:
        """Commit files, or all changes, per repository that has any."""
        by = commits.By(session=self.session, pipeline=self.pipeline)
        named = None if wanted.files is None else self._by_repo(wanted.files)
        made = []
        wanted = replace(wanted, turn=f"{self.path}/{wanted.turn}" if self.path else wanted.turn)
        for tree in self.trees.values():
            if named is not None and tree.name not in named:
                continue
            before = await commits.restore_branch(tree, wanted, by)
            for words in before.remarks:
                self.record(warning(f"{tree.name}: {words}"))
            for own in before.own:
                self._commit(tree, wanted, own, own=True)
            done = before.adopted
            if done is None:
                nested: list[str] = []
                done = await commits.commit(tree, wanted, by, None if named is None else named[tree.name], nested)
                self._warn_of_nested(tree, nested)
            if done is not None:
                made.append(done)
                self._commit(tree, wanted, done)
        return tuple(made)

    def _warn_of_nested(self, tree: Tree, nested: Sequence[str]) -> None:
        for name in nested:
            if (str(tree.folder), name) not in self.maker.nested:  # once, not at the end of each node
                self.maker.nested.add((str(tree.folder), name))
                self.record(
                    warning(
                        f"{tree.name}: {name} is a repository of its own, so no commit has its files;"
                        f" they stay in {tree.folder}"
                    )
                )

    async def changes(self) -> str:
        """What was changed so far, per repository as a diff."""
        parts = []
        for tree in self.trees.values():
            start = self.starts.get(tree.name, "")
            if start and start != tree.tip:
                parts.append(await merging.markdown_diff(tree, start))
        return "\n\n".join(parts)

    async def push_in_background(self) -> None:
        """Push what is pushed on checkpoints, until cancelled."""
        await self.maker.pusher.run()

    async def finish(self, *, completed: bool) -> None:
        """Record what is left unmerged, and push what the remotes lack; a child's branch is its parent's."""
        if not self.lent:
            self.completed = completed
            await self._record_left()
            for tree in self.trees.values():
                if tree.tip != tree.repo.commit:
                    self.maker.pusher.want(tree, self.record)
            await self.maker.pusher.finish(self.record, completed=completed)

    async def _record_left(self) -> None:
        """Record which parallel branches have commits that the session branch lacks: none is forgotten."""
        found: dict[str, Json] = {}
        for tree in self.trees.values():
            listed = await tree.git.run(
                "for-each-ref",
                f"--no-merged={tree.tip}",
                "--format=%(refname)",
                f"refs/heads/{tree.branch}@*",
                check=False,
            )
            names: list[Json] = [ref.removeprefix("refs/heads/") for ref in listed.text.split("\n") if ref]
            if names or self.left.get(tree.name):
                found[tree.name] = {"commit": tree.tip, "branch": tree.branch, "left": names}
        if found:
            self.record(WorkspaceSnapshot(repos=found, reason="branches that are not merged"))

    async def close(self) -> None:
        """Put checkouts that were used directly back on their branches, unless something is uncommitted.

        The worktree of a completed session that changed nothing is removed (W11).
        """
        for tree in () if self.lent else self.trees.values():
            if tree.git.git_dir == tree.repo.git.git_dir:
                await worktrees.restore_checkout(tree, self.bases.get(tree.name, ""))
            elif self.completed and tree.tip == self.starts.get(tree.name) and not process_in(tree.folder):
                with contextlib.suppress(WorkspaceError):
                    await worktrees.remove_untouched(tree)

    def _commit(self, tree: Tree, wanted: NewCommit, done: CommitResult, *, own: bool = False) -> None:
        self.chain[done.repo] = done.commit
        self.maker.pusher.want(tree, self.record)
        self.record(
            AgentCommitCreated(
                repo=done.repo,
                branch=tree.branch,
                commit=done.commit,
                node=wanted.node,
                origin=wanted.turn,
                message=done.subject,
                files=done.files[:FILES_SHOWN],
                left_out=done.left_out,
                own=own,
                changed=len(done.files),
            )
        )

    def _by_repo(self, files: Sequence[str]) -> dict[str, list[str]]:
        """Paths by the repository whose worktree holds them, relative to it; others are no repository's."""
        first = next(iter(self.trees.values())).folder
        found: dict[str, list[str]] = {}
        for name in dict.fromkeys(files):
            repo, colon, path = name.partition(":")
            qualified = colon and repo in self.trees
            named = Path(os.path.normpath(self.trees[repo].folder / path if qualified else first / name))
            whole = Path(os.path.realpath(named.parent)) / named.name
            for tree in self.trees.values():
                with contextlib.suppress(ValueError):
                    relative = whole.relative_to(os.path.realpath(tree.folder))
                    if relative.parts and relative.parts[0] != ".git":
                        found.setdefault(tree.name, []).append(str(relative))
                    break
        return found

    async def snapshot(self, reason: str = "") -> Mapping[str, RepoRecord]:
        """Return each repository's commit; recorded if it moved since this walk's last commit."""
        moved: dict[str, Json] = {}
        for tree in self.trees.values():
            tip = tree.tip = await commits.tip_of(tree)
            if tip != self.chain.get(tree.name):
                self.chain[tree.name] = tip
                moved[tree.name] = {"commit": tip, "branch": tree.branch}
        if moved:
            self.record(WorkspaceSnapshot(repos=moved, reason=reason))
        return {tree.name: self._record_of(tree) for tree in self.trees.values()}

    def _record_of(self, tree: Tree) -> RepoRecord:
        return RepoRecord(
            branch=tree.branch,
            commit=tree.tip,
            base=tree.repo.commit,
            owner=self.session,
            path=str(tree.repo.settings.path),
            base_branch=tree.repo.checked_out,
            folder=str(tree.folder),
        )

    async def restore(self, known: Mapping[str, RepoRecord], *, keep: bool = False) -> None:
        """Put the worktrees at the recorded commits."""
        for name, record in known.items():
            tree = self.trees.get(name)
            if tree is None:
                continue
            self.chain[name] = record.commit
            if record.commit == tree.tip:
                continue
            for words in await worktrees.put_back(tree, record.commit, self.session, keep=keep):
                self.record(warning(f"{name}: {words}"))

    async def lend(
        self, *, session: str, pipeline: str, known: Mapping[str, RepoRecord], record: Record
    ) -> GitWorkspace:
        """Return the same worktrees for a child session, recorded in its chain if new to it."""
        lent = replace(self, session=session, pipeline=pipeline, record=record, chain={}, lent=True)
        await lent.restore(known)
        for tree in self.trees.values():
            if tree.name not in known:
                lent.chain[tree.name] = tree.tip
                record(
                    WorktreeCreated(repo=tree.name, branch=tree.branch, folder=str(tree.folder), commit=tree.tip)
                )
        return lent

    async def branch(
        self,
        path: str,
        record: Record,
        known: Mapping[str, RepoRecord] | None = None,
        *,
        keep: bool = False,
        held: Sequence[str] = (),
    ) -> GitWorkspace:
        """Return worktrees on new branches, at this walk's commits or at those that the branch recorded."""
        path = f"{self.path}.{path}" if self.path else path
        branched = GitWorkspace(
            maker=self.maker,
            session=self.session,
            pipeline=self.pipeline,
            record=record,
            trees={},
            path=path,
            session_path=branch_name("", "", self.session, path).rpartition("/")[2],
        )
        for tree in self.trees.values():
            name = branch_name(tree.repo.settings.branch_prefix, self.pipeline, self.session, path)
            at = (known or {}).get(tree.name)
            if at is None or at.branch != name:
                at = RepoRecord(
                    branch=name,
                    commit=await commits.tip_of(tree) if at is None else at.commit,
                    base=tree.tip,
                    owner=self.session,
                    path=str(tree.repo.settings.path),
                )
            await branched.place(tree.repo, at, keep=keep, held=held)
        return branched

    async def merge(self, branches: Mapping[str, Mapping[str, str]]) -> MergeResult:
        """Merge branches into this walk's, in order, in every repository; remove clean ones' worktrees."""
        merged: dict[str, None] = {}
        unchanged: dict[str, None] = {}
        conflicts = []
        places = [name.rpartition("/")[2] for name in branches]
        for tree in self.trees.values():
            own = branch_name(tree.repo.settings.branch_prefix, self.pipeline, self.session).rpartition("/")[0]
            names = [f"{own}/{place}" for place in places]
            folders = {
                name: self.maker.settings.home / "worktrees" / place / tree.name
                for name, place in zip(names, places, strict=True)
            }
            shown = {name: str(folder) for name, folder in folders.items()}
            recorded = [known.get(tree.name, "") for known in branches.values()]
            by = commits.By(session=self.session, pipeline=self.pipeline)
            heads = dict(zip(names, recorded, strict=True))
            done = await merging.merge_branches(tree, heads, shown, commits.trailers_of(by))
            self._record_merge(tree, done)
            for name, _commit in done.merged:
                merged[name] = None
            for name in done.unchanged:
                unchanged[name] = None
            conflicts += done.conflicts
            for name in (*(name for name, _commit in done.merged), *done.unchanged):
                self.maker.pusher.drop(tree.name, name)
                await worktrees.remove_worktree(tree.repo, folders[name])
        bad = {conflict.branch for conflict in conflicts}
        return MergeResult(
            merged=tuple(name for name in merged if name not in bad),
            unchanged=tuple(name for name in unchanged if name not in bad and name not in merged),
            conflicts=tuple(conflicts),
        )

    def _record_merge(self, tree: Tree, done: merging.RepoMerge) -> None:
        """Record how the branches of one repository were merged."""
        if done.commit:
            tree.tip = self.chain[tree.name] = done.commit
            self.maker.pusher.want(tree, self.record)
        for name, _commit in done.merged:
            self.record(WorktreeMerged(repo=tree.name, branch=tree.branch, commit=done.commit, source=name))
        for conflict in done.conflicts:
            self.left[tree.name] = (*self.left.get(tree.name, ()), conflict.branch)
            self.record(
                WorktreeMergeConflict(
                    repo=tree.name,
                    branch=tree.branch,
                    folder=conflict.folder,
                    source=conflict.branch,
                    conflicts=tuple({"file": name, "hunks": text} for name, text in conflict.files.items()),
                )
            )
