"""Fixtures for every kind of test: servers that are worth sharing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres import a_server_for_tests, fresh_database


@pytest.fixture(autouse=True, scope="session")
def _no_snapshots() -> Iterator[None]:
    """Tests count records and files; those about snapshots ask for one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKER_SNAPSHOT", "none")
        yield


@pytest.fixture(scope="session")
def postgres_server_dsn() -> Iterator[str]:
    """A PostgreSQL of the test session; started by the first test that asks for it."""
    with a_server_for_tests() as dsn:
        yield dsn


@pytest.fixture
def postgres_dsn(postgres_server_dsn: str) -> Iterator[str]:
    """An empty database of this test's own."""
    with fresh_database(postgres_server_dsn) as dsn:
        yield dsn
