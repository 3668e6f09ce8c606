"""What MLflow's server has and this one does not: said at once, in MLflow's own terms.

The model registry, traces, the gateway, webhooks, prompts, scorers, evaluation and the like
answer 501 NOT_IMPLEMENTED, which MLflow's clients raise as an MlflowException without a
retry. A path that MLflow does not have either is ENDPOINT_NOT_FOUND.
"""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from ingest.mlflow.artifact_paths import checked
from ingest.mlflow.errors import ENDPOINT_NOT_FOUND, NOT_IMPLEMENTED, MlflowRefusal

AREAS: Final = {
    "registered-models": "the model registry",
    "model-versions": "the model registry",
    "traces": "traces",
    "unified-traces": "traces",
    "get-online-trace-details": "traces",
    "get-trace-artifact": "traces",
    "issues": "issues of traces",
    "label-schemas": "the labelling of traces",
    "review-queues": "the review of traces",
    "webhooks": "webhooks of the model registry",
    "workspaces": "MLflow's workspaces",
    "gateway": "the AI gateway",
    "gateway-proxy": "the AI gateway",
    "scorers": "scorers",
    "datasets": "evaluation datasets",
    "prompt-optimization": "the optimization of prompts",
    "genai": "the evaluation of language models",
    "jobs": "jobs",
    "demo": "MLflow's demonstration data",
    "promptlab": "prompt engineering",
    "scorer": "scorers",
    "graphql": "GraphQL",
}
# Single endpoints below areas that are there.
ENDPOINTS: Final = {
    "runs/create-promptlab-run": "prompt engineering",
    "artifacts/presigned-upload-url": "presigned uploads",
    "artifacts/presigned-download-url": "presigned downloads by run",
}
_REST: Final = re.compile(r"/(?:ajax-)?api/\d+\.\d+/mlflow/(?P<rest>.*)")


async def unsupported(request: web.Request) -> web.Response:
    found = _REST.fullmatch(request.path)
    rest = found["rest"] if found else request.path.removeprefix("/")
    what = ENDPOINTS.get(rest) or AREAS.get(rest.partition("/")[0])
    if what is None:
        raise MlflowRefusal(
            f"There is no {request.method[:20]} {request.path[:200]} here.", ENDPOINT_NOT_FOUND
        )
    raise MlflowRefusal(
        f"This tracker server does not have {what}; it answers MLflow's tracking API "
        f"(experiments, runs, metrics, artifacts, logged models), not {request.path[:200]}.",
        NOT_IMPLEMENTED,
    )


async def get_model_version_artifact(request: web.Request) -> web.Response:
    """Outside of the registry's prefix, and strict with the path before anything else."""
    checked(request.query.get("path"))
    return await unsupported(request)
