"""The web UI in a real browser: what addresses open, and that nothing in them can act."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.support.browser import Look, looking
from tests.support.processes import ServerProcess
from tests.support.ui_runs import HOSTILE, log_run

VIEWS = {
    "light": (
        "/?exp={sweep}&sel=sweep-00,sweep-01",
        "/?exp={sweep}&sel=sweep-00,sweep-01&view=charts",
        "/?exp={sweep}&view=parallel",
        "/?q=nonsense",
        "/runs/sweep-03",
        "/experiments",
        "/server",
        "/nonsense",
    ),
    "dark": (
        "/?exp={sweep}&sel=sweep-00,sweep-01",
        "/?exp={sweep}&sel=sweep-00,sweep-01&view=compare",
        "/runs/sweep-03?tab=events&at=40",
    ),
}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_views_have_names_roles_and_contrast_for_everybody(
    browser: Browser, ui_server: ServerProcess, sweep: str, theme: str
) -> None:
    """As axe-core judges them."""
    found = []
    with looking(browser, ui_server.uri, color_scheme=theme, reduced_motion="reduce") as look:
        for path in VIEWS[theme]:
            page = look.open(path.format(sweep=sweep))
            expect(page.locator("main .spinner, main .skeleton")).to_have_count(0)
            result = Axe().run(page, options={"resultTypes": ["violations"]})
            found += [
                (path, one["id"], one["nodes"][0]["html"]) for one in result.response["violations"]
            ]
    assert found == []


def test_links_that_mlflow_prints_open_the_right_page(look: Look, sweep: str) -> None:
    page = look.open(f"/#/experiments/{sweep}/runs/sweep-03")
    expect(page.get_by_role("heading", name="adam 0.003 #3")).to_be_visible()
    assert page.url.endswith("/runs/sweep-03")

    page.evaluate(f"location.hash = '#/experiments/{sweep}'")
    expect(page.get_by_text("12 runs")).to_be_visible()
    assert page.url.endswith(f"/?exp={sweep}")


def test_an_address_that_is_no_text_says_so_instead_of_going_blank(look: Look) -> None:
    page = look.open("/runs/%25E0%25A4%25A")

    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("link", name="All runs", exact=True)).to_be_visible()


def test_an_address_where_nothing_is_says_so_and_leads_back(look: Look) -> None:
    answer = look.page.goto(look.url + "/nonsense/there")
    assert answer is not None
    assert answer.status == 404

    expect(
        look.page.get_by_role("heading", name="There is nothing at this address")
    ).to_be_visible()
    look.page.get_by_role("main").get_by_role("link", name="All runs").click()
    expect(look.page.get_by_role("grid", name="Runs")).to_be_visible()


def test_a_link_shows_another_reader_the_same_view(
    look: Look, browser: Browser, ui_server: ServerProcess, sweep: str
) -> None:
    page = look.open(f"/?exp={sweep}&cols=!name,metrics.val/loss,params.lr&order=params.lr")
    page.get_by_role("checkbox", name="Select adam 0.003 #3").click()
    expect(page.get_by_text("1 selected")).to_be_visible()
    page.get_by_role("radio", name="Compare").click()
    expect(page.get_by_role("region", name="Comparison")).to_be_visible()
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Name of this view").fill("the failed one")
    page.get_by_role("button", name="Save").click()
    shared = page.url

    with looking(browser, ui_server.uri) as other:
        page = other.open(shared.removeprefix(ui_server.uri))
        expect(page.get_by_role("columnheader", name="adam 0.003 #3")).to_be_visible()
        page.get_by_role("radio", name="Table").click()
        expect(page.get_by_role("columnheader").nth(2)).to_contain_text("lr")
        expect(page.get_by_text("1 selected")).to_be_visible()

    page = look.open("/")
    page.get_by_role("button", name="Views").click()
    page.get_by_role("button", name="the failed one", exact=True).click()
    expect(page.get_by_role("columnheader", name="adam 0.003 #3")).to_be_visible()


def test_posts_from_other_pages_are_refused_and_no_address_changes_anything(
    look: Look, ui_server: ServerProcess
) -> None:
    page = look.open("/")
    policy = page.request.get(ui_server.uri).headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy

    forged = page.request.post(
        f"{ui_server.uri}/api/v1/experiments",
        data={"name": "forged"},
        headers={"Origin": "https://elsewhere.example"},
    )
    assert forged.status == 403


def test_names_that_are_markup_stay_text_everywhere(look: Look, ui_server: ServerProcess) -> None:
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


def test_an_unknown_run_and_a_deleted_one_say_what_to_do(
    look: Look, ui_server: ServerProcess
) -> None:
    page = look.open("/runs/nobody-knows-it")
    expect(page.get_by_role("alert")).to_contain_text("there is no run")
    expect(page.get_by_role("alert")).to_contain_text("tracker spool")

    log_run(ui_server, "gone", experiment="files", name="gone", steps=3)
    page = look.open("/runs/gone")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("This run is in the trash.")).to_be_visible()
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("button", name="Delete")).to_be_visible()
