"""Interviewers (humans.md H1): ways to get a question answered where a session runs."""
