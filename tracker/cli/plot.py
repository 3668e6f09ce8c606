"""Draws a series in a terminal: braille dots, axes, and every spike.

Each bucket of the series fills the dots from its true minimum to its true maximum (the
envelope); a line joins the first and last values. A NaN is marked × below the axis, an
infinity ▲ or ▼ at the edge. All functions are pure: buckets in, lines of text out.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import click

from tracker.cli.ticks import linear_ticks, log_ticks, step_label, step_ticks
from tracker.history import MetricBuckets

ROWS_MIN, COLUMNS_MIN = 3, 10
DOTS_ACROSS, DOTS_DOWN = 2, 4
# The bits of a braille cell, by row and column of its 4 × 2 dots.
_BITS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE: Final = 0x2800

_LINE, _ENVELOPE, _MARK, _AXIS = "bright_cyan", "blue", "bright_red", "bright_black"


@dataclass(slots=True)
class _Canvas:
    """Dots in two layers, of which the line is in front, and single marks above both."""

    columns: int
    rows: int
    envelope: dict[tuple[int, int], int] = field(default_factory=dict)
    line: dict[tuple[int, int], int] = field(default_factory=dict)
    marks: dict[tuple[int, int], str] = field(default_factory=dict)

    def dot(self, layer: dict[tuple[int, int], int], x: int, y: int) -> None:
        """Set a dot; x from the left, y from the bottom; outside is left out."""
        if 0 <= x < self.columns * DOTS_ACROSS and 0 <= y < self.rows * DOTS_DOWN:
            down = self.rows * DOTS_DOWN - 1 - y
            cell = (down // DOTS_DOWN, x // DOTS_ACROSS)
            layer[cell] = layer.get(cell, 0) | _BITS[down % DOTS_DOWN][x % DOTS_ACROSS]

    def row(self, number: int) -> str:
        """One line of text; neighbours of one colour share an escape sequence."""
        pieces: list[tuple[str | None, str]] = []
        for column in range(self.columns):
            cell = (number, column)
            colour, text = self._cell(cell)
            if pieces and pieces[-1][0] == colour:
                pieces[-1] = (colour, pieces[-1][1] + text)
            else:
                pieces.append((colour, text))
        return "".join(click.style(text, fg=colour) if colour else text for colour, text in pieces)

    def _cell(self, cell: tuple[int, int]) -> tuple[str | None, str]:
        if cell in self.marks:
            return _MARK, self.marks[cell]
        bits = self.line.get(cell, 0) | self.envelope.get(cell, 0)
        if not bits:
            return None, " "
        return (_LINE if cell in self.line else _ENVELOPE), chr(_BRAILLE + bits)


def draw(series: MetricBuckets, *, width: int, height: int, log: bool = False) -> list[str]:
    """The lines of a plot `width` characters wide and `height` high, axes included."""
    low, high = _value_range(series, log=log)
    rows = max(ROWS_MIN, height - 3)  # the axis, its labels, the line of NaN marks
    ticks = (log_ticks if log else linear_ticks)(low, high, count=max(2, rows // 2))
    gutter = max(len(label) for _, label in ticks)
    columns = max(COLUMNS_MIN, width - gutter - 3)
    first, last = series.first_step[0], series.last_step[-1]
    scale = math.log10 if log else float
    canvas = _Canvas(columns, rows)
    x_of = _scaled(float(first), float(last), columns * DOTS_ACROSS, float)
    y_of = _scaled(low, high, rows * DOTS_DOWN, scale)
    _draw_series(canvas, series, x_of, y_of, log=log)
    nan_columns = _mark_odd_values(canvas, series, x_of)
    labels = {rows - 1 - y_of(value) // DOTS_DOWN: label for value, label in ticks}
    lines = [_y_axis(labels.get(row), gutter) + canvas.row(row) for row in range(rows)]
    lines += _x_axis(step_ticks(first, last, columns=columns), gutter, columns, x_of)
    if nan_columns:
        marks = "".join("×" if column in nan_columns else " " for column in range(columns)).rstrip()
        lines.append("NaN".rjust(gutter) + "  " + click.style(marks, fg=_MARK))
    return [line.rstrip() for line in lines]


def is_drawable(series: MetricBuckets, *, log: bool = False) -> bool:
    """Whether there is a value that has a place on the axis."""
    return any(_has_place(value, log=log) for value in (*series.min, *series.max))


def _draw_series(
    canvas: _Canvas,
    series: MetricBuckets,
    x_of: Callable[[float], int],
    y_of: Callable[[float], int],
    *,
    log: bool,
) -> None:
    before: tuple[int, int] | None = None
    for i in range(len(series)):
        left, right = x_of(series.first_step[i]), x_of(series.last_step[i])
        ends = [v for v in (series.min[i], series.max[i]) if _has_place(v, log=log)]
        if ends:
            for x in range(left, right + 1):
                for y in range(y_of(min(ends)), y_of(max(ends)) + 1):
                    canvas.dot(canvas.envelope, x, y)
        for x, value in ((left, series.first[i]), (right, series.last[i])):
            if not _has_place(value, log=log):
                before = None  # The line has a hole where there is no value.
                continue
            here = (x, y_of(value))
            for dot in _straight(before or here, here):
                canvas.dot(canvas.line, *dot)
            before = here


def _mark_odd_values(
    canvas: _Canvas, series: MetricBuckets, x_of: Callable[[float], int]
) -> set[int]:
    """Mark infinities at the edges; return the columns in which there is a NaN."""
    nan_columns: set[int] = set()
    for i in range(len(series)):
        column = x_of(series.first_step[i]) // DOTS_ACROSS
        if series.nan_count[i]:
            nan_columns.add(column)
        if series.max[i] == math.inf:
            canvas.marks[(0, column)] = "▲"
        if series.min[i] == -math.inf:
            canvas.marks[(canvas.rows - 1, column)] = "▼"
    return nan_columns


def _value_range(series: MetricBuckets, *, log: bool) -> tuple[float, float]:
    values = [value for value in (*series.min, *series.max) if _has_place(value, log=log)]
    low, high = min(values, default=1.0), max(values, default=1.0)
    if low < high:
        return low, high
    # One value gets room on both sides, as far as float64 has any.
    most = sys.float_info.max
    if log:
        return low / 2 or low, min(high * 2, most)
    room = abs(low) / 10 or 1.0
    return max(low - room, -most), min(high + room, most)


def _has_place(value: float, *, log: bool) -> bool:
    return math.isfinite(value) and (not log or value > 0)


def _scaled(
    low: float, high: float, dots: int, scale: Callable[[float], float]
) -> Callable[[float], int]:
    """From a value to its dot. Halved first: the whole range of float64 has no difference.

    A share of the range, not dots per unit: of a range of subnormal numbers those are infinite.
    """
    bottom, top = scale(low) / 2, scale(high) / 2
    if top <= bottom:
        return lambda value: dots // 2

    def dot_of(value: float) -> int:
        share = (scale(value) / 2 - bottom) / (top - bottom)
        return min(dots - 1, max(0, round(share * (dots - 1))))

    return dot_of


def _straight(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    (x0, y0), (x1, y1) = start, end
    steps = max(abs(x1 - x0), abs(y1 - y0), 1)
    for i in range(steps + 1):
        yield x0 + round(i * (x1 - x0) / steps), y0 + round(i * (y1 - y0) / steps)


def _y_axis(label: str | None, gutter: int) -> str:
    axis = click.style(" ┤" if label else " │", fg=_AXIS)
    return (label or "").rjust(gutter) + axis


def _x_axis(
    steps: Sequence[int], gutter: int, columns: int, x_of: Callable[[float], int]
) -> list[str]:
    line, labels = ["─"] * columns, [" "] * (columns + 12)
    free_from = 0
    for step in steps:
        column = x_of(step) // DOTS_ACROSS
        text = step_label(step)
        start = min(max(0, column - len(text) // 2), columns - len(text))
        if start < free_from:
            continue
        line[column] = "┬"
        labels[start : start + len(text)] = text
        free_from = start + len(text) + 2
    indent = " " * gutter
    axis = click.style(" └" + "".join(line), fg=_AXIS)
    return [indent + axis, indent + "  " + "".join(labels)]
