"""What can be wrong with a search: one error, which says where and what was expected."""

from __future__ import annotations

from tracker.events.errors import TrackerError


class InvalidQuery(TrackerError):
    """A filter, an order or a page token that cannot be read.

    `position` is the 1-based column in the text it is about, or None when the text as a
    whole is refused. `hint` says what to write instead, where that is known.
    """

    def __init__(self, message: str, *, position: int | None = None, hint: str = "") -> None:
        self.message = message if not hint else f"{message}; {hint}"
        self.position = position
        self.hint = hint
        at = "" if position is None else f"column {position}: "
        super().__init__(at + self.message)
