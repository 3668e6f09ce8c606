"""The OpenAPI 3.1 document, generated from the route tables and their pydantic models."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

import orjson
from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ingest.routes.table import Route
from ingest.schemas import ErrorAnswer

DOCUMENT: web.AppKey[Callable[[], bytes]] = web.AppKey("openapi_document")

_SCHEMAS: Final = "#/components/schemas/"
_VARIABLE: Final = re.compile(r"\{(\w+)(?::[^{}]*(?:\{[^{}]*\}[^{}]*)*)?\}")


def document_of(routes: Sequence[Route], *, needs_key: bool) -> Callable[[], bytes]:
    """Returns the document's bytes when called; made at the first call, then kept."""
    made: list[bytes] = []

    def document() -> bytes:
        if not made:
            made.append(orjson.dumps(describe(routes, needs_key=needs_key)))
        return made[0]

    return document


def describe(routes: Sequence[Route], *, needs_key: bool) -> dict[str, Any]:
    routes = [route for route in routes if not route.is_page]
    models = {model for route in routes for model in (route.request, route.answer) if model}
    models.add(ErrorAnswer)
    _, schemas = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda m: m.__name__)],
        ref_template=_SCHEMAS + "{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _VARIABLE.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, needs_key=needs_key)
    components: dict[str, Any] = {"schemas": schemas.get("$defs", {})}
    if needs_key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tracker",
            "version": version("tracker"),
            "description": "The native HTTP API of the tracker server.",
        },
        "paths": paths,
        "components": components,
    }


def _operation(route: Route, *, needs_key: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "responses": dict(_responses(route, needs_key=needs_key)),
    }
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _VARIABLE.findall(route.path)
    ]
    parameters += [
        {
            "name": parameter.name,
            "in": "query",
            "required": parameter.is_required,
            "description": parameter.description,
            "schema": {"type": parameter.type},
        }
        for parameter in route.query
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.request is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {
                media_type: _content(media_type, route.request)
                for media_type in route.request_media_types
            },
        }
    if route.takes_bytes:
        content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"required": True, "content": content}
    if needs_key and not route.is_open:
        operation["security"] = [{"key": []}]
    return operation


def _responses(route: Route, *, needs_key: bool) -> Iterable[tuple[str, dict[str, Any]]]:
    success: dict[str, Any] = {"description": HTTPStatus(route.status).phrase}
    if route.status != HTTPStatus.NO_CONTENT:
        success["content"] = {
            media_type: _content(media_type, route.answer)
            for media_type in route.answer_media_types
        }
    yield str(route.status), success
    refusals = {*route.errors, 403, 503}
    if needs_key and not route.is_open:
        refusals.add(401)
    if route.request is not None:
        refusals |= {400, 413, 415}
    for status in sorted(refusals - {route.status}):
        content = {"application/json": _content("application/json", ErrorAnswer)}
        yield str(status), {"description": HTTPStatus(status).phrase, "content": content}


def _content(media_type: str, model: type[BaseModel] | None) -> dict[str, Any]:
    if media_type == "application/json" and model is not None:
        return {"schema": {"$ref": _SCHEMAS + model.__name__}}
    if media_type == "application/json":
        return {"schema": {"type": "object"}}
    return {"schema": {"type": "string"}}


def _operation_id(route: Route) -> str:
    words = re.findall(r"\w+", _VARIABLE.sub(r"by_\1", route.path).removeprefix("/api/v1"))
    return "_".join([route.method.lower(), *words])
