"""The package's own names."""

from __future__ import annotations

import orchestra


def test_every_name_of_the_package_can_be_loaded() -> None:
    for name in orchestra.__all__:
        assert getattr(orchestra, name) is not None
