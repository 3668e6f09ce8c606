"""Pages of exact history for JSON: where one ends, and where the next begins.

A token names the step the page ended at and how many points of that step were given out.
Points keep their order of arrival within a step, so what a page gave is given once, also
when new points have arrived in between; those of earlier steps are on no later page.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from ingest.errors import InvalidQuery
from projections.read_models import SeriesPage, SeriesReadStore
from tracker.events.limits import INT64_MAX, INT64_MIN

_TOKEN: Final = re.compile(rb"1:(-?\d{1,19}):(\d{1,18})")


@dataclass(frozen=True, slots=True)
class PageStart:
    """The first step that is still to be given out, and how many of its points were."""

    step: int | None
    skip: int = 0

    @classmethod
    def of_token(cls, token: str) -> PageStart:
        """Raises InvalidQuery."""
        try:
            found = _TOKEN.fullmatch(base64.b64decode(token, altchars=b"-_", validate=True))
        except (binascii.Error, ValueError):
            found = None
        step = int(found[1]) if found else INT64_MAX + 1
        if found is None or not INT64_MIN <= step <= INT64_MAX:
            raise InvalidQuery("page_token is not one of this server's; begin without it")
        return cls(step, int(found[2]))

    def token(self) -> str:
        return base64.urlsafe_b64encode(b"1:%d:%d" % (self.step or 0, self.skip)).decode()


async def read_page(
    series: SeriesReadStore,
    run_id: str,
    key: str,
    *,
    start: PageStart,
    end_step: int | None,
    limit: int,
) -> tuple[SeriesPage, PageStart | None]:
    """The next `limit` points, and where to go on; None when that is all."""
    parts: list[SeriesPage] = []
    skip, room = start.skip, limit + 1
    history = await series.history(run_id, key, start_step=start.step, end_step=end_step)
    async for page in history:
        skipped = min(skip, len(page.steps))
        part = _cut(page, skipped, skipped + room)
        skip -= skipped
        room -= len(part.steps)
        parts.append(part)
        if room == 0:
            break
    whole = _joined(parts)
    if len(whole.steps) <= limit:
        return whole, None
    page = _cut(whole, 0, limit)
    last = int(page.steps[-1])
    given = int(np.count_nonzero(page.steps == last))
    if last == start.step:
        given += start.skip
    return page, PageStart(last, given)


def _cut(page: SeriesPage, start: int, stop: int) -> SeriesPage:
    return SeriesPage(page.steps[start:stop], page.times_us[start:stop], page.values[start:stop])


def _joined(parts: list[SeriesPage]) -> SeriesPage:
    if not parts:
        return SeriesPage(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
    return SeriesPage(
        np.concatenate([part.steps for part in parts]),
        np.concatenate([part.times_us for part in parts]),
        np.concatenate([part.values for part in parts]),
    )
