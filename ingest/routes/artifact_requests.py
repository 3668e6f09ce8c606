"""What requests about trees of files ask for: the tree, the path, and the file that is there."""

from __future__ import annotations

from aiohttp import web

from ingest.artifact_decisions import Tree, not_found
from ingest.errors import InvalidRequest, RunNotFound
from ingest.past_stores import asked_stores
from ingest.state import READ_STORES
from projections.read_models import ArtifactView, RunsReadStore
from tracker.events.artifact_paths import check_artifact_path
from tracker.events.errors import InvalidEvent


async def trees(request: web.Request, tree: Tree) -> RunsReadStore:
    """The trees as they are, or as they were; of the past only the one run is put together."""
    if request.method not in ("GET", "HEAD"):
        return request.app[READ_STORES].runs
    return (await asked_stores(request, run_id=None if tree.is_model else tree.owner)).runs


def asked_tree(request: web.Request) -> Tree:
    model_id = request.match_info.get("model_id")
    if model_id is not None:
        return Tree(model_id, is_model=True)
    return Tree(request.match_info["run_id"])


def asked_path(request: web.Request) -> str:
    path = request.match_info["path"]
    check_path(path)
    return path


def check_path(path: str) -> None:
    try:
        check_artifact_path(path)
    except InvalidEvent as error:
        raise InvalidRequest(str(error), field="path") from None


def flag(request: web.Request, name: str) -> bool:
    text = request.query.get(name, "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise InvalidRequest(f"{name}: {text[:40]!r} is neither true nor false", field=name)
    return text in ("true", "1")


def asked_format(request: web.Request) -> str:
    text = request.query.get("format", "")
    if text not in ("", "zip"):
        raise InvalidRequest(
            f"format: {text[:40]!r} is unknown; zip is the only one", field="format"
        )
    return text


async def check_known(request: web.Request, tree: Tree) -> None:
    """Nothing to list may also mean that there is no such run. Raises RunNotFound."""
    runs = await trees(request, tree)
    if tree.is_model or await runs.get_artifact_folder(tree.owner, "") is not None:
        return
    if await runs.get_run(tree.owner, live_run_ids=frozenset()) is None:
        raise RunNotFound(f"there is no run {tree.owner[:64]!r}")


async def asked_file(request: web.Request, tree: Tree, path: str) -> ArtifactView:
    """Raises ArtifactNotFound, which says so when the path is a folder."""
    runs = await trees(request, tree)
    view = await runs.get_artifact(tree.owner, path)
    if view is not None and not view.is_deleted:
        return view
    if await runs.get_artifact_folder(tree.owner, path) is not None:
        raise InvalidRequest(
            f"{path[:200]!r} is a folder; add format=zip, or list it with ?prefix=", field="path"
        )
    await check_known(request, tree)
    raise not_found(path)
