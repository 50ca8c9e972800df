"""Orchestra runs pipelines."""
