"""Git under a run: repositories, worktrees, commits, merges, remotes and cleanup (workspace.md)."""
