"""The web UI in a real browser on a real server: what a user does in the views of runs."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.browser import PATIENCE_MS, Look, looking
from tests.support.processes import ServerProcess
from tests.support.ui_runs import (
    append,
    event,
    experiment_id,
    log_long_run,
    until_known,
)


def rows(page: Page) -> list[str]:
    """The names in the table, from the top."""
    expect(page.locator(".grid-row a").first).to_be_visible()
    return page.locator(".grid-row.fixed a").all_inner_texts()


def test_the_first_page_shows_all_runs_with_their_values(look: Look) -> None:
    page = look.open("/")

    expect(page.get_by_role("status").filter(has_text="18 runs")).to_be_visible()
    assert len(rows(page)) == 18
    expect(page.get_by_role("grid", name="Runs")).to_contain_text("train/loss")
    expect(page.locator(".grid-row .status.failed").first).to_be_visible()
    look.keep("table")


def test_choosing_an_experiment_narrows_the_table_and_is_in_the_address(
    look: Look, sweep: str
) -> None:
    page = look.open("/")
    page.get_by_role("button", name="All experiments").click()
    page.get_by_role("searchbox", name="Search experiments").fill("swe")
    page.get_by_role("button", name=re.compile("^sweep")).click()

    expect(page.get_by_text("12 runs")).to_be_visible()
    assert f"exp={sweep}" in page.url


def test_the_filter_completes_keys_and_narrows_the_table(look: Look, sweep: str) -> None:
    page = look.open(f"/?exp={sweep}")
    box = page.get_by_role("combobox", name="Filter runs")
    box.fill("params.op")
    page.get_by_role("option", name="params.optimizer").click()
    box.press_sequentially("= 'adam'")
    box.press("Enter")

    expect(page.get_by_text("4 runs")).to_be_visible()
    assert all(name.startswith("adam") for name in rows(page))
    look.keep("filter")


def test_tab_completes_a_key_that_was_begun_and_passes_by_an_empty_filter(
    look: Look, sweep: str
) -> None:
    page = look.open(f"/?exp={sweep}")
    box = page.get_by_role("combobox", name="Filter runs")
    box.focus()
    expect(page.get_by_role("option").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(box).not_to_be_focused()
    expect(box).to_have_value("")

    box.press_sequentially("params.op")
    expect(page.get_by_role("option", name="params.optimizer")).to_be_visible()
    page.keyboard.press("Tab")
    expect(box).to_have_value("params.optimizer ")
    page.keyboard.press("Tab")
    expect(box).not_to_be_focused()


def test_completions_stay_for_whoever_comes_back_at_once(look: Look, sweep: str) -> None:
    page = look.open(f"/?exp={sweep}")
    box = page.get_by_role("combobox", name="Filter runs")
    box.focus()
    expect(page.get_by_role("option").first).to_be_visible()
    box.evaluate("field => { field.blur(); field.focus(); }")
    page.wait_for_timeout(300)  # whoever is gone sees them go after 150 ms

    expect(page.get_by_role("option").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("option")).to_have_count(0)


def test_a_filter_that_does_not_parse_is_pointed_at_and_keeps_the_table(
    look: Look, sweep: str
) -> None:
    page = look.open(f"/?exp={sweep}")
    before = rows(page)
    box = page.get_by_role("combobox", name="Filter runs")
    box.fill("metrics.`train/loss` << 3")
    box.press("Enter")

    expect(page.locator("#filter-error mark")).to_have_text("<")
    expect(page.locator("#filter-error")).to_contain_text("expected a number")
    assert rows(page) == before
    look.keep("filter-error")


def test_a_link_with_a_bad_filter_says_so_instead_of_going_blank(look: Look) -> None:
    page = look.open("/?q=nonsense%20%3D%201")

    expect(page.get_by_role("heading", name="The filter cannot be read")).to_be_visible()
    expect(page.locator("#filter-error")).to_contain_text("unknown")


def test_a_click_on_a_column_sorts_by_it_and_a_second_turns_it_round(
    look: Look, sweep: str
) -> None:
    page = look.open(
        f"/?exp={sweep}&cols=name,params.lr,metrics.train/accuracy|max,metrics.val/loss"
    )
    rows(page)
    header = page.get_by_role("columnheader").filter(has_text="val/loss").get_by_role("button")
    values = page.locator(".grid-row:not(.fixed) .cell:last-child")

    header.click()
    expect(page).to_have_url(re.compile("order=-metrics.val/loss"))
    wait_until_sorted(page, values, reverse=True)
    header.click()
    expect(page).to_have_url(re.compile("order=metrics.val/loss"))
    wait_until_sorted(page, values, reverse=False)


def wait_until_sorted(page: Page, values: Locator, *, reverse: bool) -> None:
    """The rows follow the address when the server has answered."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while True:
        texts = values.all_inner_texts()
        with suppress(ValueError):  # a row that is being drawn has no number
            numbers = [float(text) for text in texts]
            if len(numbers) > 1 and numbers == sorted(numbers, reverse=reverse):
                return
        assert time.monotonic() < deadline, texts
        page.wait_for_timeout(50)


def test_columns_are_picked_by_search_pinned_moved_and_resized_in_the_address(
    look: Look, sweep: str
) -> None:
    page = look.open(f"/?exp={sweep}")
    rows(page)
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("searchbox", name="Search columns").fill("team")
    page.get_by_role("dialog", name="Columns").get_by_text("team").click()
    expect(page.get_by_role("columnheader").filter(has_text="team")).to_have_count(1)
    page.get_by_role("searchbox", name="Search columns").fill("")
    page.get_by_role("button", name="Pin team").click()
    expect(page).to_have_url(re.compile(r"!tags\.team|%21tags\.team"))
    page.keyboard.press("Escape")

    grip = page.get_by_role("columnheader").filter(has_text="Status").locator(".resizer")
    box = grip.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 4, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 84, box["y"] + 10, steps=4)
    page.mouse.up()

    expect(page).to_have_url(re.compile("status(~|%7E)2\\d\\d"))
    started = page.get_by_role("columnheader").filter(has_text="Started")
    started.drag_to(page.get_by_role("columnheader").filter(has_text="Status"))
    expect(page).to_have_url(re.compile("start_time,status"))
    again = page.url
    page.goto(again)
    rows(page)
    heads = page.get_by_role("columnheader").all_inner_texts()
    assert heads.index("Started") < heads.index("Status")


def test_runs_are_grouped_by_a_param_with_aggregates_that_open(look: Look, sweep: str) -> None:
    page = look.open(f"/?exp={sweep}&group=params.optimizer")

    expect(page.get_by_text("12 runs in 3 groups")).to_be_visible()
    group = page.get_by_role("button", name=re.compile("^adam 4"))
    group.click()
    expect(page.locator(".grid-row:not(.group) a").first).to_contain_text("adam")
    expect(page.get_by_text("12 runs in 3 groups")).to_be_visible()
    value = page.locator(".grid-row.group .numeric").first
    value.hover()
    expect(value).to_have_attribute("title", re.compile("mean .* of 4 runs"))
    look.keep("groups")


def test_nested_runs_open_below_their_parent(look: Look, ui_server: ServerProcess) -> None:
    page = look.open(f"/?exp={experiment_id(ui_server, 'nested')}&tree=1")

    page.get_by_role("button", name="3 nested runs of the parent").click()

    expect(page.locator(".grid-row a").filter(has_text="child")).to_have_count(3)
    page.get_by_role("button", name="1 nested run of child 2").click()
    expect(page.get_by_role("link", name="the grandchild")).to_be_visible()
    look.keep("tree")


def test_the_table_is_walked_by_keyboard(look: Look, sweep: str) -> None:
    page = look.open(f"/?exp={sweep}")
    names = rows(page)
    page.get_by_role("grid", name="Runs").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.get_by_text("1 selected")).to_be_visible()
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name=names[1], exact=True)).to_be_visible()


def test_selected_runs_are_tagged_deleted_and_brought_back(
    look: Look, ui_server: ServerProcess
) -> None:
    page = look.open(f"/?exp={experiment_id(ui_server, 'nested')}")
    rows(page)
    page.get_by_role("checkbox", name="Select child 0").click()
    page.get_by_role("checkbox", name="Select child 1").click()
    page.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_label("Key", exact=True).fill("keep")
    page.get_by_label("Value", exact=True).fill("yes")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_text("Tagged 2 runs.")).to_be_visible()
    assert ui_server.get("/api/v1/runs/child-0")["tags"]["keep"] == "yes"

    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("2 runs are in the trash.")).to_be_visible()
    assert not [name for name in rows(page) if name in ("child 0", "child 1")]
    page.get_by_role("button", name="Undo").click()

    expect(page.locator(".grid-row a").filter(has_text="child 1")).to_be_visible()
    assert ui_server.get("/api/v1/runs/child-0")["lifecycle_stage"] == "active"


def test_charts_draw_the_selected_runs_and_refetch_finer_when_zoomed(
    look: Look, sweep: str
) -> None:
    page = look.open(f"/?exp={sweep}&sel=sweep-00,sweep-01,sweep-02&view=charts")
    card = page.get_by_role("region", name="train/loss").or_(
        page.locator("section[aria-label='train/loss']")
    )
    expect(card.locator("canvas")).to_be_visible()
    expect(card).to_contain_text("360 points")
    look.keep("charts")

    over = card.locator(".u-over")
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    expect(card.locator(".tooltip")).to_contain_text(re.compile("step (59|6[0-2])"))
    expect(card.locator(".tooltip tr")).to_have_count(3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.5, steps=5)
    page.mouse.up()

    expect(page).to_have_url(re.compile(r"zoom=\d+"))
    look.keep("charts-zoomed")
    card.get_by_role("button", name="Zoom out").click()
    expect(page).not_to_have_url(re.compile("zoom="))


def test_zooming_in_asks_for_finer_buckets_until_the_points_themselves_are_there(
    look: Look, ui_server: ServerProcess
) -> None:
    log_long_run(ui_server, "long", experiment="long", steps=9_000, spike_at=4_321)
    page = look.open("/runs/long?tab=charts")
    card = page.locator("section[aria-label='loss']")
    expect(card).to_contain_text("9 000 points in")
    box = card.locator(".u-over").bounding_box()
    assert box is not None

    with page.expect_request("**/metrics/query") as asked:
        page.mouse.move(box["x"] + box["width"] * 0.45, box["y"] + box["height"] * 0.5)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5, steps=5)
        page.mouse.up()

    question = asked.value.post_data_json
    assert question is not None
    assert 3_800 < question["start_step"] < 4_321 < question["end_step"] < 4_700
    expect(card.locator("footer")).to_have_text(re.compile(r"^\d{3} points$"))
    with page.expect_download() as csv:
        page.get_by_role("button", name="Data of loss (CSV)").click()
    rows = [line.split(",") for line in Path(csv.value.path()).read_text().splitlines()[1:]]
    assert all(row[3] == row[4] for row in rows)  # one step each
    assert [row[3] for row in rows if row[9] == "99"] == ["4321"]
    look.keep("charts-finer")


def test_charts_smooth_find_and_change_their_axes(look: Look, sweep: str) -> None:
    page = look.open(f"/?exp={sweep}&sel=sweep-00,sweep-05&view=charts")
    expect(page.locator(".chart-card canvas")).to_have_count(3)
    page.get_by_role("searchbox", name="Find metrics").fill("loss$")
    expect(page.locator(".chart-card")).to_have_count(2)
    page.get_by_label("Smoothing").fill("0.9")
    page.get_by_role("radio", name="Relative").click()
    page.get_by_label("log y").check()
    page.get_by_label("hide outliers").check()
    expect(page).to_have_url(re.compile("smooth=0.9"))
    look.keep("charts-smoothed")
    page.get_by_label("Another metric as x").select_option("train/accuracy")
    expect(page).to_have_url(re.compile("x=metric:train/accuracy"))
    expect(page.locator(".chart-card canvas").first).to_be_visible()
    page.get_by_role("button", name="train/loss in full").click()
    expect(page.get_by_role("dialog", name="train/loss").locator("canvas")).to_be_visible()
    page.keyboard.press("Escape")


def test_what_a_chart_draws_is_saved_as_csv_and_png(look: Look, sweep: str) -> None:
    page = look.open(f"/?exp={sweep}&sel=sweep-00,sweep-01&view=charts&metric=train/loss")
    expect(page.locator(".chart-card canvas")).to_be_visible()

    with page.expect_download() as csv:
        page.get_by_role("button", name="Data of train/loss (CSV)").click()
    with page.expect_download() as png:
        page.get_by_role("button", name="Picture of train/loss (PNG)").click()

    lines = Path(csv.value.path()).read_text().splitlines()
    assert lines[0].startswith("run_id,run,metric,first_step")
    assert len(lines) == 1 + 2 * 120
    assert any(line.split(",")[9] == "7" for line in lines[1:])  # the spike
    assert Path(png.value.path()).read_bytes().startswith(b"\x89PNG")


def test_runs_compared_side_by_side_show_what_differs_and_the_best(look: Look, sweep: str) -> None:
    page = look.open(f"/?exp={sweep}&sel=sweep-00,sweep-01,sweep-03&view=compare")

    different = page.locator("tr.different th")
    expect(different.filter(has_text="optimizer")).to_be_visible()
    expect(page.locator("tr", has_text="val/loss").locator("td.best")).to_have_count(1)
    look.keep("compare")
    page.get_by_label("only what differs").check()
    expect(page.locator("tbody th", has_text="team")).to_have_count(0)


def test_brushing_an_axis_of_parallel_coordinates_filters_the_table(look: Look, sweep: str) -> None:
    page = look.open(
        f"/?exp={sweep}&view=parallel&axes=params.lr,params.optimizer,metrics.val/loss"
    )
    expect(page.get_by_text("12 of 12 runs")).to_be_visible()
    brush = page.locator(".axis-brush").first
    box = brush.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 10, box["y"] + 1)
    page.mouse.down()
    page.mouse.move(box["x"] + 10, box["y"] + box["height"] * 0.3, steps=4)
    page.mouse.up()

    expect(page.get_by_text("3 of 12 runs")).to_be_visible()
    expect(page.get_by_role("region", name="Runs that are left").locator("tbody tr")).to_have_count(
        3
    )
    look.keep("parallel")


def test_the_scatter_names_the_best_run(look: Look, sweep: str) -> None:
    page = look.open(f"/?exp={sweep}&view=scatter&sx=params.lr&sy=metrics.val/loss")

    expect(page.get_by_text("Best val/loss:")).to_be_visible()
    look.keep("scatter")


def test_experiments_are_made_described_and_put_in_the_trash_and_back(look: Look) -> None:
    page = look.open("/experiments")
    page.get_by_role("button", name="New experiment").click()
    page.get_by_label("Name", exact=True).fill("made here")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("link", name="made here")).to_be_visible()
    page.get_by_role("button", name="Rename or describe made here").click()
    page.get_by_label("Description, in Markdown").fill(
        "A **bold** word, <img src=x onerror=\"document.title='hacked'\"> "
        "and [a link](javascript:document.title='hacked')"
    )
    expect(page.locator(".preview-box strong")).to_have_text("bold")
    assert page.locator(".preview-box img, .preview-box a").count() == 0
    page.get_by_role("button", name="Save").click()
    look.keep("experiments")
    page.get_by_role("button", name="Delete made here").click()
    expect(page.get_by_role("link", name="made here")).to_have_count(0)

    page.get_by_role("link", name="Trash").click()
    page.get_by_role("button", name="Restore with its runs").click()
    page.get_by_role("link", name="Experiments").click()
    expect(page.get_by_role("link", name="made here")).to_be_visible()
    assert page.title() != "hacked"


def test_the_server_page_proves_the_log(look: Look) -> None:
    page = look.open("/server")
    page.get_by_role("button", name="Verify now").click()

    expect(page.get_by_text("Everything is as it was recorded.")).to_be_visible()
    look.keep("server")


def test_the_server_page_names_the_writers_and_which_of_them_are_lost(
    look: Look, ui_server: ServerProcess
) -> None:
    for run_id, more in (("writing", 3), ("silent", 1)):
        host = event("tags.set", 0, {"tags": {"tracker.host": "node-7", "tracker.pid": "4711"}})
        metrics = [event("metrics.logged", n, {"metrics": {"loss": n}}) for n in range(more)]
        start = event("run.started", 0, {"experiment_name": "writers", "name": f"the {run_id}"})
        append(ui_server, run_id, 1, [start, host, *metrics])
        until_known(ui_server, run_id)
    lease = {"writer_id": "w-silent", "run_id": "silent", "state": "closed"}
    ui_server.post("/api/v1/leases", {"leases": [lease]})

    page = look.open("/server")

    table = page.get_by_role("region", name="Table of writers")
    live = table.get_by_role("row").filter(has_text="w-writing")
    expect(live.get_by_role("cell", name="live", exact=True)).to_be_visible()
    expect(live.get_by_role("cell", name="5", exact=True)).to_be_visible()  # received up to
    expect(live).to_contain_text("node-7 · pid 4711")
    lost = table.get_by_role("row").filter(has_text="w-silent")
    expect(lost.get_by_role("cell", name="lost", exact=True)).to_be_visible()
    look.keep("server-writers")
    lost.get_by_role("link", name="the silent").click()
    expect(page.get_by_role("heading", name="the silent")).to_be_visible()


def test_dark_mode_is_kept_and_the_phone_has_the_same_pages(
    browser: Browser, ui_server: ServerProcess, sweep: str
) -> None:
    with looking(browser, ui_server.uri, color_scheme="light") as look:
        page = look.open(f"/?exp={sweep}&view=charts&sel=sweep-00,sweep-01")
        expect(page.locator(".chart-card canvas").first).to_be_visible()
        button = page.get_by_role("button", name=re.compile("^Colours"))
        button.click()
        button.click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        expect(page.locator(".chart-card canvas").first).to_be_visible()
        look.keep("charts-dark")
    with looking(browser, ui_server.uri, width=390, height=800) as phone:
        page = phone.open(f"/?exp={sweep}")
        rows(page)
        phone.keep("phone-table")
        page.locator(".grid-row a").first.click()
        expect(page.get_by_role("tab", name="Overview")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        phone.keep("phone-run")
