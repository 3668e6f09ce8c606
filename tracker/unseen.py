"""What this process has recorded and its own queries have not seen on the server yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tracker.recording import Recording

# Ended writers that a later query should wait for; older ones have long arrived.
_ENDED_MAX: Final = 64


class UnseenWrites:
    """Remembers, per writer, how far it had come when a query last included it."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._ended: dict[str, Recording] = {}

    def end(self, recording: Recording) -> None:
        """Its writer is closed; what it wrote may still be on its way."""
        progress = recording.progress()
        if progress is not None:
            self._ended[progress[0]] = recording
            if len(self._ended) > _ENDED_MAX:
                del self._ended[next(iter(self._ended))]

    def to(self, uri: str, active: Iterable[Recording]) -> list[tuple[str, int]]:
        """(writer id, next sequence) of all that goes to `uri` and was not seen there."""
        found: dict[str, int] = {}
        for recording in [*self._ended.values(), *active]:
            progress = recording.progress()
            if progress and recording.plan.uri == uri and recording.plan.mode == "online":
                found[progress[0]] = progress[1]
        return [(key, seq) for key, seq in found.items() if self._seen.get(key, 1) < seq]

    def see(self, writer_id: str, next_seq: int) -> None:
        """A query's answer includes the writer up to `next_seq`."""
        is_over = self._ended.pop(writer_id, None) is not None
        if is_over:
            self._seen.pop(writer_id, None)
        else:
            self._seen[writer_id] = next_seq
