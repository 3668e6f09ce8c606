"""A server's read side over PostgreSQL in a process of its own, made to be killed.

    python -m tests.support.postgres_reads_process DSN

Prints `reads` when it answers, and goes on until it is ended.
"""

from __future__ import annotations

import asyncio
import sys

from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from ingest.read_side_postgres import open_postgres_read_side


async def main(dsn: str) -> None:
    store = await PostgresEventStore.open(PostgresOptions(dsn))
    async with open_postgres_read_side(store, dsn, workspace="default"):
        print("reads", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
