"""/ and below: the web UI's page, whatever view its address names, and its files.

Open without a key: the page holds nothing of anybody's; it asks the API for everything,
with the key its user gives it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import web

from ingest.errors import NotFound
from ingest.mlflow.errors import is_mlflow_path
from ingest.routes.table import Route
from ingest.ui.assets import FRAME_NAME, Asset, build

# Scripts come from this server alone and nothing is evaluated. Styles set by script on an
# element are no inline styles. blob: is how previews of artifacts are shown.
PAGE_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src blob:",
        "connect-src 'self' blob:",
        "frame-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
# An HTML artifact may run its own scripts, in an origin of its own that reaches nothing:
# no request leaves it, no window opens, no form is sent.
FRAME_POLICY: Final = "; ".join(
    (
        "sandbox allow-scripts",
        "default-src 'none'",
        "script-src 'unsafe-inline' 'unsafe-eval' data: blob:",
        "style-src 'unsafe-inline' data:",
        "img-src data: blob:",
        "font-src data:",
        "media-src data: blob:",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)
# Below these and MLflow's paths programs ask; who gets a page there is helped by nothing.
_FOR_PROGRAMS: Final = ("/api/", "/ajax-api/", "/assets/")
_FOR_EVER: Final = "public, max-age=31536000, immutable"
VIEWS: Final = (
    "/",
    "/experiments",
    "/experiments/{experiment_id}",
    "/runs/{run_id}",
    "/models/{model_id}",
    "/trash",
    "/server",
)


async def page(request: web.Request) -> web.Response:
    built = build()
    response = _answer(request, built.page)
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    response.headers["Cache-Control"] = "no-cache"
    response.headers["ETag"] = f'"{built.digest}"'
    if request.headers.get("If-None-Match") == response.headers["ETag"]:
        return web.Response(status=304, headers=response.headers)
    return response


def page_of_nothing(request: web.Request) -> web.Response | None:
    """The page, as 404, for a browser at an address where nothing is; None for all others.

    The page says that there is nothing, and how to go on.
    """
    missed = request.match_info.http_exception
    if missed is None or missed.status != HTTPStatus.NOT_FOUND:
        return None
    if request.method not in ("GET", "HEAD") or "text/html" not in request.headers.get(
        "Accept", ""
    ):
        return None
    if request.path.startswith(_FOR_PROGRAMS) or is_mlflow_path(request.path):
        return None
    response = _answer(request, build().page)
    response.set_status(HTTPStatus.NOT_FOUND)
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response


async def file(request: web.Request) -> web.Response:
    built, name = build(), request.match_info["name"]
    asset = built.files.get(name)
    if asset is None or request.match_info["digest"] != built.digest:
        raise NotFound(f"there is no {name[:64]!r} in this build of the page; load it anew")
    response = _answer(request, asset)
    response.headers["Cache-Control"] = _FOR_EVER
    if name == FRAME_NAME:
        response.headers["Content-Security-Policy"] = FRAME_POLICY
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response


def _answer(request: web.Request, asset: Asset) -> web.Response:
    headers = {"Content-Type": f"{asset.media_type}; charset=utf-8", "Vary": "Accept-Encoding"}
    if asset.compressed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=asset.compressed, headers=headers)
    return web.Response(body=asset.body, headers=headers)


ROUTES = (
    *(
        Route(
            "GET", path, page, "The web UI",
            answer_media_types=("text/html",), errors=(), is_open=True, is_page=True,
        )
        for path in VIEWS
    ),
    Route(
        "GET", "/assets/{digest}/{name}", file, "A file of the web UI, by the build's digest",
        answer_media_types=("text/javascript", "text/css", "image/svg+xml", "text/html"),
        errors=(404,), is_open=True, is_page=True,
    ),
)  # fmt: skip
