"""What can be wrong with a recorded fact or its encoding.

    TrackerError
    ├── InvalidEvent        a field is missing, of the wrong type or over its limit
    └── CorruptPayload      bytes that do not decode to what their header says
        └── PayloadTooLarge they would, but beyond a limit

Both are raised with one sentence that says what to change.
"""

from __future__ import annotations


class TrackerError(Exception):
    """The base of every error this project raises on purpose."""


class InvalidEvent(TrackerError, ValueError):
    """An event does not fit the vocabulary. A ValueError too, for callers of the SDK."""


class CorruptPayload(TrackerError):
    """A payload's bytes contradict themselves or their header."""


class PayloadTooLarge(CorruptPayload):
    """A payload is beyond a limit of tracker.events.limits."""
