"""What a server knows of the log without asking, for as long as nobody else appends.

Theory
------
A server that appended last knows the head, as it wrote it, and the watermarks of the writers
it has seen since. Both are true exactly as long as the head stands where it left it, as
every append of anybody moves it. So a group can be decided from memory and written by one
statement that first moves the head *from there*, and does nothing if it is not there any
more: one round trip instead of five, and the head's lock is held for none of them.

If the head was elsewhere, nothing was written and everything is forgotten: the group is
decided again from rows that are locked (postgres_state). Where servers take turns that is
what happens each time, so after a miss the guess is left out for a while.

From memory only what is appended is decided. A duplicate, a refusal or a decision is looked
up, so that nobody is told anything that was true only a moment ago.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ingest.event_stores.base import WriterState
from ingest.event_stores.group import Append, ClientAppend, Group
from ingest.event_stores.postgres_state import WRITERS_KNOWN_MAX, LockedState
from projections.log import LogHead

GROUPS_AFTER_MISS: Final = 16


class Recall:
    def __init__(self) -> None:
        self._head: LogHead | None = None
        self._received_at_us = 0
        self._partitioned_to = 0
        self._writers: dict[str, WriterState] = {}
        self._groups_to_skip = 0

    def state_for(self, appends: Sequence[Append]) -> LockedState | None:
        """What these appends need to know; None when it must be looked up."""
        if self._groups_to_skip:
            self._groups_to_skip -= 1
            return None
        if self._head is None or not all(map(self._is_known, appends)):
            return None
        return LockedState(
            self._head, self._received_at_us, self._partitioned_to, self._writers, set(), {}, {}
        )

    def _is_known(self, append: Append) -> bool:
        if not isinstance(append, ClientAppend):
            return False
        header = append.batch.header
        state = self._writers.get(header.writer_id)
        return state is not None and header.first_seq >= state.next_seq

    def learn(self, state: LockedState, group: Group) -> None:
        """A group was committed on top of `state`."""
        if self._head != state.head or len(self._writers) > WRITERS_KNOWN_MAX:
            self._writers = {}
        if state.writers is not self._writers:
            self._writers.update(state.writers)
        self._writers.update(group.writers)
        self._head = group.head
        last_us = group.rows[-1].received_at_us if group.rows else 0
        self._received_at_us = max(state.received_at_us, last_us)
        self._partitioned_to = state.partitioned_to

    def miss(self) -> None:
        """The head was elsewhere."""
        self.forget()
        self._groups_to_skip = GROUPS_AFTER_MISS

    def forget(self) -> None:
        """What became of the last group is not known."""
        self._head = None
        self._writers = {}
