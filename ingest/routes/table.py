"""A route: where it lives, who answers, and which models describe it.

Every module in `ingest.routes` exports `ROUTES`, a tuple of these; `ingest.app` serves
them and `ingest.openapi` describes them, so that what is served is what is documented.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import BaseModel

from ingest.state import Handler


@dataclass(frozen=True, slots=True)
class QueryParameter:
    name: str
    description: str
    type: str = "string"  # JSON schema's type
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str  # aiohttp's form, for example /api/v1/runs/{run_id}
    handler: Handler
    summary: str
    request: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    answer_media_types: tuple[str, ...] = ("application/json",)
    request_media_types: tuple[str, ...] = ("application/json",)
    query: tuple[QueryParameter, ...] = field(default=())
    status: int = 200
    errors: tuple[int, ...] = (400,)
    # The body is bytes of any length; the handler reads it when and if it wants it.
    takes_bytes: bool = False
    is_open: bool = False  # answered without an API key
    is_page: bool = False  # for people with browsers; no part of the API and its description
