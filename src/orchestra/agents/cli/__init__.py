"""Command-line agents: what is known of them, what they write, and how one is run (A6)."""
