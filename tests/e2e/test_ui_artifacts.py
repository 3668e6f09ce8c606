"""The web UI in a real browser: the files of runs and models, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from tests.support.browser import Look
from tests.support.processes import ServerProcess
from tests.support.ui_files import FILES, pdf, put, wav, webm
from tests.support.ui_runs import experiment_id, log_run, until_known

# Resolves when the browser has read what a sound or a video is.
READY = (
    "one => new Promise(done => one.readyState ? done() : (one.onloadedmetadata = () => done()))"
)


def test_artifacts_are_shown_by_kind_and_none_of_them_can_act(
    look: Look, ui_server: ServerProcess
) -> None:
    log_run(ui_server, "files", experiment="files", name="with files", steps=3)
    until_known(ui_server, "files")
    for path, body in FILES.items():
        put(ui_server, "runs/files", path, body)
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


def test_a_corrupt_artifact_says_so_and_what_to_do(look: Look, ui_server: ServerProcess) -> None:
    log_run(ui_server, "corrupt", experiment="files", name="corrupt", steps=3)
    until_known(ui_server, "corrupt")
    put(ui_server, "runs/corrupt", "model.txt", b"what was logged " * 1000)
    entry = ui_server.get("/api/v1/runs/corrupt/artifacts")["artifacts"][0]
    (blob,) = (ui_server.home / "artifacts").rglob(entry["digest"])
    blob.chmod(0o600)
    blob.write_bytes(b"what lies there " * 1000)

    page = look.open("/runs/corrupt?tab=artifacts&file=model.txt")

    expect(page.get_by_role("alert")).to_contain_text("not those that were logged")
    expect(page.get_by_role("alert")).to_contain_text("Log the file again")
    blob.unlink()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_contain_text("not in the artifact store")
    look.keep("artifact-corrupt")


def test_sound_video_and_documents_are_played_and_shown(
    look: Look, ui_server: ServerProcess
) -> None:
    log_run(ui_server, "media", experiment="files", name="with media", steps=3)
    until_known(ui_server, "media")
    video = webm(look.open("/"))
    for path, body in {"sound.wav": wav(), "film.webm": video, "report.pdf": pdf()}.items():
        put(ui_server, "runs/media", path, body)

    page = look.open("/runs/media?tab=artifacts&file=sound.wav")
    view = page.locator(".artifact-view")
    sound = view.locator("audio")
    expect(sound).to_be_visible()
    sound.evaluate(READY)
    assert sound.evaluate("one => one.duration") == 0.5
    look.keep("artifact-sound")

    page.get_by_role("button", name=re.compile("film.webm")).click()
    view.locator("video").evaluate(READY)
    assert view.locator("video").evaluate("one => one.videoWidth") == 64

    page.get_by_role("button", name=re.compile("report.pdf")).click()
    expect(view.locator("iframe")).to_have_attribute("src", re.compile("^blob:"))
    look.keep("artifact-pdf")


def test_bytes_that_are_not_what_their_name_says_are_said_to_be_so(
    look: Look, ui_server: ServerProcess
) -> None:
    log_run(ui_server, "broken", experiment="files", name="broken files", steps=3)
    until_known(ui_server, "broken")
    for path in ("picture.png", "sound.wav", "rows.parquet"):
        put(ui_server, "runs/broken", path, b"none of these")

    for path, kind in (("picture.png", "image"), ("sound.wav", "audio"), ("rows.parquet", "table")):
        page = look.open(f"/runs/broken?tab=artifacts&file={path}")
        expect(page.get_by_role("alert")).to_contain_text(kind)
        expect(page.get_by_role("alert")).to_contain_text("Download the file")


def test_the_first_file_is_shown_without_a_choice(look: Look, ui_server: ServerProcess) -> None:
    log_run(ui_server, "one-file", experiment="files", name="one file", steps=3)
    until_known(ui_server, "one-file")
    put(ui_server, "runs/one-file", "notes.txt", b"what was noted")

    page = look.open("/runs/one-file?tab=artifacts")

    expect(page.locator(".artifact-view pre")).to_contain_text("what was noted")


def test_what_a_run_read_is_told_with_digest_and_source(
    look: Look, ui_server: ServerProcess
) -> None:
    log_run(ui_server, "reader", experiment="files", name="the reader", steps=3)
    until_known(ui_server, "reader")
    dataset = {
        "name": "digits", "digest": "0c3ff6f3", "source_type": "local",
        "source": '{"uri": "digits.csv"}', "profile": '{"num_rows": 1797}',
    }  # fmt: skip
    tags = [{"key": "mlflow.data.context", "value": "training"}]
    ui_server.post(
        "/api/2.0/mlflow/runs/log-inputs",
        {"run_id": "reader", "datasets": [{"dataset": dataset, "tags": tags}]},
    )

    page = look.open("/runs/reader?tab=inputs")

    expect(page.get_by_role("heading", name="digits training")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("Digest 0c3ff6f3"))).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("num_rows"))).to_be_visible()


def test_a_logged_model_is_found_on_its_run_and_has_a_page_of_its_own(
    look: Look, ui_server: ServerProcess
) -> None:
    log_run(ui_server, "trainer", experiment="models", name="the trainer", steps=3)
    model_id = logged_model(ui_server, experiment_id(ui_server, "models"), "trainer")
    put(ui_server, f"models/{model_id}", "MLmodel", b"flavors: none\n")

    page = look.open("/runs/trainer?tab=models")
    page.get_by_role("link", name="classifier").click()

    expect(page.get_by_role("heading", name="classifier")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("depth 3"))).to_be_visible()
    expect(page.locator(".artifact-view pre")).to_contain_text("flavors")
    look.keep("model")
    page.get_by_role("link", name="the run that logged it").click()
    expect(page.get_by_role("heading", name="the trainer")).to_be_visible()

    page = look.open("/models/m-unknown")
    expect(page.get_by_role("alert")).to_contain_text("there is no model")


def logged_model(server: ServerProcess, experiment: str, run_id: str) -> str:
    answer: dict[str, Any] = server.post(
        "/api/2.0/mlflow/logged-models",
        {
            "experiment_id": experiment,
            "name": "classifier",
            "source_run_id": run_id,
            "params": [{"key": "depth", "value": "3"}],
        },
    )
    return str(answer["model"]["info"]["model_id"])
