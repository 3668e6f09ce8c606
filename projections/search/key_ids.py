"""The ids of keys that searches have named, kept: a build never gives a key another id.

They are kept for seconds only, as a choice of how to begin is (see `choices`): a database that
was restored from a backup may have a build of the same name with other ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Final

KEPT_S: Final = 10.0
KEPT_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Kept:
    build: str = ""
    since: float = 0.0
    ids: Mapping[str, int] = field(default_factory=dict)


class KeyIds:
    """Of one build at a time. For several threads: what is kept is replaced as a whole."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept = _Kept()

    def of(self, build: str, keys: Set[str]) -> dict[str, int] | None:
        """Those of all these keys, or None: a key that is not known may exist by now."""
        kept = self._kept
        if not self._is_good(kept, build) or not keys <= kept.ids.keys():
            return None
        return {key: kept.ids[key] for key in keys}

    def keep(self, build: str, ids: Mapping[str, int]) -> None:
        kept = self._kept
        if not self._is_good(kept, build) or len(kept.ids) + len(ids) > KEPT_MAX:
            kept = _Kept(build, self._clock())
        self._kept = _Kept(build, kept.since, {**kept.ids, **ids})

    def _is_good(self, kept: _Kept, build: str) -> bool:
        return kept.build == build and self._clock() - kept.since < KEPT_S
