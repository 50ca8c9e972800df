"""One file per node type (engine.md 5)."""
