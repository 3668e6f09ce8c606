"""The web UI in a real browser: the page of a run, live runs, and what may go wrong."""

from __future__ import annotations

import io
import re
import struct
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import Look, looking, running_browser
from tests.support.processes import ServerProcess, running_server, start_script
from tests.support.ui_runs import (
    HOSTILE,
    append,
    event,
    experiment_id,
    log_run,
    log_sweep,
    until_known,
)

HTML = b"""<h1 id=title>quiet</h1><script>
  document.getElementById('title').textContent = 'scripts run here';
  try { parent.document.title = 'hacked'; } catch (error) { document.body.append(' shut in'); }
  fetch('/api/v1/experiments').catch(() => document.body.append(' no network'));
</script>"""
SVG = (
    b"<svg xmlns='http://www.w3.org/2000/svg' width='40' height='40'>"
    b"<script>parent.document.title='hacked'</script>"
    b"<rect width='40' height='40' fill='teal'/></svg>"
)


def png() -> bytes:
    """A red picture of 2 × 2."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    raw = b"".join(b"\0" + b"\xff\0\0" * 2 for _ in range(2))
    head = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def parquet() -> bytes:
    table = pyarrow.table({"word": ["one", "two", "three"], "count": [1, 2, 3]})
    into = io.BytesIO()
    pyarrow.parquet.write_table(table, into, compression="zstd")
    return into.getvalue()


FILES = {
    "notes.txt": b"first line\nsecond line\n",
    "config.json": b'{"lr": 0.1, "name": "<b>x</b>"}',
    "table.csv": b'name,score\n"a, b",1\n<img src=x>,2\n',
    "data/rows.parquet": parquet(),
    "plots/red.png": png(),
    "plots/drawing.svg": SVG,
    "report.html": HTML,
    "readme.md": b"# Title\n\n<script>document.title='hacked'</script>\n\n- item",
    "weights.bin": bytes(range(256)),
}


def put(server: ServerProcess, run_id: str, path: str, body: bytes) -> None:
    request = urllib.request.Request(
        f"{server.uri}/api/v1/runs/{run_id}/artifacts/{path}", data=body, method="PUT"
    )
    with urllib.request.urlopen(request, timeout=30):
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    home: Path = tmp_path_factory.mktemp("ui")
    with running_server(home, "--artifacts-destination", str(home / "artifacts")) as running:
        log_sweep(running)
        experiment_id(running, "nested")
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture
def look(browser: Browser, server: ServerProcess) -> Iterator[Look]:
    with looking(browser, server.uri) as opened:
        yield opened


def test_the_page_of_a_run_shows_what_it_was_given_and_measured(look: Look) -> None:
    page = look.open("/runs/sweep-03")

    expect(page.get_by_role("heading", name="adam 0.003 #3")).to_be_visible()
    expect(page.locator(".run-title .status")).to_contain_text("failed")
    expect(page.locator(".run-title .status")).to_contain_text("out of memory")
    metric = page.get_by_role("region", name="Metrics").locator("tr", has_text="train/loss")
    expect(metric).to_contain_text("7")
    expect(metric).to_contain_text("1 NaN")
    expect(metric.locator("svg path")).to_have_count(1)
    look.keep("run")


def test_tags_are_set_changed_and_removed_on_the_page_of_a_run(
    look: Look, server: ServerProcess
) -> None:
    page = look.open("/runs/sweep-00")
    page.get_by_label("New tag's key").fill("stage")
    page.get_by_label("New tag's value").fill("draft")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("button", name="Edit stage").click()
    page.get_by_label("Value of stage").fill("final")
    page.get_by_label("Value of stage").press("Enter")
    expect(page.get_by_role("cell", name="final")).to_be_visible()
    assert server.get("/api/v1/runs/sweep-00")["tags"]["stage"] == "final"
    page.get_by_role("button", name="Remove stage").click()

    expect(page.get_by_role("cell", name="final")).to_have_count(0)
    assert "stage" not in server.get("/api/v1/runs/sweep-00")["tags"]


def test_the_history_opens_events_and_shows_the_run_as_it_was(look: Look) -> None:
    page = look.open("/runs/sweep-01?tab=events")
    line = page.locator(".event-line").filter(has_text="params.logged")
    line.click()
    expect(page.locator(".event-detail")).to_contain_text("optimizer")
    page.get_by_role("button", name="Show the run as it was here").click()

    then = page.get_by_role("region", name="Values then and now")
    expect(then.locator("tr", has_text="train/loss")).to_contain_text("–")
    expect(page.locator(".past .status")).not_to_contain_text("finished")
    look.keep("time-travel")

    slider = page.get_by_role("slider", name="Position in the log")
    slider.focus()
    for _ in range(60):
        slider.press("ArrowRight")
    expect(page).to_have_url(re.compile(r"at=\d+"))
    expect(then.locator("tr", has_text="train/accuracy")).not_to_contain_text("–")
    page.get_by_role("button", name="Back to now").click()
    expect(page.get_by_text("now; drag to go back")).to_be_visible()


def test_writers_say_how_far_the_server_has_heard_of_them(look: Look) -> None:
    page = look.open("/runs/sweep-01?tab=writers")

    expect(page.get_by_role("region", name="Writers")).to_contain_text("w-sweep-01")
    expect(page.get_by_role("region", name="Writers")).to_contain_text("124")


def test_nested_runs_lead_to_the_table_and_back(look: Look) -> None:
    page = look.open("/runs/parent?tab=nested")
    expect(page.get_by_role("link", name=re.compile("child"))).to_have_count(3)
    page.get_by_role("link", name="child 1").click()
    page.get_by_role("link", name="parent run").click()

    expect(page.get_by_role("heading", name="the parent")).to_be_visible()


def test_artifacts_are_shown_by_kind_and_none_of_them_can_act(
    look: Look, server: ServerProcess
) -> None:
    log_run(server, "files", experiment="files", name="with files", steps=3)
    until_known(server, "files")
    for path, body in FILES.items():
        put(server, "files", path, body)
    page = look.open("/runs/files?tab=artifacts")
    view = page.locator(".artifact-view")

    page.get_by_role("button", name=re.compile("notes.txt")).click()
    expect(view.locator("pre")).to_contain_text("second line")
    page.get_by_role("button", name=re.compile("config.json")).click()
    expect(view.locator("pre")).to_contain_text('"name": "<b>x</b>"')
    page.get_by_role("button", name=re.compile("table.csv")).click()
    expect(view.get_by_role("cell", name="a, b")).to_be_visible()
    expect(view.get_by_role("cell", name="<img src=x>")).to_be_visible()
    page.get_by_role("button", name=re.compile("readme.md")).click()
    expect(view.get_by_role("heading", name="Title")).to_be_visible()
    expect(view).to_contain_text("<script>")
    page.get_by_role("button", name=re.compile("^plots 2")).click()
    page.get_by_role("button", name=re.compile("red.png")).click()
    expect(view.locator("img")).to_be_visible()
    assert (
        view.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 2
    )
    page.get_by_role("button", name=re.compile("drawing.svg")).click()
    expect(view.locator("img")).to_be_visible()
    page.get_by_role("button", name=re.compile("^data 1")).click()
    page.get_by_role("button", name=re.compile("rows.parquet")).click()
    expect(view.get_by_role("cell", name="three")).to_be_visible()
    look.keep("artifacts")
    page.get_by_role("button", name=re.compile("weights.bin")).click()
    expect(view).to_contain_text("There is no preview")

    page.get_by_role("button", name=re.compile("report.html")).click()
    inside = page.frame_locator("iframe")
    expect(inside.locator("#title")).to_have_text("scripts run here")
    expect(inside.locator("body")).to_contain_text("shut in")
    expect(inside.locator("body")).to_contain_text("no network")
    look.keep("artifact-html")
    assert page.title() != "hacked"
    look.complaints.clear()  # the frame's policy reports on the console what it has stopped

    with page.expect_download() as whole:
        page.get_by_role("button", name="All files as a zip").click()
    assert Path(whole.value.path()).read_bytes().startswith(b"PK")


def test_a_corrupt_artifact_says_so_and_what_to_do(look: Look, server: ServerProcess) -> None:
    log_run(server, "corrupt", experiment="files", name="corrupt", steps=3)
    until_known(server, "corrupt")
    put(server, "corrupt", "model.txt", b"what was logged " * 1000)
    entry = server.get("/api/v1/runs/corrupt/artifacts")["artifacts"][0]
    (blob,) = (server.home / "artifacts").rglob(entry["digest"])
    blob.chmod(0o600)
    blob.write_bytes(b"what lies there " * 1000)

    page = look.open("/runs/corrupt?tab=artifacts&file=model.txt")

    expect(page.get_by_role("alert")).to_contain_text("not those that were logged")
    expect(page.get_by_role("alert")).to_contain_text("Log the file again")
    blob.unlink()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_contain_text("not in the artifact store")
    look.keep("artifact-corrupt")


def test_names_that_are_markup_stay_text_everywhere(look: Look, server: ServerProcess) -> None:
    page = look.open("/")
    expect(page.locator(".grid-row a", has_text="onerror")).to_have_text(HOSTILE)
    look.keep("hostile")
    for path in (
        "/runs/hostile",
        "/runs/hostile?tab=events",
        "/runs/hostile?tab=charts",
        "/?sel=hostile,sweep-01&view=compare",
        "/?sel=hostile,sweep-01&view=charts",
        "/?view=parallel&axes=params.<b>key</b>,params.lr",
        "/?view=scatter&sx=params.<b>key</b>",
        "/experiments",
    ):
        page = look.open(path)
        page.wait_for_timeout(350)
        assert page.locator("#app img[src=x], #app b").count() == 0, path
        assert page.title() != "hacked", path


def test_an_unknown_run_and_a_deleted_one_say_what_to_do(look: Look, server: ServerProcess) -> None:
    page = look.open("/runs/nobody-knows-it")
    expect(page.get_by_role("alert")).to_contain_text("there is no run")
    expect(page.get_by_role("alert")).to_contain_text("tracker spool")

    log_run(server, "gone", experiment="files", name="gone", steps=3)
    page = look.open("/runs/gone")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("This run is in the trash.")).to_be_visible()
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("button", name="Delete")).to_be_visible()


def test_what_a_process_logs_appears_within_two_seconds(
    look: Look, server: ServerProcess, tmp_path: Path
) -> None:
    script = f"""
import time, tracker
tracker.set_tracking_uri({server.uri!r})
tracker.set_experiment("live")
with tracker.start_run(run_name="going on") as run:
    print(run.info.run_id, flush=True)
    for step in range(10_000):
        tracker.log_metric("loss", 1 / (step + 1), step=step)
        time.sleep(0.05)
"""
    page = look.open("/")
    expect(page.get_by_role("grid", name="Runs")).to_be_visible()
    process = start_script(tmp_path, script)
    try:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        # Without a reload: a new row, then its numbers moving.
        row = page.locator(".grid-row.fixed", has_text="going on")
        expect(row).to_be_visible(timeout=15_000)
        rest = page.locator(f".grid-row[data-index='{row.get_attribute('data-index')}']").last
        expect(rest.locator(".status.running")).to_be_visible()

        page = look.open(f"/runs/{run_id}?tab=charts")
        footer = page.locator(".chart-card footer")
        expect(footer).to_contain_text("points")
        seen = points(footer.inner_text())
        page.wait_for_timeout(2_000)
        assert points(footer.inner_text()) >= seen + 10
        look.keep("live")
    finally:
        process.kill()
        process.communicate()


def points(text: str) -> int:
    return int(re.sub(r"\D", "", text.partition("points")[0]))


def test_a_server_that_goes_away_leaves_the_page_and_comes_back(
    browser: Browser, tmp_path: Path
) -> None:
    with running_server(tmp_path) as server:
        log_run(server, "one", experiment="outage", name="before the outage", steps=20)
        experiment_id(server, "outage")
        with looking(browser, server.uri) as look:
            page = look.open("/")
            expect(page.locator(".grid-row a", has_text="before")).to_be_visible()
            server.kill()
            expect(page.get_by_role("alert")).to_contain_text(
                "The server does not answer", timeout=15_000
            )
            expect(page.locator(".grid-row a", has_text="before")).to_be_visible()
            page.get_by_role("link", name="Experiments").click()
            look.keep("offline")
            server.start()
            log_run(server, "two", experiment="outage", name="after the outage", steps=20)

            expect(page.get_by_role("link", name="outage")).to_be_visible(timeout=20_000)
            expect(page.get_by_role("alert")).to_have_count(0)
            page.get_by_role("link", name="Runs", exact=True).click()
            expect(page.locator(".grid-row a", has_text="after")).to_be_visible()


def test_the_key_is_asked_for_once_and_kept_for_the_session(
    browser: Browser, tmp_path: Path
) -> None:
    with (
        running_server(tmp_path, "--api-key", "sesame") as server,
        looking(browser, server.uri) as look,
    ):
        page = look.open("/experiments")
        expect(page.get_by_role("heading", name=re.compile("API key"))).to_be_visible()
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_label("API key")).to_be_visible()
        page.get_by_label("API key").fill("sesame")
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("heading", name="Experiments")).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", name="Experiments")).to_be_visible()
        assert page.evaluate("Object.keys(localStorage).join() + document.cookie") == ""


def test_a_run_that_is_lost_says_that_it_is_not_dead(look: Look, server: ServerProcess) -> None:
    log_run(server, "lost", experiment="files", name="lost", steps=5, status=None)
    append(server, "lost", 9, [event("tags.set", 1_700_000_000_000_000, {"tags": {"late": "yes"}})])

    page = look.open("/runs/lost")

    expect(page.locator(".run-title .status")).to_contain_text(re.compile("running|lost"))
    expect(page.get_by_role("cell", name="yes")).to_be_visible()
