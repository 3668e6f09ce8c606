"""The event store that the settings name. Only the driver that is needed is imported."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.binding import InvalidSettings
from ingest.event_stores.base import EventStore
from ingest.event_stores.memory import MemoryEventStore
from ingest.event_stores.sqlite import SqliteEventStore
from ingest.liveness import LeaseStore, NotSaved, SharedLeases
from ingest.settings import Settings


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """A store, and where this server's leases go: saved for itself, or shared."""

    store: EventStore
    saved_leases: LeaseStore
    shared_leases: SharedLeases | None = None


async def open_event_store(settings: Settings) -> OpenedStore:
    """Open it; the caller closes it. Raises InvalidSettings and what its `open` raises."""
    if settings.postgres_uri is not None:
        return await _open_postgres(settings, settings.postgres_uri)
    path = settings.store_path
    if path is None:
        memory = MemoryEventStore()
        return OpenedStore(memory, memory)
    sqlite = await SqliteEventStore.open(path, workspace=settings.workspace)
    return OpenedStore(sqlite, sqlite)


async def _open_postgres(settings: Settings, uri: str) -> OpenedStore:
    try:
        from ingest.event_stores.postgres import PostgresEventStore
        from ingest.event_stores.postgres_connections import PostgresOptions
    except ImportError as error:
        raise InvalidSettings(
            "a log in PostgreSQL needs its driver: pip install 'tracker[postgres]'"
        ) from error
    options = PostgresOptions(
        uri,
        pool_max=settings.postgres_pool_max,
        statement_timeout_s=settings.postgres_statement_timeout_s,
    )
    store = await PostgresEventStore.open(
        options, workspace=settings.workspace, wait_s=settings.postgres_wait_s
    )
    return OpenedStore(store, NotSaved(), store)
