from __future__ import annotations

import math

import pytest

from tracker.cli.formats import ago, json_form, number, printable, short_id, size, span
from tracker.cli.grid import Column, cells_wide, lines, status_word


def test_text_from_outside_cannot_drive_the_terminal() -> None:
    assert printable("ok\x1b[2J\nnext") == "ok\\x1b[2J\\nnext"
    assert printable("x" * 500, characters_max=10) == "x" * 9 + "…"
    assert printable("größe 数") == "größe 数"


def test_minted_ids_are_shortened_and_chosen_ones_are_not() -> None:
    assert short_id("0123456789abcdef" * 2) == "01234567"
    assert short_id("my-own-run-of-today") == "my-own-run-of-today"


@pytest.mark.parametrize(
    ("duration_us", "text"),
    [
        (350_000, "350 ms"), (12_340_000, "12.3 s"), (245_000_000, "4 min 05 s"),
        (7_380_000_000, "2 h 03 min"), (273_600_000_000, "3 d 04 h"), (-1_000_000, "-1.0 s"),
    ],
)  # fmt: skip
def test_spans_have_two_units(duration_us: int, text: str) -> None:
    assert span(duration_us) == text


def test_times_are_told_from_now() -> None:
    now_us = 1_700_000_000_000_000

    assert ago(now_us - 90_000_000, now_us=now_us) == "1 min ago"
    assert ago(now_us, now_us=now_us) == "now"
    assert ago(now_us + 7_200_000_000, now_us=now_us) == "in 2 h 00 min"
    assert ago(None, now_us=now_us) == ""


def test_numbers_keep_five_digits() -> None:
    values = [0.123456789, 3.0, 1e-12, 123456789.5, math.nan, -math.inf, None]

    assert list(map(number, values)) == ["0.12346", "3", "1e-12", "1.2346e+08", "NaN", "-Inf", ""]
    assert size(16 * 1024**2) == "16.0 MiB"


def test_json_carries_what_json_has_no_number_for() -> None:
    value = {"a": (math.nan, math.inf, -math.inf, 1.5)}

    assert json_form(value) == {"a": ["NaN", "Infinity", "-Infinity", 1.5]}


def test_columns_stay_aligned_under_colours_and_wide_letters() -> None:
    columns = [
        Column("NAME", ["数学", "b"]),
        Column("STATUS", [status_word("FINISHED"), status_word("RUNNING", "lost")]),
        Column("LOSS", ["1", "0.25"], is_right=True),
    ]

    rows = lines(columns)

    assert len({cells_wide(row) for row in rows}) == 1
