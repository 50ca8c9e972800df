"""What the author drew: pure functions and values; no clock, no files, no event loop."""
