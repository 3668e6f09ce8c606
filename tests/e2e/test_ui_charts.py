"""Charts in a real browser: a pointer in one is seen in all, and what is no number is marked."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import suppress

from playwright.sync_api import Locator, Page, expect

from tests.support.browser import PATIENCE_MS, Look
from tests.support.processes import ServerProcess
from tests.support.ui_runs import append, event, until_known

LAST_STEP = 10

MINUS = "\N{MINUS SIGN}"

# How many pixels around a step are of the run's colour, at the plot's upper and lower edge.
MARKS = """([card, step, last, colour]) => {
  const canvas = card.querySelector('canvas');
  const over = card.querySelector('.u-over').getBoundingClientRect();
  const box = canvas.getBoundingClientRect();
  const density = canvas.width / box.width;
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [canvas.width, canvas.height + 1];
  const context = copy.getContext('2d', { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  context.fillStyle = colour;
  context.fillRect(0, canvas.height, 1, 1);
  const wanted = context.getImageData(0, canvas.height, 1, 1).data;
  const left = over.left - box.left + over.width * step / last - 6;
  const side = Math.round(12 * density);
  const count = (top) => {
    const place = [left, top].map((at) => Math.round(at * density));
    const seen = context.getImageData(...place, side, side).data;
    let found = 0;
    for (let i = 0; i < seen.length; i += 4) {
      const away = [0, 1, 2].reduce((sum, c) => sum + Math.abs(seen[i + c] - wanted[c]), 0);
      if (seen[i + 3] > 128 && away < 60) found += 1;
    }
    return found;
  };
  const top = over.top - box.top;
  return [count(top), count(top + over.height - 12)];
}"""


def log_values(
    server: ServerProcess, run_id: str, metrics: dict[str, Sequence[float | str]]
) -> None:
    events = [event("run.started", 0, {"experiment_name": "values", "name": run_id})]
    for key, values in metrics.items():
        events += [
            event("metrics.logged", step * 1_000, {"metrics": {key: value}, "step": step})
            for step, value in enumerate(values)
        ]
    append(server, run_id, 1, events)
    until_known(server, run_id)


def card(page: Page, metric: str) -> Locator:
    found = page.locator(f"section[aria-label='{metric}']")
    expect(found.locator("canvas")).to_be_visible()
    return found


def point_at(page: Page, chart: Locator, step: float, last: int = LAST_STEP) -> None:
    """Move the pointer there; again, if the chart has moved away under it meanwhile."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < deadline:
        box = chart.locator(".u-over").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * step / last, box["y"] + box["height"] / 2)
        with suppress(AssertionError):
            expect(chart.locator(".tooltip")).to_contain_text(f"step {step:g}", timeout=5_000)
            return


def told(chart: Locator) -> list[list[str]]:
    """The names and values beside the crosshair of a chart, from the top."""
    return [row.locator("td").all_inner_texts()[1:3] for row in chart.locator(".tooltip tr").all()]


def marks(page: Page, chart: Locator, step: int) -> tuple[bool, bool]:
    """Whether there is a mark at the upper and at the lower edge of the plot."""
    colour = page.locator(".legend .dot").first.evaluate(
        "dot => getComputedStyle(dot).getPropertyValue('--run')"
    )
    above, below = page.evaluate(MARKS, [chart.element_handle(), step, LAST_STEP, colour])
    return above >= 8, below >= 8


def all_marks(
    page: Page, chart: Locator, expected: dict[int, tuple[bool, bool]]
) -> dict[int, tuple[bool, bool]]:
    """Those at the steps of `expected`, once they are drawn, or when that does not come to pass."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while True:
        found = {step: marks(page, chart, step) for step in expected}
        if found == expected or time.monotonic() >= deadline:
            return found
        page.wait_for_timeout(50)


def test_pointing_into_one_chart_shows_the_sorted_values_there_in_all(
    look: Look, ui_server: ServerProcess
) -> None:
    for number in range(3):
        rising = [step * (number + 1) for step in range(LAST_STEP + 1)]
        log_values(
            ui_server,
            f"cross-{number}",
            {"rise": rising, "fall": [-value for value in rising], "first": rising[:2]},
        )
    page = look.open("/?sel=cross-0,cross-1,cross-2&view=charts")
    rise, fall = card(page, "rise"), card(page, "fall")

    point_at(page, rise, 6)

    expect(rise.locator(".tooltip")).to_contain_text("step 6")
    expect(fall.locator(".tooltip")).to_contain_text("step 6")
    assert told(rise) == [["cross-2", "18"], ["cross-1", "12"], ["cross-0", "6"]]
    assert told(fall) == [
        ["cross-0", f"{MINUS}6"],
        ["cross-1", f"{MINUS}12"],
        ["cross-2", f"{MINUS}18"],
    ]
    line = fall.locator(".cross-line").bounding_box()
    plot = fall.locator(".u-over").bounding_box()
    assert line is not None
    assert plot is not None
    assert abs(line["x"] - (plot["x"] + plot["width"] * 0.6)) < 2
    expect(card(page, "first").locator(".tooltip")).to_have_count(0)  # nothing is there at 6
    look.keep("charts-crosshair")

    point_at(page, fall, 2)
    expect(rise.locator(".tooltip")).to_contain_text("step 2")
    expect(rise.locator(".cross-line")).to_be_visible()
    expect(fall.locator(".cross-line")).to_have_count(0)
    page.mouse.move(2, 2)
    expect(page.locator(".tooltip, .cross-line")).to_have_count(0)


def test_values_that_are_no_numbers_are_marked_where_they_were_logged(
    look: Look, ui_server: ServerProcess
) -> None:
    odd: list[float | str] = [1.0] * (LAST_STEP + 1)
    odd[3], odd[5], odd[7] = "NaN", "Infinity", "-Infinity"
    log_values(ui_server, "odd", {"odd": odd, "plain": [1.0] * (LAST_STEP + 1)})
    page = look.open("/?sel=odd&view=charts")
    chart = card(page, "odd")
    expect(chart.locator("footer")).to_have_text(f"11 points · × 1 NaN · ▲ +∞ · ▼ {MINUS}∞")
    expect(card(page, "plain").locator("footer")).to_have_text("11 points")

    expected = {
        1: (False, False), 3: (False, True), 5: (True, False), 7: (False, True), 9: (False, False)
    }  # fmt: skip
    assert all_marks(page, chart, expected) == expected
    for step, value in ((3, "NaN"), (5, "∞"), (7, f"{MINUS}∞"), (8, "1")):
        point_at(page, chart, step)
        expect(chart.locator(".tooltip")).to_contain_text(f"step {step}")
        assert told(chart) == [["odd", value]]
    look.keep("charts-no-numbers")


def test_a_metric_without_any_finite_value_shows_its_marks_and_says_so(
    look: Look, ui_server: ServerProcess
) -> None:
    values = ["NaN", *["Infinity"] * (LAST_STEP - 1), "NaN"]
    log_values(ui_server, "lost", {"lost": values})
    page = look.open("/?sel=lost&view=charts")
    chart = card(page, "lost")

    expect(chart).to_contain_text("No finite value so far")
    expect(chart.locator("footer")).to_have_text(re.compile("× 2 NaN · ▲ \\+∞$"))
    expected = {5: (True, False)}
    assert all_marks(page, chart, expected) == expected
