"""The web UI in headless Chromium: first table, drawing, scrolling, and what it weighs.

A server process with 100,000 runs (filled as bench_search fills them) answers the page; the
series of the drawing test are made up, 100 of 2,000 buckets. `--runs 10000` is the quick look.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from playwright.sync_api import Browser, CDPSession, Page

from benchmarks.bench_search import fill
from benchmarks.machine import describe_machine
from benchmarks.read_server import app_of, running, serve
from ingest.routes import experiments, run_groups, runs, ui
from ingest.ui.assets import build
from projections.runs_queries import RunsQueries
from tests.support.browser import running_browser

SERIES, BUCKETS = 100, 2_000
FIRST_RUNS = 5  # loads of the page; the first one also fills the browser's caches
SCROLL_S = 4.0
SCROLLS = 2
SCROLL = """([seconds, across]) => new Promise(done => {
  const grid = document.querySelector('.grid');
  const began = performance.now();
  const frames = [];
  let last = began;
  const step = now => {
    frames.push(now - last);
    last = now;
    if (across) grid.scrollLeft += 130;
    else grid.scrollTop += 130;
    if (now - began < seconds * 1000) requestAnimationFrame(step);
    else done({ frames: frames.slice(2), way: across ? grid.scrollLeft : grid.scrollTop });
  };
  requestAnimationFrame(step);
})"""
DRAWN = """() => {
  const at = name => performance.getEntriesByName(name).at(-1)?.startTime;
  const drawn = performance.getEntriesByName('tracker-chart-drawn')
    .map(mark => mark.startTime).filter(time => time > at('tracker-series-data'));
  return drawn.length > 0 ? drawn[0] - at('tracker-series-data') : null;
}"""


def series_answer(run_ids: list[str], key: str) -> bytes:
    """Noisy curves in buckets of many points each, as the server would give them."""
    steps = list(range(0, BUCKETS * 50, 50))
    series = []
    for number, run_id in enumerate(run_ids):
        middle = [
            math.exp(-i / 600) + 0.2 * math.sin(i * (number + 1) / 90) for i in range(BUCKETS)
        ]
        low = [value - 0.1 - 0.05 * (i % 7) for i, value in enumerate(middle)]
        high = [value + 0.1 + 0.05 * (i % 5) for i, value in enumerate(middle)]
        times = [1_700_000_000_000_000 + step * 1_000_000 for step in steps]
        series.append(
            {
                "run_id": run_id, "key": key, "is_reduced": True, "points": BUCKETS * 50,
                "first_step": steps, "last_step": [step + 49 for step in steps],
                "first_time_us": times, "last_time_us": times,
                "count": [50] * BUCKETS, "nan_count": [0] * BUCKETS,
                "min": low, "max": high, "first": middle, "last": middle, "position": 1,
            }
        )  # fmt: skip
    return orjson.dumps({"series": series})


async def query(request: web.Request) -> web.Response:
    asked = orjson.loads(await request.read())
    body = await asyncio.to_thread(series_answer, asked["run_ids"], asked["keys"][0])
    return web.Response(body=body, content_type="application/json")


async def ready(request: web.Request) -> web.Response:
    return web.json_response({"status": "ready", "head": 1, "projections": []})


async def events(request: web.Request) -> web.Response:
    await asyncio.sleep(20)
    return web.Response(headers={"X-Tracker-Position": "1"})


async def serve_pages(path: Path) -> None:
    """The pages and the runs' handlers."""
    store = RunsQueries(path)
    app = app_of((*runs.ROUTES, *run_groups.ROUTES, *experiments.ROUTES, *ui.ROUTES), runs=store)
    app.router.add_get("/ready", ready)
    app.router.add_get("/api/v1/events", events)
    app.router.add_post("/api/v1/metrics/query", query)
    await serve(app)
    await store.aclose()


def first_table(browser: Browser, url: str) -> list[float]:
    """Milliseconds from the navigation to the first row with a value, each in a fresh context."""
    times = []
    for _ in range(FIRST_RUNS):
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        began = time.perf_counter()
        page.goto(url, wait_until="commit")
        page.locator(".grid-row .cell.numeric").first.wait_for()
        times.append((time.perf_counter() - began) * 1000)
        context.close()
    return times


@dataclass(frozen=True)
class Scrolled:
    rate: float  # frames a second
    longest_ms: float
    way_px: float
    cpu_ms: float  # of the page's thread, per frame: what it costs when nothing else runs

    def __str__(self) -> str:
        return (
            f"{self.rate:6.1f} frames/s, longest {self.longest_ms:.0f} ms, {self.way_px:.0f} px; "
            f"{self.cpu_ms:.1f} ms of CPU a frame"
        )


def scrolling(page: Page, url: str, *, is_across: bool = False) -> Scrolled:
    page.goto(url)
    page.locator(".grid-row .cell.numeric").first.wait_for()
    page.wait_for_timeout(500)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = cpu_s(session)
    told: dict[str, Any] = page.evaluate(SCROLL, [SCROLL_S, is_across])
    frames = told["frames"]
    cpu_ms = (cpu_s(session) - before) * 1000 / len(frames)
    return Scrolled(len(frames) / (sum(frames) / 1000), max(frames), told["way"], cpu_ms)


def thousand_columns() -> list[str]:
    """All that the runs have in every summary, first; then keys that none of them has."""
    summaries = ("", "|min", "|max", "|first", "|count")
    known = [f"metrics.m{number}{one}" for number in range(10) for one in summaries]
    known += [f"params.p{number}" for number in range(19)]
    return ["!name", *known, *(f"tags.none{number}" for number in range(999 - len(known)))]


def cpu_s(session: CDPSession) -> float:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(float(one["value"]) for one in metrics if one["name"] == "TaskDuration")


def drawing(page: Page, url: str, run_ids: list[str]) -> list[float]:
    """Milliseconds from the series' arrival in the page to the end of the drawing."""
    times = []
    for _ in range(5):
        page.goto(f"{url}/?view=charts&metric=m0&sel={','.join(run_ids)}")
        page.wait_for_function(DRAWN, timeout=30_000)
        page.wait_for_timeout(300)
        times.append(float(page.evaluate(DRAWN)))
    return times


def measure(browser: Browser, url: str) -> None:
    times = first_table(browser, url)
    print(
        f"first table on screen          {statistics.median(times):6.0f} ms (first {times[0]:.0f})"
    )
    by = first_table(browser, f"{url}/?order=-metrics.m0&q=metrics.m1%20%3C%200.5")
    print(f"the same, filtered and sorted  {statistics.median(by):6.0f} ms")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    wide = f"{url}/?cols={','.join(thousand_columns())}"
    for _ in range(SCROLLS):
        print(f"scrolling the table            {scrolling(page, url)}")
        print(f"scrolling 1,000 columns        {scrolling(page, wide)}")
        print(f"the same, across               {scrolling(page, wide, is_across=True)}")
    answer = page.request.post(
        f"{url}/api/v1/runs/search", data={"max_results": SERIES, "columns": []}
    ).json()
    drawn = drawing(page, url, [run["run_id"] for run in answer["runs"]])
    print(
        f"{SERIES} series x {BUCKETS} buckets drawn   {statistics.median(drawn):6.0f} ms after data"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--file", type=Path, help="keep the filled file here, and use it again")
    parser.add_argument("--serve", type=Path, help="only serve from this file")
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve_pages(given.serve))
        return
    print(describe_machine())
    built = build()
    size = sum(len(a.compressed or a.body) for a in [built.page, *built.files.values()])
    print(f"assets                         {size / 1000:6.0f} kB compressed, all of them")
    with tempfile.TemporaryDirectory() as folder:
        path = given.file or Path(folder) / "runs.sqlite"
        if not path.exists():
            fill(path, given.runs)
        asked = ("benchmarks.bench_ui", "--serve", str(path))
        with running(*asked) as (url, _), running_browser() as browser:
            measure(browser, url)


if __name__ == "__main__":
    main()
