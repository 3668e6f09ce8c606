"""GET /api/3.0/mlflow/server-info: what MLflow's clients may ask of this server."""

from __future__ import annotations

from aiohttp import web

from ingest.messages import json_answer


async def server_info(request: web.Request) -> web.Response:
    return json_answer(
        {
            "store_type": "SqlStore",
            "workspaces_enabled": False,
            "trace_archival_enabled": False,
            "multipart_uploads_enabled": True,
            # Only where the artifact store has URLs of its own; clients ask for each file.
            "multipart_downloads_enabled": False,
            "presigned_upload_run_id_supported": False,
            "presigned_upload_model_id_supported": False,
            "features_enabled": {"gateway": False},
        }
    )
