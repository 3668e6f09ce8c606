"""What the SDK refuses, at the call that is wrong. Nothing here comes from disk or network.

TrackerError
├── InvalidEvent             a field, key or value over its limit or of the wrong type
│   ├── MetricTypeError      a metric's value is no number; a TypeError too
│   └── InvalidStep          a step that is no integer of 64 bits; a TypeError too
├── ParamChanged             another value for a param that this process has logged
├── RunAlreadyActive         start_run inside a run without nested=True
└── InvalidSetting           an argument, environment variable or project file says
                             something that cannot be followed
    └── InvalidUri           the destination is neither "local" nor an http(s) address
"""

from __future__ import annotations

from tracker.events.errors import InvalidEvent, TrackerError


class MetricTypeError(InvalidEvent, TypeError):
    """A metric's value is not a number. `key` and `value_type` say which."""

    def __init__(self, key: object, value: object, *, hint: str = "") -> None:
        self.key = key
        self.value_type = type(value).__name__
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "…"
        super().__init__(
            f"metric {key!r} must be a number, not {self.value_type}: {shown}"
            + (f" ({hint})" if hint else "")
        )


class InvalidStep(InvalidEvent, TypeError):
    """A step must be an integer of 64 bits."""


class ParamChanged(TrackerError, ValueError):
    """A param has one value. `key`, `old` and `new` say which one was to be changed."""

    def __init__(self, key: str, *, old: str, new: str) -> None:
        self.key = key
        self.old = old
        self.new = new
        super().__init__(
            f"Changing param values is not allowed: param {key!r} is {_short(old)!r} and "
            f"cannot become {_short(new)!r}. Log it under another key, or start another run."
        )


class RunAlreadyActive(TrackerError, RuntimeError):
    """A run is active in this thread or task already."""


class InvalidSetting(TrackerError, ValueError):
    """A setting cannot be followed; the message names its source and what is allowed."""


class InvalidUri(InvalidSetting):
    """A destination that no shipper could deliver to."""


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"
