"""The web UI as the server gives it out: its headers, its size, and that it is up to date."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

from ingest.routes.ui import VIEWS
from ingest.ui.assets import build
from tests.support.http_server import serving

UI = Path(__file__).parents[2] / "ui"
SOURCES = ("index.html", "package-lock.json", "package.json", "public", "src", "vite.config.ts")
ASSETS_BYTES_MAX = 400_000
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def fingerprint() -> str:
    """See sayWhatItIsOf in ui/vite.config.ts."""
    files = []
    for name in SOURCES:
        path = UI / name
        files += [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    whole = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.relative_to(UI).as_posix()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{path.relative_to(UI).as_posix()}\0{digest}\n".encode())
    return whole.hexdigest()


def test_the_build_in_the_package_is_of_the_sources_in_the_repository() -> None:
    said = json.loads(build().files["build.json"].body)

    assert said["sources"] == fingerprint(), "run: make ui"


def test_all_assets_together_are_small() -> None:
    built = build()
    assets = [built.page, *built.files.values()]

    assert sum(len(asset.compressed or asset.body) for asset in assets) <= ASSETS_BYTES_MAX


def test_nothing_of_the_build_leads_out_of_the_server() -> None:
    for asset in build().files.values():
        text = asset.body.decode(errors="replace")
        # What libraries name in comments and messages; none of it is fetched.
        found = set(re.findall(r"https?://[\w.-]+", text))
        assert found <= {"http://www.w3.org", "https://github.com", "https://preactjs.com"}, (
            asset.name
        )


def test_the_lock_file_names_no_download_addresses() -> None:
    assert '"resolved"' not in (UI / "package-lock.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("view", VIEWS)
async def test_every_view_is_the_page_with_a_policy_that_lets_nothing_else_run(
    tmp_path: Path, view: str
) -> None:
    async with serving(tmp_path, api_key="k") as server:
        answer = await server.ask("GET", re.sub(r"\{\w+\}", "x", view))

    policy = answer.headers["Content-Security-Policy"]
    assert answer.status == 200
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert b"<script>" not in answer.body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_browser_where_nothing_is_gets_the_page_without_a_key_and_404(
    tmp_path: Path, method: str
) -> None:
    async with serving(tmp_path, api_key="k") as server:
        answer = await server.ask(method, "/nonsense/there", headers=BROWSER)
        page = await server.ask("GET", "/server", headers=BROWSER)

    assert answer.status == 404
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == page.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.body == (page.body if method == "GET" else b"")


@pytest.mark.parametrize(
    ("method", "path", "accept"),
    [
        ("GET", "/nonsense", "application/json"),
        ("GET", "/nonsense", "*/*"),
        ("POST", "/nonsense", "text/html"),
        ("GET", "/api/v1/nonsense", "text/html"),
        ("GET", "/api/2.0/mlflow/nonsense", "text/html"),
        ("GET", "/ajax-api/2.0/mlflow/nonsense", "text/html"),
        ("GET", "/assets/old/index.js", "text/html"),
        ("GET", "/api/v1/runs/nobody", "text/html"),
    ],
)
async def test_programs_are_told_in_json_that_nothing_is_there(
    tmp_path: Path, method: str, path: str, accept: str
) -> None:
    async with serving(tmp_path) as server:
        answer = await server.ask(method, path, headers={"Accept": accept})

    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("application/json")


async def test_a_server_of_artifacts_alone_has_no_page_of_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, artifacts_only=True) as server:
        answer = await server.ask("GET", "/nonsense", headers=BROWSER)

    assert (answer.status, answer.code) == (404, "not_found")


async def test_assets_are_kept_for_ever_under_the_name_of_their_build(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        page = await server.ask("GET", "/")
        (script,) = re.findall(rb'src="(/assets/[0-9a-f]{16}/index\.js)"', page.body)
        raw = await server.session.get(
            server.url + script.decode(), headers={"Accept-Encoding": "gzip"}, compress=None
        )
        known = await server.ask("GET", "/", headers={"If-None-Match": page.headers["ETag"]})
        old = await server.ask("GET", "/assets/0123456789abcdef/index.js")

    assert raw.status == 200
    assert raw.headers["Content-Encoding"] == "gzip"
    assert "immutable" in raw.headers["Cache-Control"]
    assert raw.headers["Content-Type"].startswith("text/javascript")
    assert known.status == 304
    assert old.status == 404
    assert old.code == "not_found"


async def test_a_browser_without_gzip_gets_the_plain_bytes(tmp_path: Path) -> None:
    built = build()
    async with serving(tmp_path) as server:
        answer = await server.ask(
            "GET", f"/assets/{built.digest}/index.js", headers={"Accept-Encoding": "identity"}
        )

    asset = built.files["index.js"]
    assert answer.body == asset.body
    assert asset.compressed is not None
    assert gzip.decompress(asset.compressed) == asset.body


async def test_the_frame_for_html_has_an_origin_of_its_own_and_no_network(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.ask("GET", f"/assets/{build().digest}/frame.html")

    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    assert "frame-ancestors 'self'" in policy
