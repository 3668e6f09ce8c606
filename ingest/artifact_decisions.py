"""Putting files into a tree and deleting them on somebody's behalf, and the events that do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ingest.decisions import Decider
from ingest.errors import ArtifactConflict, ArtifactNotFound, RunDeleted, RunNotFound
from projections.artifact_rules import folders_of
from projections.read_models import ArtifactListing, RunsReadStore
from tracker.events.types import Event, EventType

# One decision deletes so many files; a larger folder takes several.
DELETED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Tree:
    """Whose tree: a run's or a logged model's. A model's events lie in the workspace's stream."""

    owner: str
    is_model: bool = False

    @property
    def stream(self) -> str:
        return "" if self.is_model else self.owner

    @property
    def about(self) -> Mapping[str, str]:
        return {"model_id": self.owner} if self.is_model else {}


async def put_artifact(decider: Decider, tree: Tree, path: str, content: Mapping[str, Any]) -> int:
    """Log a file whose blob is in the store, or a reference; the position at which it is read.

    Raises RunNotFound, RunDeleted and ArtifactConflict.
    """

    async def decide(now_us: int) -> Sequence[Event]:
        await check_put(decider.reads.runs, tree, path)
        time_us = await _later(decider, tree, [path], now_us)
        data = {"path": path, **content, **tree.about}
        return [Event(EventType.ARTIFACT_LOGGED, time_us, data)]

    return await decider.take(tree.stream, decide)


async def delete_artifact(
    decider: Decider, tree: Tree, path: str, *, is_recursive: bool
) -> tuple[int, int]:
    """Delete a file, or a folder with all below it; (files deleted, position).

    Raises ArtifactNotFound, and ArtifactConflict for a folder when `is_recursive` is False.
    """
    runs = decider.reads.runs
    deleted = 0
    while True:
        paths: list[str] = []

        async def decide(now_us: int, paths: list[str] = paths) -> Sequence[Event]:
            await _check_owner(decider.reads.runs, tree)
            paths[:] = await _doomed(decider, tree, path, is_recursive=is_recursive)
            time_us = await _later(decider, tree, paths, now_us)
            return [
                Event(EventType.ARTIFACT_DELETED, time_us, {"path": each, **tree.about})
                for each in paths
            ]

        position = await decider.take(tree.stream, decide)
        deleted += len(paths)
        if len(paths) < DELETED_AT_ONCE:
            break
    if deleted == 0:
        if not is_recursive and await runs.get_artifact_folder(tree.owner, path) is not None:
            raise ArtifactConflict(
                f"{path!r} is a folder; delete it and all below it with recursive=true"
            )
        raise not_found(path)
    return deleted, position


def not_found(path: str) -> ArtifactNotFound:
    return ArtifactNotFound(f"there is no artifact {path[:200]!r}")


async def _doomed(decider: Decider, tree: Tree, path: str, *, is_recursive: bool) -> list[str]:
    runs, found = decider.reads.runs, []
    view = await runs.get_artifact(tree.owner, path)
    if view is not None and not view.is_deleted:
        found.append(path)
    if is_recursive:
        page = await runs.list_artifacts(
            ArtifactListing(tree.owner, path, True, max_results=DELETED_AT_ONCE - len(found))
        )
        found += [view.path for view in page.items]
    return found


async def check_put(runs: RunsReadStore, tree: Tree, path: str) -> None:
    """Raises RunNotFound, RunDeleted and ArtifactConflict.

    What is logged offline cannot be refused; here a tree stays one that disks can hold.
    """
    await _check_owner(runs, tree)
    if await runs.get_artifact_folder(tree.owner, path) is not None:
        raise ArtifactConflict(f"{path!r} is a folder; give the file another name")
    for folder in folders_of(path):
        view = await runs.get_artifact(tree.owner, folder) if folder else None
        if view is not None and not view.is_deleted:
            raise ArtifactConflict(f"{folder!r} is a file, so nothing can lie below it")


async def _check_owner(runs: RunsReadStore, tree: Tree) -> None:
    if tree.is_model:
        return
    run = await runs.get_run(tree.owner, live_run_ids=frozenset())
    if run is None:
        raise RunNotFound(f"there is no run {tree.owner[:64]!r}")
    if run.lifecycle_stage == "deleted":
        raise RunDeleted(f"run {run.run_id} is deleted; restore it first", run_id=run.run_id)


async def _later(decider: Decider, tree: Tree, paths: Sequence[str], now_us: int) -> int:
    """A time behind all that was said of these paths, so that the decision stands."""
    for path in paths:
        known = await decider.reads.runs.get_artifact(tree.owner, path)
        if known is not None:
            now_us = max(now_us, known.order_us + 1)
    return now_us
