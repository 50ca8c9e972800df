"""Backends: how a codergen node's prompt becomes an answer (agents.md)."""
