"""What a shipper reads from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

HELPER_IDLE_S_DEFAULT: Final = 30.0


@dataclass(frozen=True, slots=True)
class HelperSettings:
    api_key: str | None
    idle_s: float


def helper_settings() -> HelperSettings:
    """A setting that cannot be read counts as unset: nobody is there to read an error."""
    try:
        idle_s = float(os.environ.get("TRACKER_HELPER_IDLE_S", ""))
    except ValueError:
        idle_s = HELPER_IDLE_S_DEFAULT
    return HelperSettings(api_key=os.environ.get("TRACKER_API_KEY") or None, idle_s=idle_s)
