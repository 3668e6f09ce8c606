"""An endpoint of MLflow's: where it lives below each prefix, and who answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ingest.routes.table import Route
from ingest.state import Handler

# The Python client uses the first, MLflow's web page the second; both mean the same.
PREFIXES: Final = ("/api/2.0", "/ajax-api/2.0")
PREFIXES_V3: Final = ("/api/3.0", "/ajax-api/3.0")


@dataclass(frozen=True, slots=True)
class Endpoint:
    method: str
    path: str  # aiohttp's form, below the prefix: /mlflow/runs/get
    handler: Handler
    prefixes: tuple[str, ...] = PREFIXES
    # The body is bytes of any length; the handler reads it when and if it wants it.
    takes_bytes: bool = False

    def routes(self) -> Iterator[Route]:
        for prefix in self.prefixes:
            yield Route(
                self.method,
                f"{prefix}{self.path}",
                self.handler,
                "",
                takes_bytes=self.takes_bytes,
            )
