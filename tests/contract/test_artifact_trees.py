"""Trees of artifacts, from events through the fold to the queries, against a tree of dicts."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.read_models import ArtifactListing, ArtifactView, RunsReadStore
from projections.runs_queries import RunsQueries
from projections.runs_store import RunsProjection
from projections.search.errors import InvalidQuery
from tests.support.logs import LogOfBatches, event
from tracker.events.types import Event

T = TypeVar("T")
DIGESTS = ("0" * 64, "f" * 64)
_names = st.sampled_from(["a", "b", "a.b", "a-", "a0", "ü", "\U0001f600"])
_paths = st.lists(_names, min_size=1, max_size=4).map("/".join)
_events = st.lists(
    st.one_of(
        st.builds(
            lambda path, digest, size: event(
                "artifact.logged", path=path, digest=digest, size=size
            ),
            _paths,
            st.sampled_from(DIGESTS),
            st.integers(0, 5),
        ),
        st.builds(lambda path: event("artifact.logged", path=path, uri="s3://b/k"), _paths),
        st.builds(lambda path: event("artifact.deleted", path=path), _paths),
    ),
    max_size=25,
)


@asynccontextmanager
async def stored(events: list[Event], folder: Path) -> AsyncIterator[RunsReadStore]:
    """A read store on what these events of one writer fold to."""
    projection = RunsProjection(folder / "runs.sqlite")
    log = LogOfBatches()
    if events:
        log.append("r", "w", events)
    await projection.apply(log.decoded())
    store = RunsQueries(folder / "runs.sqlite")
    try:
        yield store
    finally:
        await store.aclose()
        await projection.aclose()


def asked(events: list[Event], ask: Callable[[RunsReadStore], Awaitable[T]]) -> T:
    async def run() -> T:
        with tempfile.TemporaryDirectory() as folder:
            async with stored(events, Path(folder)) as store:
                return await ask(store)

    return asyncio.run(run())


def tree_of(events: list[Event]) -> dict[str, int]:
    """Size by path of what is there in the end; a reference has none."""
    tree: dict[str, int] = {}
    for each in events:
        path = each.data["path"]
        if each.type == "artifact.deleted":
            tree.pop(path, None)
        else:
            tree[path] = each.data.get("size") or 0
    return tree


def folders_of(tree: dict[str, int]) -> set[str]:
    return {path.rsplit("/", cut)[0] for path in tree for cut in range(1, path.count("/") + 1)}


async def everything(store: RunsReadStore, listing: ArtifactListing) -> list[ArtifactView]:
    found: list[ArtifactView] = []
    token: str | None = None
    while True:
        page = await store.list_artifacts(
            ArtifactListing(
                listing.owner, listing.folder, listing.is_recursive, listing.max_results, token
            )
        )
        found += page.items
        token = page.next_page_token
        if token is None:
            return found
        assert len(page.items) == listing.max_results


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_events, st.integers(1, 4))
def test_every_folder_lists_what_a_tree_of_dicts_has(events: list[Event], limit: int) -> None:
    tree = tree_of(events)
    folders = folders_of(tree)

    async def ask(store: RunsReadStore) -> None:
        for folder in ("", *folders, "nothing"):
            prefix = f"{folder}/" if folder else ""
            below = {path: size for path, size in tree.items() if path.startswith(prefix)}
            inside = {prefix + path[len(prefix) :].partition("/")[0] for path in below}
            files = {path for path in inside if path in tree}
            in_folders = {path for path in inside if path in folders}

            listing = ArtifactListing("r", folder, max_results=limit)
            listed = await everything(store, listing)
            recursive = await everything(store, ArtifactListing("r", folder, True, limit))

            assert [v.path for v in listed] == sorted([*files, *in_folders])
            assert {v.path for v in listed if v.is_folder} == in_folders
            assert [v.path for v in recursive] == sorted(below)
            found = await store.get_artifact_folder("r", folder)
            if below:
                assert found is not None
                assert (found.files, found.size) == (len(below), sum(below.values()))
            else:
                assert found is None
        for path in {each.data["path"] for each in events}:
            view = await store.get_artifact("r", path)
            assert view is not None
            assert view.is_deleted == (path not in tree)

    asked(events, ask)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_events)
def test_a_digest_is_referred_to_while_a_path_names_it(events: list[Event]) -> None:
    named = {
        each.data["path"]: each.data.get("digest")
        for each in events
        if each.type == "artifact.logged"
    }
    last = {each.data["path"]: each for each in events}
    expected = {
        each.data.get("digest") for each in last.values() if each.type == "artifact.logged"
    } - {None}
    assert named.keys() <= last.keys()

    async def ask(store: RunsReadStore) -> None:
        assert await store.referred_digests([*DIGESTS, "a" * 64]) == expected
        files: list[tuple[str, str]] = []
        after = ("", "")
        while page := await store.every_artifact(after=after, max_results=2):
            files += [(owner, view.path) for owner, view in page]
            after = files[-1]
        assert files == sorted(
            ("r", path) for path, each in last.items() if each.type == "artifact.logged"
        )

    asked(events, ask)


def test_a_page_token_belongs_to_one_listing() -> None:
    events = [event("artifact.logged", path=path, uri="u") for path in ("a", "b/c", "b/d")]

    async def ask(store: RunsReadStore) -> None:
        token = (await store.list_artifacts(ArtifactListing("r", max_results=1))).next_page_token
        assert token is not None
        for other in (
            ArtifactListing("r", "b", page_token=token),
            ArtifactListing("r", is_recursive=True, page_token=token),
            ArtifactListing("s", page_token=token),
            ArtifactListing("r", page_token="nonsense"),
            ArtifactListing("r", max_results=0),
            ArtifactListing("r", max_results=1_000_000),
        ):
            with pytest.raises(InvalidQuery):
                await store.list_artifacts(other)

    asked(events, ask)


def test_a_folder_costs_its_own_entries_and_not_those_below_them() -> None:
    """With 20,000 files below it, the top of a tree is listed in a fraction of reading them."""
    rng = random.Random(1)
    events = [
        event("artifact.logged", path=f"d{n % 7}/e{n % 11}/{rng.random()}", uri="u")
        for n in range(20_000)
    ]

    async def ask(store: RunsReadStore) -> tuple[float, float]:
        listed = []
        for _ in range(5):
            began = time.perf_counter()
            top = await store.list_artifacts(ArtifactListing("r"))
            listed.append(time.perf_counter() - began)
        began = time.perf_counter()
        await everything(store, ArtifactListing("r", is_recursive=True, max_results=10_000))
        assert (top.items[0].path, top.items[0].files) == ("d0", 2858)
        return min(listed), time.perf_counter() - began

    listed_s, read_s = asked(events, ask)

    assert listed_s < read_s / 5
