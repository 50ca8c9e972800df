"""The commands: what each declares, and what it does."""
