"""MLflow's REST API: which endpoints there are. What they mean is in ingest.mlflow.

They are no part of the OpenAPI document: MLflow describes them, and
docs/guides/coming-from-mlflow.md says what is here and what is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ingest.mlflow import (
    artifacts,
    batches,
    datasets,
    experiments,
    histories,
    inputs,
    model_artifacts,
    models,
    models_pages,
    multipart,
    proxy,
    runs,
    search,
    server_info,
    unsupported,
)
from ingest.mlflow.table import PREFIXES_V3, Endpoint
from ingest.routes.table import Route

_ENDPOINTS: Final = (
    Endpoint("POST", "/mlflow/experiments/create", experiments.create),
    Endpoint("GET", "/mlflow/experiments/get", experiments.get),
    Endpoint("GET", "/mlflow/experiments/get-by-name", experiments.get_by_name),
    Endpoint("POST", "/mlflow/experiments/update", experiments.update),
    Endpoint("POST", "/mlflow/experiments/delete", experiments.delete),
    Endpoint("POST", "/mlflow/experiments/restore", experiments.restore),
    Endpoint("POST", "/mlflow/experiments/set-experiment-tag", experiments.set_tag),
    Endpoint("POST", "/mlflow/experiments/delete-experiment-tag", experiments.delete_tag),
    Endpoint("POST", "/mlflow/runs/create", runs.create),
    Endpoint("GET", "/mlflow/runs/get", runs.get),
    Endpoint("POST", "/mlflow/runs/update", runs.update),
    Endpoint("POST", "/mlflow/runs/delete", runs.delete),
    Endpoint("POST", "/mlflow/runs/restore", runs.restore),
    Endpoint("POST", "/mlflow/runs/delete-tag", runs.delete_tag),
    Endpoint("POST", "/mlflow/runs/search", search.search_runs),
    Endpoint("POST", "/mlflow/experiments/search", search.search_experiments),
    Endpoint("GET", "/mlflow/experiments/search", search.search_experiments),
    Endpoint("POST", "/mlflow/runs/log-batch", batches.log_batch),
    Endpoint("POST", "/mlflow/runs/log-metric", batches.log_metric),
    Endpoint("POST", "/mlflow/runs/log-parameter", batches.log_param),
    Endpoint("POST", "/mlflow/runs/set-tag", batches.set_tag),
    Endpoint("POST", "/mlflow/runs/log-inputs", inputs.log_inputs),
    Endpoint("POST", "/mlflow/runs/outputs", inputs.log_outputs),
    Endpoint("POST", "/mlflow/runs/log-model", inputs.log_model),
    Endpoint("POST", "/mlflow/logged-models", models.create),
    Endpoint("POST", "/mlflow/logged-models/search", models_pages.search),
    Endpoint("GET", "/mlflow/logged-models/{model_id}", models.get),
    Endpoint("DELETE", "/mlflow/logged-models/{model_id}", models.delete),
    Endpoint("PATCH", "/mlflow/logged-models/{model_id}", models.finalize),
    Endpoint("PATCH", "/mlflow/logged-models/{model_id}/tags", models.set_tags),
    Endpoint("DELETE", "/mlflow/logged-models/{model_id}/tags/{key:.+}", models.delete_tag),
    Endpoint("POST", "/mlflow/logged-models/{model_id}/params", models.log_params),
    Endpoint("POST", "/mlflow/experiments/search-datasets", datasets.search_datasets),
    Endpoint("GET", "/mlflow/server-info", server_info.server_info, PREFIXES_V3),
    Endpoint("GET", "/mlflow/metrics/get-history", histories.get_history),
    Endpoint("GET", "/mlflow/metrics/get-history-bulk", histories.get_history_bulk),
    Endpoint(
        "GET", "/mlflow/metrics/get-history-bulk-interval", histories.get_history_bulk_interval
    ),
)
_MODEL: Final = "/mlflow/logged-models/{model_id}"
_ARTIFACTS: Final = "/mlflow-artifacts/artifacts"
_FILE: Final = f"{_ARTIFACTS}/{{path:.+}}"
_ARTIFACT_ENDPOINTS: Final = (
    Endpoint("GET", "/mlflow/artifacts/list", artifacts.list_artifacts),
    Endpoint("GET", f"{_MODEL}/artifacts/directories", model_artifacts.list_files),
    Endpoint("GET", f"{_MODEL}/artifacts/files", model_artifacts.get_file),
    Endpoint("POST", "/mlflow/upload-artifact", artifacts.upload_artifact, takes_bytes=True),
    Endpoint("GET", _ARTIFACTS, proxy.list_files),
    Endpoint("GET", _FILE, proxy.download),
    Endpoint("PUT", _FILE, proxy.upload, takes_bytes=True),
    Endpoint("DELETE", _FILE, proxy.delete),
    Endpoint("POST", "/mlflow-artifacts/mpu/create/{path:.*}", multipart.create),
    Endpoint("POST", "/mlflow-artifacts/mpu/complete/{path:.*}", multipart.complete),
    Endpoint("POST", "/mlflow-artifacts/mpu/abort/{path:.*}", multipart.abort),
    Endpoint("GET", "/mlflow-artifacts/presigned/{path:.+}", proxy.presigned),
)
_SINGLE: Final = (
    Route("GET", "/get-artifact", artifacts.get_artifact, ""),
    Route("GET", "/model-versions/get-artifact", unsupported.get_model_version_artifact, ""),
    Route("*", "/graphql", unsupported.unsupported, ""),
    # Its URL carries its own proof.
    Route("PUT", multipart.PART_PATH, multipart.put_part, "", takes_bytes=True, is_open=True),
)
# Asked last, for whatever none of the others is.
_REST: Final = tuple(
    Route("*", rf"{prefix}/{{version:\d+\.\d+}}/mlflow{{rest:.*}}", unsupported.unsupported, "")
    for prefix in ("/api", "/ajax-api")
)


def mlflow_routes() -> Sequence[Route]:
    """Every route, in the order in which they are to be asked."""
    endpoints = (*_ENDPOINTS, *_ARTIFACT_ENDPOINTS)
    return [*(route for e in endpoints for route in e.routes()), *_SINGLE, *_REST]
