"""One file per node type (engine.md#handlers)."""
