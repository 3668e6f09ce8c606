"""The files of a logged model, as MLflow's web page asks for them."""

from __future__ import annotations

from aiohttp import web

from ingest.messages import json_answer
from ingest.mlflow.artifact_paths import Place, checked
from ingest.mlflow.bodies import SEE_DOCS, missing
from ingest.mlflow.downloads import send_file
from ingest.mlflow.errors import invalid, no_such
from ingest.mlflow.reading import current_runs, location_of
from ingest.mlflow.trees import files_in, files_json


async def list_files(request: web.Request) -> web.Response:
    """What lies in a folder of the model."""
    model_id, experiment_id = await _model(request)
    folder = checked(request.query.get("artifact_directory_path"))
    files = files_json(await files_in(request, Place(model_id, folder)), base_names=False)
    location = await location_of(request, experiment_id)
    root = f"{location.rstrip('/')}/models/{model_id}/artifacts"
    return json_answer({"files": files, "root_uri": root} if files else {"root_uri": root})


async def get_file(request: web.Request) -> web.StreamResponse:
    model_id, _ = await _model(request)
    path = checked(request.query.get("artifact_file_path"))
    if not path:
        raise invalid(missing("artifact_file_path") + SEE_DOCS)
    return await send_file(request, Place(model_id, path))


async def _model(request: web.Request) -> tuple[str, str]:
    """(model id, experiment id) of a model that is there."""
    model_id = request.match_info["model_id"]
    model = await (await current_runs(request)).get_model(model_id)
    if model is None or model.is_deleted:
        raise no_such(f"Logged model with ID '{model_id[:256]}' not found.")
    return model_id, model.experiment_id
