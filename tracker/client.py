"""The query client for scripts, notebooks and the fluent functions: AsyncClient, waited for.

Nothing is written twice: every method is AsyncClient's, run on a loop of its own thread,
so it works as well where a loop is running already (Jupyter). All clients of a process
share that thread; a forked child gets its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import threading
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
)
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar

from tracker.async_client import RETRY_FOR_S, AsyncClient

P = ParamSpec("P")
T = TypeVar("T")


# Items handed from thread to thread at once, when they are there.
BATCH_ITEMS: Final = 256
CLOSE_TIMEOUT_S: Final = 1.0


class _Loop:
    """An event loop on a daemon thread, started when it is first needed."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.pid = os.getpid()
        self.clients: weakref.WeakSet[AsyncClient] = weakref.WeakSet()
        self._thread = threading.Thread(target=self._serve, name="tracker-client", daemon=True)
        self._thread.start()
        atexit.register(self._close)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result; an interrupted wait (Ctrl-C) cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _close(self) -> None:
        """At exit, close what users left open; aiohttp would complain about it."""
        if self.pid != os.getpid():
            return

        async def close() -> None:
            for client in list(self.clients):
                await client.aclose()

        future = asyncio.run_coroutine_threadsafe(close(), self.loop)
        with contextlib.suppress(TimeoutError):
            future.result(CLOSE_TIMEOUT_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CLOSE_TIMEOUT_S)


_shared: _Loop | None = None
_shared_lock = threading.Lock()


def _loop() -> _Loop:
    global _shared
    with _shared_lock:
        if _shared is None or _shared.pid != os.getpid():
            _shared = _Loop()
        return _shared


def _after_fork_in_child() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()  # The parent's may have been held by another thread.


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _waiting(
    method: Callable[Concatenate[AsyncClient, P], Awaitable[T]],
) -> Callable[Concatenate[Client, P], T]:
    @functools.wraps(method)
    def wait(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async def call() -> T:
            return await method(self._here(), *args, **kwargs)

        return _loop().wait(call())

    return wait


def _iterating(
    method: Callable[Concatenate[AsyncClient, P], AsyncIterator[T]],
) -> Callable[Concatenate[Client, P], Iterator[T]]:
    @functools.wraps(method)
    def iterate(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return _Walk(method(self._here(), *args, **kwargs)).items()

    return iterate


class _Walk(Generic[T]):
    """An async iterator walked from another thread, as many items at once as are there."""

    def __init__(self, source: AsyncIterator[T]) -> None:
        self._source = source
        self._next: asyncio.Task[T | None] | None = None
        self._is_over = False

    def items(self) -> Iterator[T]:
        """The items; the request behind them ends when this is closed."""
        loop = _loop()
        try:
            while not self._is_over:
                yield from loop.wait(self._batch())
        finally:
            loop.wait(self._aclose())

    async def _batch(self) -> list[T]:
        """At least one item unless it is over; an error waits until the items are out."""
        items: list[T] = []
        while len(items) < BATCH_ITEMS:
            if self._next is None:
                self._next = asyncio.ensure_future(self._step())
            if items:
                await asyncio.sleep(0)  # One turn of the loop: enough for what is there.
                if not self._next.done() or self._next.exception():
                    break
            item = await self._next
            self._next = None
            if item is None:
                self._is_over = True
                break
            items.append(item)
        return items

    async def _step(self) -> T | None:
        return await anext(self._source, None)

    async def _aclose(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])
        if isinstance(self._source, AsyncGenerator):
            await self._source.aclose()


_inherited: list[AsyncClient] = []


def _close_later(inner: AsyncClient, pid: int) -> None:
    """A client was forgotten unclosed. Never waits: a collector may run on any thread."""
    if _shared is not None and _shared.pid == pid == os.getpid() and _shared.loop.is_running():
        asyncio.run_coroutine_threadsafe(inner.aclose(), _shared.loop)


class Client:
    """A connection to one server; arguments as AsyncClient's. Safe to share among threads."""

    def __init__(
        self,
        uri: str | None = None,
        api_key: str | None = None,
        *,
        workspace: str | None = None,
        retry_for_s: float = RETRY_FOR_S,
    ) -> None:
        self._make = functools.partial(
            AsyncClient, uri, api_key, workspace=workspace, retry_for_s=retry_for_s
        )
        self._inner = self._make()
        self._pid = os.getpid()

        weakref.finalize(self, _close_later, self._inner, self._pid).atexit = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. A closed client opens new ones when it is used again."""
        if self._pid == os.getpid():
            _loop().wait(self._inner.aclose())

    @property
    def uri(self) -> str:
        return self._inner.uri

    @property
    def position(self) -> int:
        """Answers include everything up to here."""
        return self._inner.position

    def saw_position(self, position: int) -> None:
        """Answers must from now on include everything up to `position`."""
        self._here().saw_position(position)

    def _here(self) -> AsyncClient:
        if self._pid != os.getpid():
            # The parent's sockets are the parent's: kept, never used, never closed.
            _inherited.append(self._inner)
            fresh = self._make()
            fresh.saw_position(self._inner.position)
            self._inner, self._pid = fresh, os.getpid()
            weakref.finalize(self, _close_later, fresh, self._pid).atexit = False
        _loop().clients.add(self._inner)
        return self._inner

    list_artifacts = _waiting(AsyncClient.list_artifacts)
    download_artifacts = _waiting(AsyncClient.download_artifacts)
    read_artifact = _waiting(AsyncClient.read_artifact)

    create_experiment = _waiting(AsyncClient.create_experiment)
    get_experiment = _waiting(AsyncClient.get_experiment)
    get_experiment_by_name = _waiting(AsyncClient.get_experiment_by_name)
    search_experiments = _waiting(AsyncClient.search_experiments)
    rename_experiment = _waiting(AsyncClient.rename_experiment)
    set_experiment_tag = _waiting(AsyncClient.set_experiment_tag)
    delete_experiment_tag = _waiting(AsyncClient.delete_experiment_tag)
    delete_experiment = _waiting(AsyncClient.delete_experiment)
    restore_experiment = _waiting(AsyncClient.restore_experiment)

    get_run = _waiting(AsyncClient.get_run)
    search_runs = _waiting(AsyncClient.search_runs)
    iter_runs = _iterating(AsyncClient.iter_runs)
    update_run = _waiting(AsyncClient.update_run)
    set_terminated = _waiting(AsyncClient.set_terminated)
    set_tag = _waiting(AsyncClient.set_tag)
    set_tags = _waiting(AsyncClient.set_tags)
    delete_tag = _waiting(AsyncClient.delete_tag)
    delete_run = _waiting(AsyncClient.delete_run)
    restore_run = _waiting(AsyncClient.restore_run)

    search_keys = _waiting(AsyncClient.search_keys)
    get_metric_history = _waiting(AsyncClient.get_metric_history)
    metric_history = _waiting(AsyncClient.metric_history)
    iter_metric_history = _iterating(AsyncClient.iter_metric_history)
    metric_buckets = _waiting(AsyncClient.metric_buckets)
    query_metrics = _waiting(AsyncClient.query_metrics)

    events = _iterating(AsyncClient.events)
    follow_events = _iterating(AsyncClient.follow_events)
    get_writer = _waiting(AsyncClient.get_writer)

    verify = _waiting(AsyncClient.verify)
    rebuild = _waiting(AsyncClient.rebuild)

    is_healthy = _waiting(AsyncClient.is_healthy)
    ready = _waiting(AsyncClient.ready)
    version = _waiting(AsyncClient.version)
    probe = _waiting(AsyncClient.probe)
