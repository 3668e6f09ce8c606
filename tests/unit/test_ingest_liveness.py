"""Leases: terms, release, grace after a start. The clock is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from ingest import liveness
from ingest.errors import StoreUnavailable
from ingest.event_stores.leases import LeaseRow
from ingest.liveness import LeaseBook, exchanging


@dataclass
class Saved:
    rows: list[LeaseRow] = field(default_factory=list)
    saves: int = 0

    def saved_leases(self) -> Sequence[LeaseRow]:
        return self.rows

    def save_leases(self, leases: Sequence[LeaseRow]) -> None:
        self.rows = list(leases)
        self.saves += 1


class Clock:
    now_us = 1_000_000_000

    def __call__(self) -> int:
        return self.now_us

    def pass_s(self, seconds: float) -> None:
        self.now_us += round(seconds * 1e6)


def test_a_lease_lasts_its_term() -> None:
    clock = Clock()
    leases = LeaseBook(Saved(), ttl_s=30, now_us=clock)

    assert leases.renew("w1", "run-1") == clock.now_us + 30_000_000
    clock.pass_s(29)
    assert leases.live_run_ids() == {"run-1"}
    assert leases.expires_us("w1") is not None
    clock.pass_s(1)
    assert leases.live_run_ids() == frozenset()
    assert leases.expires_us("w1") is None


def test_a_run_lives_as_long_as_one_of_its_writers() -> None:
    clock = Clock()
    leases = LeaseBook(Saved(), ttl_s=30, now_us=clock)
    leases.renew("w1", "run-1")
    clock.pass_s(20)
    leases.renew("w2", "run-1")

    clock.pass_s(20)
    assert leases.live_run_ids() == {"run-1"}
    leases.release("w2")
    assert leases.live_run_ids() == frozenset()


def test_a_start_gives_what_was_saved_one_more_term() -> None:
    clock = Clock()
    saved = Saved([LeaseRow("w1", "run-1", 5)])

    leases = LeaseBook(saved, ttl_s=30, now_us=clock)

    clock.pass_s(29)
    assert leases.live_run_ids() == {"run-1"}
    clock.pass_s(2)
    assert leases.live_run_ids() == frozenset()


def test_only_changes_are_saved_and_what_lapsed_is_forgotten() -> None:
    clock, saved = Clock(), Saved()
    leases = LeaseBook(saved, ttl_s=30, now_us=clock)
    leases.save()
    assert saved.saves == 0

    leases.renew("w1", "run-1")
    leases.save()
    leases.save()
    assert (saved.saves, [row.writer_id for row in saved.rows]) == (1, ["w1"])

    clock.pass_s(31)
    leases.save()
    assert (saved.saves, saved.rows) == (2, [])


async def test_an_exchange_that_fails_in_any_way_is_tried_again_and_ends_no_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(liveness, "EXCHANGE_S", 0.001)
    leases, told = LeaseBook(Saved(), ttl_s=30), asyncio.Event()
    failures = iter((StoreUnavailable("away"), ValueError("a bug of the driver")))

    class Others:
        async def exchange_leases(
            self, renewed: Sequence[LeaseRow], released: Sequence[str], *, now_us: int, ttl_us: int
        ) -> Sequence[LeaseRow]:
            for failure in failures:
                raise failure
            if [row.writer_id for row in renewed] == ["w1"]:
                told.set()
            return renewed

    leases.renew("w1", "run-1")
    async with exchanging(leases, Others()):
        async with asyncio.timeout(60):
            await told.wait()
