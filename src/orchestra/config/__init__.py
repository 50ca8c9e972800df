"""The operator's settings: ``orchestra.yaml``, environment, flags (configuration.md)."""
