"""The search of logged models: its request, its pages. What it finds is in models_search."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from ingest.messages import json_answer
from ingest.mlflow.bodies import SEE_DOCS, Fields, missing, read_fields, wrong_value
from ingest.mlflow.entities import without_empty
from ingest.mlflow.errors import invalid
from ingest.mlflow.models_json import model_json
from ingest.mlflow.models_search import in_order, matches, parse_filter
from ingest.mlflow.names import experiment_id_of
from ingest.mlflow.reading import current_runs

_RESULTS_DEFAULT: Final = 100
_RESULTS_MAX: Final = 1_000


async def search(request: web.Request) -> web.Response:
    """Pages by place: a token is how many models come before."""
    fields = await read_fields(request)
    experiment_ids = [experiment_id_of(text) for text in fields.texts("experiment_ids")]
    if not experiment_ids:
        raise invalid(missing("experiment_ids") + SEE_DOCS)
    clauses = parse_filter(fields.text("filter") or "")
    datasets = _datasets(fields.array("datasets"))
    limit = fields.integer("max_results") or _RESULTS_DEFAULT
    if not 0 < limit <= _RESULTS_MAX:
        raise wrong_value("max_results", limit, f"It must be between 1 and {_RESULTS_MAX}.")
    search_id = _search_id(fields)
    start = _place(fields.text("page_token"), search_id)
    found = await (await current_runs(request)).models_of(experiment_ids)
    kept = in_order([m for m in found if matches(m, clauses, datasets)], fields.array("order_by"))
    page = kept[start : start + limit]
    answer: dict[str, Any] = {"models": [await model_json(request, model) for model in page]}
    if start + limit < len(kept):
        answer["next_page_token"] = f"{start + limit}.{search_id}"
    return json_answer(without_empty(answer.items()))


def _datasets(items: Sequence[Any]) -> list[tuple[str, str | None]]:
    """(name, digest or None) of the datasets that metric conditions are about."""
    found = []
    for item in items:
        name = item.get("dataset_name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name:
            raise invalid(missing("datasets.dataset_name") + SEE_DOCS)
        found.append((name, item.get("dataset_digest") or None))
    return found


def _search_id(fields: Fields) -> str:
    """The same for every page of a search."""
    names = ("experiment_ids", "filter", "datasets", "order_by")
    asked = orjson.dumps([fields.values.get(name) or None for name in names])
    return hashlib.sha256(asked).hexdigest()[:16]


def _place(token: str | None, search_id: str) -> int:
    """How many models come before the page."""
    if not token:
        return 0
    place, _, of = token.partition(".")
    if not place.isdecimal() or len(place) > 9:
        raise invalid(f"Invalid page token: {token[:200]!r}; use next_page_token as it was given.")
    if of != search_id:
        raise invalid(
            "Invalid page token: it is of another search. experiment_ids, filter, datasets and "
            "order_by must be those that it was given for."
        )
    return int(place)
