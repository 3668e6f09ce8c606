"""How far a rebuild is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class BuildProgress:
    """How far a rebuild is. `head` is where the log ended when it was last looked at."""

    name: str
    position: int = 0
    head: int = 0
    is_done: bool = False
    error: str | None = None

    @property
    def is_over(self) -> bool:
        return self.is_done or self.error is not None
