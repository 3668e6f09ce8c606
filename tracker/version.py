"""The version of this package, as its metadata has it."""

from __future__ import annotations

from typing import Final

# Not read from the installed metadata: that costs ten milliseconds of every import.
# tests/unit/test_sdk_surface.py holds it equal to pyproject.toml.
VERSION: Final = "0.1.0"
