"""Every runs read store against the language's reference and the interface's words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from projections.projection import ProjectionStoreFailed
from projections.read_models import (
    KeyKind,
    KeySearch,
    Liveness,
    RunSearch,
    RunsReadStore,
    ViewType,
)
from projections.runs_queries import RunsQueries
from projections.search import ast
from projections.search.errors import InvalidQuery
from tests.support.run_tables import ExperimentRow, MetricRow, RunRow
from tests.support.runs_backends import (
    FilledTables,
)

LIVE = frozenset({"run0", "run2"})


async def ids(store: RunsReadStore, filter: str, **more: object) -> list[str]:
    page = await store.search_runs(RunSearch(filter=filter, **more))  # type: ignore[arg-type]  # a test's shorthand
    return sorted(run.run_id for run in page.items)


async def test_metric_values_come_back_bit_for_bit(
    tables: FilledTables, store: RunsReadStore
) -> None:
    values = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "-0": -0.0, "tiny": 5e-324}
    metrics = {key: MetricRow.of(value) for key, value in values.items()}
    tables.put(runs=[RunRow("a", metrics=metrics)])

    run = await store.get_run("a", live_run_ids=frozenset())

    assert run is not None
    for key, value in values.items():
        assert repr(run.metrics[key].last.value) == repr(value)
        assert repr(run.metrics[key].first.value) == repr(value)
    assert run.metrics["nan"].min_value is None


async def test_texts_come_back_as_they_were(tables: FilledTables, store: RunsReadStore) -> None:
    texts = {
        "a": "",
        "b": "\0\x01\x1f\x7f",
        "c": '"\\/\n\u2028',
        "d": "😀ü",
        'e"\\': "1e5",
        "": "x",
    }
    tables.put(runs=[RunRow("a", params=texts, tags=texts), RunRow("b")])

    found = [await store.get_run(run_id, live_run_ids=frozenset()) for run_id in ("a", "b")]

    assert [run and (dict(run.params), dict(run.tags)) for run in found] == [
        (texts, texts),
        ({}, {}),
    ]


@pytest.mark.parametrize("length", [63, 64, 65, 127, 128, 129])
@pytest.mark.parametrize("character", ["\x01", "\x02", "é"])
async def test_a_text_of_any_characters_is_found_by_all_of_it(
    tables: FilledTables, store: RunsReadStore, character: str, length: int
) -> None:
    text = character * length
    values = [text, text + "a", text + "b", text[:-1], text[:-1] + "\x03"]
    tables.put(
        runs=[
            RunRow(str(n), params={"p": value}, tags={"t": value}) for n, value in enumerate(values)
        ]
    )
    for field in ("params.p", "tags.t"):
        # What is ordered by no index is driven to, by the first of these conditions.
        for order_by in ((), ("end_time",)):
            found = await ids(store, f"{field} = '{text}'", order_by=order_by)
            assert found == ["0"]
            found = await ids(store, f"{field} LIKE '{text}%'", order_by=order_by)
            assert found == ["0", "1", "2"]
            found = await ids(store, f"{field} LIKE '{text}'", order_by=order_by)
            assert found == ["0"]
            found = await ids(store, f"{field} IN ('{text}', '{text}b')", order_by=order_by)
            assert found == ["0", "2"]
            found = await ids(store, f"{field} != '{text}'", order_by=order_by)
            assert found == ["1", "2", "3", "4"]


@pytest.mark.parametrize("is_whole", [False, True])
@pytest.mark.parametrize("is_descending", [False, True])
@pytest.mark.parametrize("field", [ast.Param("p"), ast.Tag("p")])
async def test_pages_go_on_behind_a_text_of_any_characters(
    tables: FilledTables,
    store: RunsReadStore,
    field: ast.Field,
    is_descending: bool,
    is_whole: bool,
) -> None:
    """PostgreSQL stores NUL and U+0001 as two characters, of which the 128th may be the first."""
    ends = ("\0", "\0b", "\0\0", "\0\1", "\1", "\1b", "\2")
    texts = [beginning + end for beginning in ("a" * 126, "a" * 127) for end in ends]
    tables.put(
        runs=[
            RunRow(str(n), start_us=n, params={"p": text}, tags={"p": text})
            for n, text in enumerate([*texts, *texts])
        ]
    )
    order_by = [ast.OrderTerm(field, is_descending, is_whole=is_whole)]
    at_once = (await store.search_runs(RunSearch(order_by=order_by))).items
    found: list[str] = []
    token = None
    while len(found) <= len(at_once):
        search = RunSearch(order_by=order_by, max_results=1, page_token=token)
        page = await store.search_runs(search)
        found += [run.run_id for run in page.items]
        token = page.next_page_token
        if token is None:
            break

    assert found == [run.run_id for run in at_once]
    assert len(found) == 28


async def test_runs_go_and_come_back_with_their_experiment(
    tables: FilledTables, store: RunsReadStore
) -> None:
    tables.put(
        experiments=[ExperimentRow("0", "kept"), ExperimentRow("1", "gone", "deleted")],
        runs=[
            RunRow("a", experiment_id="0"),
            RunRow("b", experiment_id="0", lifecycle_stage="deleted"),
            RunRow("c", experiment_id="1"),
        ],
    )

    assert await ids(store, "") == ["a"]
    assert await ids(store, "", view=ViewType.DELETED_ONLY) == ["b", "c"]
    assert await ids(store, "lifecycle_stage = 'deleted'", view=ViewType.ALL) == ["b", "c"]
    run = await store.get_run("c", live_run_ids=frozenset())
    assert run is not None
    assert run.lifecycle_stage == "deleted"


async def test_liveness_follows_status_and_leases(
    tables: FilledTables, store: RunsReadStore
) -> None:
    tables.put(runs=[RunRow("a", status="RUNNING"), RunRow("b", status="RUNNING"), RunRow("c")])
    live = frozenset({"a", "c"})

    assert await ids(store, "liveness = 'live'", live_run_ids=live) == ["a"]
    assert await ids(store, "liveness = 'lost'", live_run_ids=live) == ["b"]
    assert await ids(store, "liveness != 'lost'", live_run_ids=live) == ["a", "c"]
    run = await store.get_run("c", live_run_ids=live)
    assert run is not None
    assert run.liveness is Liveness.ENDED


async def test_pages_stay_put_while_runs_arrive(tables: FilledTables, store: RunsReadStore) -> None:
    tables.put(runs=[RunRow(f"run{i}", start_us=i) for i in range(10)])
    search = RunSearch(max_results=4)
    first = await store.search_runs(search)

    tables.put(runs=[RunRow(f"new{i}", start_us=100 + i) for i in range(10)])
    second = await store.search_runs(RunSearch(max_results=4, page_token=first.next_page_token))

    assert [run.run_id for run in first.items] == ["run9", "run8", "run7", "run6"]
    assert [run.run_id for run in second.items] == ["run5", "run4", "run3", "run2"]


async def test_now_is_the_same_on_every_page(tables: FilledTables) -> None:
    clock = [10_000]
    store = tables.store(clock_us=lambda: clock[0])
    tables.put(runs=[RunRow(f"run{i}", start_us=i * 1_000) for i in range(8)])
    search = {"filter": "start_time >= now-7ms", "max_results": 2}
    page = await store.search_runs(RunSearch(**search))  # type: ignore[arg-type]  # a test's shorthand
    found = [run.run_id for run in page.items]

    clock[0] = 1_000_000
    while page.next_page_token is not None:
        page = await store.search_runs(
            RunSearch(page_token=page.next_page_token, **search)  # type: ignore[arg-type]  # as above
        )
        found.extend(run.run_id for run in page.items)

    assert found == ["run7", "run6", "run5", "run4", "run3"]
    await store.aclose()


async def test_a_token_of_another_search_is_refused(
    tables: FilledTables, store: RunsReadStore
) -> None:
    tables.put(runs=[RunRow("a"), RunRow("b")])
    token = (await store.search_runs(RunSearch(max_results=1))).next_page_token

    with pytest.raises(InvalidQuery, match="another search"):
        await store.search_runs(RunSearch(filter="is_child", page_token=token))


@pytest.mark.parametrize("experiment_id", ["'; DROP TABLE run; --", "\ud800", ""])
async def test_odd_experiment_ids_find_nothing_or_are_refused(
    tables: FilledTables, store: RunsReadStore, experiment_id: str
) -> None:
    tables.put(runs=[RunRow("a")])
    try:
        page = await store.search_runs(RunSearch(experiment_ids=[experiment_id]))
    except InvalidQuery:
        assert experiment_id == "\ud800"
    else:
        assert page.items == []


async def test_a_page_has_one_to_fifty_thousand_runs(
    tables: FilledTables, store: RunsReadStore
) -> None:
    for size in (0, -1, 50_001):
        with pytest.raises(InvalidQuery, match="page_runs_max"):
            await store.search_runs(RunSearch(max_results=size))


async def test_a_page_of_heavy_runs_ends_early_and_goes_on(
    tables: FilledTables, store: RunsReadStore
) -> None:
    metrics = {f"m{i}": MetricRow.of(1.0) for i in range(40_000)}
    tables.put(runs=[RunRow(f"run{i}", metrics=metrics, start_us=i) for i in range(4)])
    first = await store.search_runs(RunSearch(max_results=10))

    second = await store.search_runs(RunSearch(max_results=10, page_token=first.next_page_token))

    assert [run.run_id for run in first.items] == ["run3", "run2"]
    assert [run.run_id for run in second.items] == ["run1", "run0"]
    assert second.next_page_token is None


async def test_an_unknown_run_is_none(tables: FilledTables, store: RunsReadStore) -> None:
    assert await store.get_run("nobody", live_run_ids=frozenset()) is None
    assert await store.metric_keys("nobody") == []
    assert await store.get_experiment("nobody") is None
    assert await store.get_experiment_by_name("nobody") is None


async def test_the_active_experiment_has_the_name(
    tables: FilledTables, store: RunsReadStore
) -> None:
    tables.put(
        experiments=[
            ExperimentRow("1", "n", "deleted"),
            ExperimentRow("2", "n"),
            ExperimentRow("3", "n", "deleted"),
            ExperimentRow("4", "m", "deleted"),
        ]
    )

    found = [await store.get_experiment_by_name(name) for name in ("n", "m")]

    assert [view and view.experiment_id for view in found] == ["2", "4"]


async def test_an_experiment_counts_its_active_runs(
    tables: FilledTables, store: RunsReadStore
) -> None:
    tables.put(
        experiments=[ExperimentRow("1", "n", tags={"team": "ü"})],
        runs=[
            RunRow("a", experiment_id="1", start_us=5),
            RunRow("b", experiment_id="1", start_us=9),
            RunRow("c", experiment_id="1", lifecycle_stage="deleted"),
        ],
    )

    experiment = await store.get_experiment("1")

    assert experiment is not None
    assert (experiment.run_count, experiment.last_run_time_us) == (2, 9)
    assert experiment.tags == {"team": "ü"}


async def test_experiments_are_searched_in_the_same_language(
    tables: FilledTables, store: RunsReadStore
) -> None:
    tables.put(
        experiments=[
            ExperimentRow("1", "vision", created_us=3_000, tags={"team": "a"}),
            ExperimentRow("2", "Vision 2", created_us=2_000, tags={"team": "b"}),
            ExperimentRow("3", "speech", created_us=1_000),
            ExperimentRow("4", "old", "deleted", created_us=4_000),
        ]
    )

    async def search(filter: str = "", order_by: Sequence[str] = (), size: int = 10) -> list[str]:
        found: list[str] = []
        token = None
        while True:
            page = await store.search_experiments(
                filter=filter,
                order_by=order_by,
                view=ViewType.ACTIVE_ONLY,
                max_results=size,
                page_token=token,
            )
            found.extend(experiment.experiment_id for experiment in page.items)
            token = page.next_page_token
            if token is None:
                return found

    assert await search() == ["1", "2", "3"]
    assert await search(size=1) == ["1", "2", "3"]
    assert await search("name ILIKE 'vision%'") == ["1", "2"]
    assert await search("tags.team IN ('b') OR creation_time <= 1") == ["2", "3"]
    assert await search("tags.team IS NULL") == ["3"]
    assert await search(order_by=["tags.team DESC"], size=1) == ["2", "1", "3"]
    assert await search(order_by=["name"], size=2) == ["2", "3", "1"]
    with pytest.raises(InvalidQuery):
        await search("metrics.a = 1")


async def test_keys_are_found_by_prefix_and_experiment(
    tables: FilledTables, store: RunsReadStore
) -> None:
    tables.put(
        runs=[
            RunRow("a", experiment_id="1", params={"lr": "1", "lr_decay": "1", "depth": "3"}),
            RunRow("b", experiment_id="2", params={"lr2": "1"}, tags={"lrt": "x", "gone": None}),
        ]
    )

    async def keys(**search: object) -> list[str]:
        page = await store.keys(KeySearch(**search))  # type: ignore[arg-type]  # a test's shorthand
        return [*page.keys, *(["…"] if page.is_reduced else [])]

    assert await keys(kind=KeyKind.PARAMS) == ["depth", "lr", "lr2", "lr_decay"]
    assert await keys(kind=KeyKind.PARAMS, prefix="lr") == ["lr", "lr2", "lr_decay"]
    assert await keys(kind=KeyKind.PARAMS, prefix="lr", max_results=2) == ["lr", "lr2", "…"]
    assert await keys(kind=KeyKind.PARAMS, prefix="lr", experiment_ids=["1"]) == ["lr", "lr_decay"]
    assert await keys(kind=KeyKind.TAGS) == ["lrt"]
    assert await keys(kind=KeyKind.TAGS, experiment_ids=["2"]) == ["lrt"]
    assert await keys(kind=KeyKind.METRICS, prefix="%") == []


async def test_a_file_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    store = RunsQueries(tmp_path / "nothing.sqlite")

    with pytest.raises(ProjectionStoreFailed):
        await store.position()
    await store.aclose()
