"""The operator's settings: ``orchestra.yaml``, environment, flags (agents.md 2)."""
