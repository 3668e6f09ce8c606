"""Whether a call was made from within another one, by a signal handler or a destructor."""

from __future__ import annotations

import sys
from collections.abc import Collection
from types import CodeType


def is_inside_call(instance: object, calls: Collection[CodeType]) -> bool:
    """Whether below the caller's caller a method of `instance` is under way in this thread.

    `calls` is the code of the methods. For slow paths: it walks the whole stack.
    """
    frame = sys._getframe(2).f_back
    while frame is not None:
        if frame.f_code in calls and frame.f_locals.get("self") is instance:
            return True
        frame = frame.f_back
    return False
