"""RunsReadStore on the tables of the runs projection."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from projections.artifact_queries import (
    every_artifact,
    get_artifact,
    get_artifact_folder,
    list_artifacts,
    referred_digests,
)
from projections.connection import Connection, ask_before_search
from projections.experiments_search import find_experiments
from projections.key_search import find_keys
from projections.models_queries import ModelView, get_model, models_of
from projections.read_models import (
    ArtifactListing,
    ArtifactView,
    ExperimentView,
    Filter,
    KeyPage,
    KeySearch,
    LatestRun,
    Order,
    Page,
    RunSearch,
    RunView,
    ViewType,
)
from projections.readers import QueryReaders, Readers
from projections.run_groups import GroupPage, GroupSearch
from projections.run_groups_sqlite import find_groups
from projections.runs_kept import KEPT_ENTRIES_MAX, KeptRuns, RunState
from projections.runs_latest import latest_runs
from projections.runs_search import Remembered, check_texts, find_runs
from projections.runs_views import SQL, alive, experiment_views, run_view, views_of

T = TypeVar("T")


def _clock_us() -> int:
    return time.time_ns() // 1000


class RunsQueries:
    """See read_models.RunsReadStore. Every answer is of one state of the tables.

    A file must exist before the first query. `clock_us` is asked for searches that do
    not bring a clock themselves; `entries_kept` bounds what pages keep (see runs_kept).
    """

    def __init__(
        self,
        tables: Path | QueryReaders,
        *,
        clock_us: Callable[[], int] = _clock_us,
        entries_kept: int = KEPT_ENTRIES_MAX,
    ) -> None:
        self._readers = Readers(tables) if isinstance(tables, Path) else tables
        self._dialect = self._readers.dialect
        self._clock_us = clock_us
        self._views = KeptRuns(views_of, entries_max=entries_kept)
        self._latest = KeptRuns(latest_runs, entries_max=entries_kept)
        self._remembered = Remembered()

    async def position(self) -> int:
        return await self._readers.run(_position)

    async def get_run(self, run_id: str, *, live_run_ids: frozenset[str]) -> RunView | None:
        return await self._readers.run(lambda c: run_view(c, run_id, live_run_ids))

    async def search_runs(self, search: RunSearch) -> Page[RunView]:
        def views(connection: Connection, states: Sequence[RunState]) -> list[RunView]:
            return alive(self._views.of(connection, states), search.live_run_ids)

        return await self._page(search, views)

    async def search_latest_runs(self, search: RunSearch) -> Page[LatestRun]:
        return await self._page(search, self._latest.of)

    async def _page(
        self, search: RunSearch, first_of: Callable[[Connection, Sequence[RunState]], list[T]]
    ) -> Page[T]:
        """`first_of` gives as many of the runs found as make a page."""
        if search.now_us == 0:
            search = replace(search, now_us=self._clock_us())

        def query(connection: Connection) -> Page[T]:
            found = find_runs(connection, search, self._dialect, self._remembered)
            items = first_of(connection, found.states)
            return Page(items, found.token_after(len(items)), _position(connection))

        return await self._readers.run(query, searches=True)

    async def group_runs(self, groups: GroupSearch) -> GroupPage:
        """See run_groups.RunGroupStore."""
        if groups.search.now_us == 0:
            groups = replace(groups, search=replace(groups.search, now_us=self._clock_us()))

        def query(connection: Connection) -> GroupPage:
            found, runs, is_reduced = find_groups(connection, groups, self._dialect)
            return GroupPage(found, runs, is_reduced, _position(connection))

        return await self._readers.run(query, searches=True)

    async def get_experiment(self, experiment_id: str) -> ExperimentView | None:
        return await self._readers.run(lambda c: _first(experiment_views(c, [experiment_id])))

    async def get_experiment_by_name(self, name: str) -> ExperimentView | None:
        def query(connection: Connection) -> ExperimentView | None:
            found = connection.execute(SQL["experiment_id_by_name"], {"name": name}).fetchone()
            return None if found is None else _first(experiment_views(connection, [found[0]]))

        return await self._readers.run(query)

    async def search_experiments(
        self,
        *,
        filter: Filter,
        order_by: Order,
        view: ViewType,
        max_results: int,
        page_token: str | None,
    ) -> Page[ExperimentView]:
        now_us = self._clock_us()

        def query(connection: Connection) -> Page[ExperimentView]:
            ask_before_search(connection, (SQL["position"],), {})
            found = find_experiments(
                connection,
                filter=filter,
                order_by=order_by,
                view=view,
                max_results=max_results,
                page_token=page_token,
                now_us=now_us,
                dialect=self._dialect,
            )
            views = experiment_views(connection, found.experiment_ids)
            return Page(views, found.next_page_token, _position(connection))

        return await self._readers.run(query, searches=True)

    async def metric_keys(self, run_id: str) -> Sequence[str]:
        def query(connection: Connection) -> list[str]:
            return [key for (key,) in connection.execute(SQL["metric_keys"], {"run_id": run_id})]

        return await self._readers.run(query)

    async def keys(self, search: KeySearch) -> KeyPage:
        check_texts([search.prefix, *search.experiment_ids], "prefix or experiment id")

        def query(connection: Connection) -> KeyPage:
            ask_before_search(connection, (SQL["position"],), {})
            keys, is_reduced = find_keys(connection, search, self._dialect)
            return KeyPage(keys, is_reduced, _position(connection))

        return await self._readers.run(query, searches=True)

    async def get_model(self, model_id: str) -> ModelView | None:
        check_texts([model_id], "model id")
        return await self._readers.run(lambda c: get_model(c, model_id))

    async def models_of(self, experiment_ids: Sequence[str]) -> Sequence[ModelView]:
        check_texts(experiment_ids, "experiment id")
        return await self._readers.run(lambda c: models_of(c, experiment_ids))

    async def list_artifacts(self, listing: ArtifactListing) -> Page[ArtifactView]:
        check_texts([listing.owner, listing.folder], "owner or folder")
        return await self._readers.run(lambda c: list_artifacts(c, listing))

    async def get_artifact(self, owner: str, path: str) -> ArtifactView | None:
        check_texts([owner, path], "owner or path")
        return await self._readers.run(lambda c: get_artifact(c, owner, path))

    async def get_artifact_folder(self, owner: str, path: str) -> ArtifactView | None:
        check_texts([owner, path], "owner or path")
        return await self._readers.run(lambda c: get_artifact_folder(c, owner, path))

    async def every_artifact(
        self, *, after: tuple[str, str] = ("", ""), max_results: int = 1000
    ) -> Sequence[tuple[str, ArtifactView]]:
        return await self._readers.run(lambda c: every_artifact(c, after, max_results))

    async def referred_digests(self, digests: Sequence[str]) -> frozenset[str]:
        return await self._readers.run(lambda c: referred_digests(c, digests))

    async def aclose(self) -> None:
        """Close when the queries under way have ended."""
        await self._readers.aclose()


def _position(connection: Connection) -> int:
    return int(connection.execute(SQL["position"]).fetchone()[0] or 0)


def _first(items: Sequence[T]) -> T | None:
    return items[0] if items else None
