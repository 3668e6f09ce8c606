"""Where bytes go that are no records, and records that a server refuses: kept, with a reason.

Two files each: the bytes, and a JSON note beside them. Keeping is best effort: a full disk
must not stop the delivery of what is good.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

NOTE_SUFFIX: Final = ".json"
DATA_SUFFIX: Final = ".bin"
# One folder of evidence; what a broken disk produces beyond it is only noted.
KEPT_BYTES_MAX: Final = 64 * 1024 * 1024


class Keeper(Protocol):
    """Takes what is set aside."""

    def keep(
        self, data: bytes, *, first_seq: int, width: int, reason: str, **facts: Any
    ) -> None: ...


class NullQuarantine:
    """Keeps nothing: for those who only look."""

    def keep(self, data: bytes, *, first_seq: int, width: int, reason: str, **facts: Any) -> None:
        return None


@dataclass(slots=True)
class Quarantine:
    """A folder of set-aside bytes. Keeping the same range again changes nothing."""

    path: Path
    failures: int = 0

    def keep(self, data: bytes, *, first_seq: int, width: int, reason: str, **facts: Any) -> None:
        """Keep `data` and a note that says what it was; a failure is counted, not raised."""
        segment, offset = facts.get("segment"), facts.get("offset", 0)
        name = f"{segment or format(first_seq, '016x')}-{offset}"
        if (self.path / (name + NOTE_SUFFIX)).exists():
            return
        note = {"first_seq": first_seq, "width": width, "reason": reason, "bytes": len(data)}
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            if data:
                (self.path / (name + DATA_SUFFIX)).write_bytes(data[:KEPT_BYTES_MAX])
            text = json.dumps(note | facts, ensure_ascii=False, indent=1)
            (self.path / (name + NOTE_SUFFIX)).write_text(text, encoding="utf-8")
        except OSError:
            self.failures += 1

    def notes(self) -> Iterator[dict[str, Any]]:
        """What was set aside, oldest sequence first."""
        try:
            paths = sorted(self.path.glob(f"*{NOTE_SUFFIX}"))
        except OSError:
            return
        for path in paths:
            try:
                note = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                note = {"reason": "the note cannot be read", "file": path.name}
            yield note
