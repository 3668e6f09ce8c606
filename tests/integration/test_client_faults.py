"""How the query clients meet servers that are slow to come, busy, cut off, or not ours."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.fake_tracker import (
    FakeTracker,
    a_run,
    an_experiment,
    cutting,
    fake_tracker,
    refusing,
    saying,
)
from tests.support.processes import free_port
from tracker.async_client import AsyncClient
from tracker.refusals import (
    ApiRefusal,
    ExperimentExists,
    InvalidQuery,
    NotATracker,
    RunNotFound,
    ServerBusy,
    ServerUnreachable,
    Unauthorized,
)

RUN = "a" * 32


@pytest.fixture
def fake() -> Iterator[FakeTracker]:
    with fake_tracker(runs=[a_run()], experiments=[an_experiment()]) as fake:
        yield fake


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_read_is_repeated_while_the_server_asks_for_time(
    fake: FakeTracker, status: int
) -> None:
    fake.faults = [refusing(status, "busy"), saying("<h1>502</h1>", status=502)]

    async with AsyncClient(fake.uri) as client:
        run = await client.get_run(RUN)

    assert run.info.run_id == RUN
    assert len(fake.requests) == 3


async def test_a_read_is_repeated_after_a_lost_connection(fake: FakeTracker) -> None:
    fake.faults = [cutting, cutting]

    async with AsyncClient(fake.uri) as client:
        assert (await client.search_runs())[0].info.run_id == RUN

    assert fake.requests == [("POST", "/api/v1/runs/search")] * 3


async def test_a_command_whose_answer_was_lost_is_not_sent_again(fake: FakeTracker) -> None:
    fake.faults = [cutting]

    async with AsyncClient(fake.uri) as client:
        with pytest.raises(ServerUnreachable):
            await client.set_tag(RUN, "team", "vision")

    assert len(fake.requests) == 1


@pytest.mark.parametrize("code", ["busy", "shutting_down", "projection_behind"])
async def test_a_command_that_was_not_begun_is_sent_again(fake: FakeTracker, code: str) -> None:
    fake.faults = [refusing(503, code)]

    async with AsyncClient(fake.uri) as client:
        await client.set_tag(RUN, "team", "vision")

    assert fake.bodies == [{"tags": {"team": "vision"}}] * 2


async def test_a_command_that_may_have_been_stored_is_not_sent_again(fake: FakeTracker) -> None:
    fake.faults = [refusing(503, "store_unavailable")]

    async with AsyncClient(fake.uri) as client:
        with pytest.raises(ServerBusy):
            await client.set_tag(RUN, "team", "vision")

    assert len(fake.requests) == 1


async def test_retry_after_is_honoured(fake: FakeTracker) -> None:
    fake.faults = [refusing(503, "busy", retry_after="0.6")]
    start = time.monotonic()

    async with AsyncClient(fake.uri) as client:
        await client.get_run(RUN)

    assert time.monotonic() - start >= 0.6


async def test_retries_end_when_their_time_is_over(fake: FakeTracker) -> None:
    fake.faults = [refusing(503, "busy", retry_after="120")]
    start = time.monotonic()

    async with AsyncClient(fake.uri, retry_for_s=90) as client:
        with pytest.raises(ServerBusy) as busy:
            await client.get_run(RUN)

    # It waits neither as long as the server asks for nor until its own time is over.
    assert time.monotonic() - start < 60
    assert busy.value.retry_after_s == 120


async def test_nobody_at_the_address_is_said_with_the_address_and_what_to_do() -> None:
    uri = f"http://127.0.0.1:{free_port()}"

    async with AsyncClient(uri, retry_for_s=0) as client:
        with pytest.raises(ServerUnreachable, match=uri) as unreachable:
            await client.get_run(RUN)

    assert "tracker server" in unreachable.value.hint


async def test_another_service_at_the_address_is_told_from_a_tracker(fake: FakeTracker) -> None:
    fake.faults = [saying("<html>Welcome to nginx!</html>")]

    async with AsyncClient(fake.uri) as client:
        with pytest.raises(NotATracker, match="text/html"):
            await client.get_run(RUN)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_query", InvalidQuery),
        (401, "unauthorized", Unauthorized),
        (404, "run_not_found", RunNotFound),
        (409, "experiment_exists", ExperimentExists),
        (418, "of_a_newer_server", ApiRefusal),
    ],
)
async def test_refusals_keep_code_message_details_and_say_what_to_do(
    fake: FakeTracker, status: int, code: str, kind: type[ApiRefusal]
) -> None:
    fake.faults = [refusing(status, code, position=7)]

    async with AsyncClient(fake.uri) as client:
        with pytest.raises(kind) as refused:
            await client.search_runs(filter_string="metrics.l")

    assert refused.value.code == code
    assert refused.value.status == status
    assert refused.value.message == f"no: {code}"
    assert refused.value.details == {"position": 7}


async def test_a_client_reads_what_it_wrote(fake: FakeTracker) -> None:
    async with AsyncClient(fake.uri) as client:
        await client.get_run(RUN)
        await client.set_tag(RUN, "team", "vision")
        await client.get_run(RUN)
        await client.search_runs()
        client.saw_position(99)
        await client.search_experiments()

    assert "min_position" not in fake.queries[0]
    assert fake.queries[2]["min_position"] == "5"
    assert fake.bodies[3]["min_position"] == 5
    assert fake.queries[4]["min_position"] == "99"


async def test_pages_are_joined_up_to_the_number_asked_for(fake: FakeTracker) -> None:
    fake.runs = [a_run(f"{i:032x}") for i in range(2_500)]

    async with AsyncClient(fake.uri) as client:
        some = await client.search_runs(max_results=1_500)
        rest = await client.search_runs(max_results=None, page_token=some.token)
        walked = [run.info.run_id async for run in client.iter_runs(page_rows=400)]

    assert [run.info.run_id for run in [*some, *rest]] == [run.run_id for run in fake.runs]
    assert (len(some), rest.token) == (1_500, None)
    assert walked == [run.run_id for run in fake.runs]


async def test_the_key_travels_as_a_bearer_token(fake: FakeTracker) -> None:
    async with AsyncClient(fake.uri, api_key="secret") as client:
        await client.version()

    assert fake.headers[0]["Authorization"] == "Bearer secret"


async def test_ids_and_keys_cannot_leave_their_place_in_the_path(fake: FakeTracker) -> None:
    async with AsyncClient(fake.uri) as client:
        with pytest.raises(ApiRefusal):
            await client.metric_buckets("../../admin", "a/../b?c#d")

    assert fake.requests == [("GET", "/api/v1/runs/../../admin/metrics/a/../b?c#d")]
