"""The pipeline as its author wrote it: pure functions and values; no clock, no files, no event loop."""
