"""What a shipper reads from the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from tracker.credentials import key_for

HELPER_IDLE_S_DEFAULT: Final = 30.0


class HelperSettings(NamedTuple):
    home: Path
    idle_s: float

    def key_for(self, uri: str) -> str | None:
        """The key that the training process noted for this server, if any."""
        return key_for(self.home, uri)


def helper_settings() -> HelperSettings:
    """A setting that cannot be read counts as unset: nobody is there to read an error."""
    try:
        idle_s = float(os.environ.get("TRACKER_HELPER_IDLE_S", ""))
    except ValueError:
        idle_s = HELPER_IDLE_S_DEFAULT
    given = os.environ.get("TRACKER_HOME")
    home = Path(given).expanduser().absolute() if given else Path.home() / ".tracker"
    return HelperSettings(home=home, idle_s=idle_s)
