"""Batches that could not be folded, written down before the checkpoint passes them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from projections.log import StoredBatch
from projections.projection import Projection

logger = logging.getLogger(__name__)


@runtime_checkable
class LetterBox(Protocol):
    """A projection that keeps the dead letters of all: the runs projection does."""

    async def put_dead_letter(self, *, position: int, run_id: str, reason: str) -> None:
        """Idempotent. Raises ProjectionStoreFailed."""
        ...

    async def dead_letters(self) -> list[tuple[int, str, str]]:
        """(position, run id, reason), in order."""
        ...


class DeadLetters:
    """Collects letters, and puts them into the box that `box` finds."""

    def __init__(self, box: Callable[[], Projection | None]) -> None:
        self._box = box
        self._waiting: list[tuple[int, str, str]] = []
        self.count = 0  # written, also when written again after trouble with the file

    def add(self, batch: StoredBatch, reason: str) -> None:
        self._waiting.append((batch.first_position, batch.run_id, reason))
        logger.error(
            "positions %d to %d cannot be folded: %s",
            batch.first_position,
            batch.last_position,
            reason,
        )

    async def store(self) -> None:
        """Write down what was collected. Raises ProjectionStoreFailed; then call it again."""
        box = self._box()
        while self._waiting and isinstance(box, LetterBox):
            position, run_id, reason = self._waiting[0]
            await box.put_dead_letter(position=position, run_id=run_id, reason=reason)
            self.count += 1
            del self._waiting[0]


async def carry_over(old: Projection | None, new: Projection, *, of: str) -> None:
    """Letters about other projections move on; those of the rebuilt one are answered."""
    if isinstance(old, LetterBox) and isinstance(new, LetterBox):
        for position, run_id, reason in await old.dead_letters():
            if not reason.startswith((f"{of}:", "decode:")):
                await new.put_dead_letter(position=position, run_id=run_id, reason=reason)
