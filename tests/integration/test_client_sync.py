"""The sync client: one thread for all, in running loops, after forks, interrupted, forgotten."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.fake_tracker import FakeTracker, a_run, an_experiment, fake_tracker, refusing
from tracker.async_client import AsyncClient
from tracker.client import Client
from tracker.refusals import ServerBusy

RUN = "a" * 32


@pytest.fixture
def fake() -> Iterator[FakeTracker]:
    with fake_tracker(runs=[a_run()], experiments=[an_experiment()]) as fake:
        yield fake


def test_every_method_of_the_async_client_is_one_of_the_sync_client() -> None:
    methods = {
        name
        for name, member in inspect.getmembers(AsyncClient, inspect.isfunction)
        if not name.startswith("_") and name != "aclose"
    }

    assert methods <= set(dir(Client))
    for name in methods:
        expected = inspect.signature(getattr(AsyncClient, name)).parameters
        assert list(inspect.signature(getattr(Client, name)).parameters) == list(expected)


async def test_it_works_where_a_loop_is_running_already(fake: FakeTracker) -> None:
    def blocking() -> str:
        with Client(fake.uri) as client:
            return client.get_run(RUN).info.run_name

    assert asyncio.get_running_loop().is_running()
    assert blocking() == "quiet-otter-1"


def test_threads_share_one_client(fake: FakeTracker) -> None:
    with Client(fake.uri) as client, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: client.get_run(RUN).info.run_id, range(50)))

    assert found == [RUN] * 50
    assert sum(thread.name == "tracker-client" for thread in threading.enumerate()) == 1


def test_an_iterator_may_be_left_in_the_middle(fake: FakeTracker) -> None:
    fake.runs = [a_run(f"{i:032x}") for i in range(50)]

    with Client(fake.uri) as client:
        first = next(iter(client.iter_runs(page_rows=10)))

    assert first.info.run_id == f"{0:032x}"
    assert len(fake.requests) <= 2  # one page ahead at most


def test_an_error_in_an_iterator_comes_after_the_items_before_it(fake: FakeTracker) -> None:
    fake.runs = [a_run(f"{i:032x}") for i in range(50)]
    seen: list[str] = []
    fake.faults = [fake._own_answer, refusing(503, "busy")]  # the next page is asked for early

    with Client(fake.uri, retry_for_s=0) as client:
        runs = client.iter_runs(page_rows=20)
        seen.append(next(runs).info.run_id)
        with pytest.raises(ServerBusy):
            seen.extend(run.info.run_id for run in runs)

    assert len(seen) == 20


def test_a_closed_client_opens_again_when_it_is_used(fake: FakeTracker) -> None:
    client = Client(fake.uri)
    client.get_run(RUN)
    client.close()

    assert client.get_run(RUN).info.run_id == RUN
    client.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_asks_on_connections_of_its_own(fake: FakeTracker) -> None:
    script = f"""
import os, warnings
from tracker.client import Client
warnings.simplefilter("ignore", DeprecationWarning)  # fork beside the client's thread
client = Client({fake.uri!r})
assert client.get_run({RUN!r}).info.run_id == {RUN!r}
child = os.fork()
assert client.get_run({RUN!r}).info.run_id == {RUN!r}
if child == 0:
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert client.get_run({RUN!r}).info.run_id == {RUN!r}
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert len(fake.requests) == 4


def test_a_client_left_open_says_nothing_at_exit(fake: FakeTracker) -> None:
    script = f"""
from tracker.client import Client
kept = Client({fake.uri!r})
kept.get_run({RUN!r})
Client({fake.uri!r}).get_run({RUN!r})
"""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", script],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_a_wait(fake: FakeTracker) -> None:
    script = f"""
from tracker.client import Client
with Client({fake.uri!r}, retry_for_s=300) as client:
    try:
        client.get_run({RUN!r})
    except KeyboardInterrupt:
        print("interrupted")
"""
    fake.faults = [refusing(503, "busy", retry_after="200")]
    waiting = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not fake.requests:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    waiting.send_signal(signal.SIGINT)

    assert waiting.communicate(timeout=60) == ("interrupted\n", "")
    assert waiting.returncode == 0
