"""What happened and what comes next: pure functions over events; no clock, no files, no event loop."""
