"""Prices in cents."""


def with_tax(cents: int, percent: int) -> int:
    """The price with tax."""
    return cents + percent
