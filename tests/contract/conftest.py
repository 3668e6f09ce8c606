"""The runs read stores: each suite that asks for one asks all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from projections.runs_queries import RunsQueries
from tests.support.runs_backends import FilledTables, RunsBackend, runs_backend
from tests.support.search_strategies import NOW_US


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> Iterator[RunsBackend]:
    with runs_backend(request) as backend:
        yield backend


@pytest.fixture
async def tables(backend: RunsBackend, tmp_path: Path) -> AsyncIterator[FilledTables]:
    tables = backend.tables(tmp_path)
    yield tables
    tables.close()


@pytest.fixture
async def store(tables: FilledTables) -> AsyncIterator[RunsQueries]:
    store = tables.store(clock_us=lambda: NOW_US)
    yield store
    await store.aclose()
