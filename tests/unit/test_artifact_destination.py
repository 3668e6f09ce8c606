"""--artifacts-destination names a folder or a bucket, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.artifact_stores.destination import (
    FolderDestination,
    S3Destination,
    parse_destination,
)
from ingest.binding import InvalidSettings
from ingest.settings import load_settings


@pytest.fixture(autouse=True)
def _no_destination_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACKER_ARTIFACTS_DESTINATION", raising=False)


@pytest.mark.parametrize(
    ("text", "destination"),
    [
        ("/a/b", FolderDestination(Path("/a/b"))),
        ("b", FolderDestination(Path("b").absolute())),
        ("file:///a/b", FolderDestination(Path("/a/b"))),
        ("s3://bucket", S3Destination("bucket", "")),
        ("s3://bucket/", S3Destination("bucket", "")),
        ("S3://bucket/a/b/", S3Destination("bucket", "a/b/")),
    ],
)
def test_a_destination_is_a_folder_or_a_bucket(
    text: str, destination: FolderDestination | S3Destination
) -> None:
    assert parse_destination(text) == destination


@pytest.mark.parametrize(
    "text",
    ["", "gs://bucket", "http://x", "s3://", "s3://Bucket", "s3://b/../x", "s3://b/a\0", "file://"],
)
def test_any_other_place_is_refused_before_the_server_starts(text: str) -> None:
    with pytest.raises(InvalidSettings, match="artifacts-destination"):
        parse_destination(text)
    if text:
        with pytest.raises(InvalidSettings, match="artifacts-destination"):
            load_settings(artifacts_destination=text)


def test_without_a_destination_artifacts_are_under_home(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)

    assert settings.artifacts_uri == str(tmp_path / "server" / "artifacts")
