"""Settings in, wired runner out: the only package in which the parts are joined."""
