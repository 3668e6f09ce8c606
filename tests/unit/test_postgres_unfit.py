"""Which statements are not asked ahead of a transaction, and for how long."""

from __future__ import annotations

import pytest

from projections.postgres import reading
from projections.postgres.reading import UNFIT_S, Unfit


def test_a_statement_is_unfit_for_a_while() -> None:
    now = [100.0]
    unfit = Unfit(clock=lambda: now[0])
    assert "SELECT 1" not in unfit

    unfit.add("SELECT 1")
    now[0] += UNFIT_S - 1
    assert "SELECT 1" in unfit
    assert "SELECT 2" not in unfit
    now[0] += 1

    assert "SELECT 1" not in unfit


def test_not_more_than_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_UNFIT_MAX", 2)
    unfit = Unfit()
    for number in range(3):
        unfit.add(f"SELECT {number}")

    assert "SELECT 0" not in unfit
    assert "SELECT 2" in unfit
