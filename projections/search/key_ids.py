"""The ids of keys that searches have named, kept: a build never gives a key another id."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final

KEPT_MAX: Final = 10_000


class KeyIds:
    """Of one build at a time. For several threads: what is kept is replaced as a whole."""

    def __init__(self) -> None:
        self._kept: tuple[str, Mapping[str, int]] = ("", {})

    def of(self, build: str, keys: Set[str]) -> dict[str, int] | None:
        """Those of all these keys, or None: a key that is not known may exist by now."""
        kept, ids = self._kept
        if kept != build or not keys <= ids.keys():
            return None
        return {key: ids[key] for key in keys}

    def keep(self, build: str, ids: Mapping[str, int]) -> None:
        kept, before = self._kept
        if kept != build or len(before) + len(ids) > KEPT_MAX:
            before = {}
        self._kept = (build, {**before, **ids})
