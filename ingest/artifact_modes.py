"""What a server serves of artifacts, as MLflow's users know it.

    default                  everything, bytes included
    --artifacts-only         blobs, and with a --backend-store-uri the trees; nothing else
    --no-serve-artifacts     everything but bytes: clients send them to the store and get them
                             there by URLs that the server signs, where the store has URLs

A refusal names the setting that makes it, and is one to wait at: whoever has staged files
keeps them until an operator has decided otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from ingest.errors import ArtifactsNotServed, ArtifactsOnly
from ingest.routes.table import Route
from ingest.settings import Settings

RETRY_AFTER_S: Final = 60.0
_WATCHING: Final = ("/health", "/ready", "/metrics", "/version", "/api/v1/openapi.json")


def served_routes(settings: Settings, routes: Sequence[Route]) -> tuple[list[Route], list[Route]]:
    """(routes that are served, routes that are known and refused)."""
    if not settings.artifacts_only:
        return list(routes), []
    served = [route for route in routes if _is_about_artifacts(settings, route.path)]
    return served, [route for route in routes if route not in served]


async def refuse(request: web.Request) -> web.StreamResponse:
    """Answers for every route that an --artifacts-only server does not serve."""
    resource = request.match_info.route.resource
    if resource is not None and "artifact" in resource.canonical:
        setting = "TRACKER_BACKEND_STORE_URI"
        remedy = "which file lies where is in the log: name it with --backend-store-uri"
    else:
        setting = "TRACKER_ARTIFACTS_ONLY"
        remedy = f"ask the tracking server, or start this one without {setting}"
    raise ArtifactsOnly(
        f"this server was started with --artifacts-only and serves no {request.path[:200]}; "
        f"{remedy}",
        retry_after_s=RETRY_AFTER_S,
        setting=setting,
    )


def not_served() -> ArtifactsNotServed:
    return ArtifactsNotServed(
        "this server was started with --no-serve-artifacts (TRACKER_SERVE_ARTIFACTS=false), so "
        "it carries no files: send and get them by the URLs of uploads and of /url, which only "
        "an artifact store in S3 has",
        retry_after_s=RETRY_AFTER_S,
        setting="TRACKER_SERVE_ARTIFACTS",
    )


def _is_about_artifacts(settings: Settings, path: str) -> bool:
    if path in _WATCHING or path.startswith("/api/v1/blobs"):
        return True
    # Trees, and MLflow's paths into them, are in the log.
    return settings.opens_log and "artifact" in path
