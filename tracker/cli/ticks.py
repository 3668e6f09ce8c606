"""Where an axis says what, and how a number is written beside it."""

from __future__ import annotations

import math
from typing import Final, TypeAlias

from tracker.cli.formats import number

Ticks: TypeAlias = list[tuple[float, str]]

_NICE: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_SI: Final = ((1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))


def linear_ticks(low: float, high: float, *, count: int) -> Ticks:
    """At most about `count` round values between low and high, with their labels."""
    step = _nice_step(high / count - low / count)
    if not math.isfinite(step) or step <= 0 or low + step == low:
        return [(low, number(low)), (high, number(high))]
    ticks = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    exponent = math.floor(math.log10(max(abs(low), abs(high))))
    if exponent >= 6 or exponent < -4:
        digits = 0
        while digits < 12 and any(_is_off(tick, f"{tick:.{digits}e}", step) for tick in ticks):
            digits += 1
        return [(tick, f"{tick:.{digits}e}" if tick else "0") for tick in ticks]
    decimals = 0
    while decimals < 12 and _is_off(step, f"{step:.{decimals}f}", step):
        decimals += 1
    return [(tick, f"{tick:.{decimals}f}") for tick in ticks]


def log_ticks(low: float, high: float, *, count: int) -> Ticks:
    """Powers of ten, thinned to `count`; with 2 and 5 between them when there are few."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first >= 2:
        every = math.ceil((last - first + 1) / count)
        exponents = range(first, last + 1, every)
        return [(float(f"1e{e}"), number(float(f"1e{e}"))) for e in exponents]
    ticks = [
        value
        for exponent in range(first - 1, last + 1)
        for factor in (1, 2, 5)
        if low <= (value := float(f"{factor}e{exponent}")) <= high
    ]
    return [(tick, number(tick)) for tick in ticks or [low, high]]


def step_ticks(first: int, last: int, *, columns: int) -> list[int]:
    """The first step, round ones between, and the last."""
    count = max(2, columns // 14)
    step = max(1, round(_nice_step((last - first) / count))) if last > first else 1
    between = [i * step for i in range(first // step + 1, -(-last // step))]
    # A round one close to an end would only push its neighbour's label away.
    return [first, *(s for s in between if min(s - first, last - s) > step / 2), last]


def step_label(step: int) -> str:
    """12345 as 12,345 and 1500000 as 1.5M; never less than all of its digits below a million."""
    if abs(step) < 1_000_000:
        return f"{step:,}"
    for size, unit in _SI:
        if abs(step) >= size:
            return f"{step / size:.6g}{unit}"
    return str(step)


def _is_off(value: float, text: str, step: float) -> bool:
    return abs(float(text) - value) > step * 1e-6


def _nice_step(rough: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten that is not below `rough`."""
    if not rough > 0 or not math.isfinite(rough):
        return 0.0
    power = math.floor(math.log10(rough))
    for nice in _NICE:
        step = float(f"{nice}e{power}")
        if step >= rough * (1 - 1e-9):
            return step
    return float(f"1e{power + 1}")
