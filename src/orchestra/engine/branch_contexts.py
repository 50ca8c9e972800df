"""The contexts of parallel branches and their sessions, which a mirror sends too (S22)."""

from __future__ import annotations

from collections.abc import Container

from orchestra.engine.loading import newest_first, recorded_in
from orchestra.ports import Store, Turn


class BranchContexts:
    """The branches of a store's sessions, as far as they were looked up."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._paths: dict[str, dict[int, str]] = {}
        self._looked = False

    async def look(self, sessions: Container[int]) -> None:
        """Look once through all contexts that are not those of ``sessions``."""
        if self._looked:
            return
        self._looked = True
        for row in await self._store.contexts(label="kind:run"):
            if row.head_turn and row.context_id not in sessions:
                await self.session_of(row.context_id)

    async def session_of(self, context_id: int) -> str:
        """The session to whose branch a context belongs; empty for none."""
        turns = await self._store.turns(context_id, limit=1)
        recorded = recorded_in(turns[0]) if turns else None
        if recorded is None or not recorded.meta.branch:
            return ""
        self._paths.setdefault(recorded.meta.session, {})[context_id] = recorded.meta.branch
        return recorded.meta.session

    def of(self, session: str) -> list[tuple[int, str]]:
        """Return the contexts and paths of a session's branches, each after the one that contains it."""
        return sorted(self._paths.get(session, {}).items())

    def around(self, session: str, context_id: int, path: str) -> list[int]:
        """Return the contexts in which a nested branch may begin, likeliest first; none for the main walk."""
        above = path.rsplit("/", 2)[0] if path.count("/") > 1 else ""
        return [context for context, other in self.of(session)[::-1] if other == above and context < context_id]

    async def fork_of(self, context_id: int, path: str) -> Turn | None:
        """The newest turn of a branch's chain that is not the branch's own."""
        async for turn in newest_first(self._store, context_id):
            recorded = recorded_in(turn)
            if recorded is not None and recorded.meta.branch != path:
                return turn
        return None
