"""A fold's transaction in PostgreSQL is one connection's: when that is lost, so is the fold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from projections.projection import StoreAway
from tests.support.postgres_folds import Fold, fold_on


@pytest.fixture
async def fold(postgres_dsn: str) -> AsyncIterator[Fold]:
    async with fold_on(postgres_dsn) as fold:
        yield fold


async def folded(fold: Fold, *, rows: Callable[[Any], None], is_lost: str = "") -> None:
    """Fold up to 5; the connection is lost before or after the rows."""
    async with fold.tables.moving(5) as write:
        if is_lost == "before":
            await fold.lose_the_connection()
        await write.run(rows)
        if is_lost == "after":
            await fold.lose_the_connection()


def a_key(connection: Any) -> None:
    connection.executemany("INSERT INTO key VALUES (?, ?)", [(1, "loss")])


async def test_a_commit_whose_connection_was_lost_before_it_is_no_success(fold: Fold) -> None:
    """As when a leader is paused before its commit, and PostgreSQL ends its session."""
    with pytest.raises(StoreAway, match="lost"):
        await folded(fold, rows=a_key, is_lost="after")

    assert fold.tables.position == 0
    assert await fold.stored_position() == 0


async def test_rows_are_never_written_outside_of_the_transaction_they_belong_to(fold: Fold) -> None:
    asked: list[Any] = []
    with pytest.raises(StoreAway, match="lost"):
        await folded(fold, rows=asked.append, is_lost="before")

    assert asked == []
    assert fold.tables.position == 0


async def test_a_fold_goes_on_after_its_connection_was_lost(fold: Fold) -> None:
    with pytest.raises(StoreAway):
        await folded(fold, rows=a_key, is_lost="after")

    await folded(fold, rows=a_key)

    assert fold.tables.position == await fold.stored_position() == 5
