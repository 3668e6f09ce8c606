"""What a spool holds after the SDK has written to it, and an SDK that writes to a test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tracker
from tests.support.spools import Record, read_strictly
from tracker import config, destination
from tracker.events.types import RunStatus
from tracker.exits import Outcome
from tracker.fluent import session
from tracker.spool.folder import SpoolRoot
from tracker.spool.framing import KIND_EVENT, KIND_METRICS
from tracker.spool.meta import WriterMeta, load_meta


@dataclass(frozen=True)
class RecordedWriter:
    """One writer folder, read strictly: dense, every checksum good."""

    meta: WriterMeta
    records: list[Record]

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """(type, data) of the plain events, in order."""
        return [(r.row[0], r.row[3]) for r in self.records if r.kind == KIND_EVENT]

    @property
    def types(self) -> list[str]:
        return [kind for kind, _ in self.events]

    def data_of(self, kind: str) -> dict[str, Any]:
        """All data of that type merged, later over earlier."""
        merged: dict[str, Any] = {}
        for each, data in self.events:
            if each == kind:
                merged.update(data)
        return merged

    @property
    def points(self) -> list[tuple[str, int, float]]:
        """(key, step, value) in order of logging."""
        return [
            (key, record.step, value)
            for record in self.records
            if record.kind == KIND_METRICS
            for key, value in zip(record.keys, record.values, strict=True)
        ]

    @property
    def tags(self) -> dict[str, str]:
        tags = dict(self.data_of("run.started").get("tags", {}))
        for kind, data in self.events:
            if kind == "tags.set":
                tags.update(data["tags"])
            elif kind == "tag.deleted":
                tags.pop(data["key"], None)
        return tags

    @property
    def params(self) -> dict[str, str]:
        return {
            key: value
            for kind, data in self.events
            if kind == "params.logged"
            for key, value in data["params"].items()
        }


def recorded(home: Path) -> list[RecordedWriter]:
    """Every writer of the spool under `home`, in the order in which they were made."""
    writers = [
        RecordedWriter(load_meta(folder.meta), read_strictly(folder))
        for folder in SpoolRoot(home / "spool").writer_folders()
    ]
    return sorted(writers, key=lambda writer: writer.meta.created_us)


def recorded_run(home: Path, run_id: str) -> RecordedWriter:
    """The only writer of that run."""
    (writer,) = [each for each in recorded(home) if each.meta.run_id == run_id]
    return writer


@contextmanager
def isolated_sdk(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The SDK of this process, offline, on a spool of its own, without inherited settings."""
    for name in list(os.environ):
        if name.startswith(("TRACKER_", "MLFLOW_")) or name in config._RANK_NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("TRACKER_HOME", str(home))
    monkeypatch.setenv("TRACKER_MODE", "offline")
    monkeypatch.setenv("TRACKER_QUIET", "1")
    monkeypatch.setenv("TRACKER_SNAPSHOT", "none")
    monkeypatch.chdir(home)
    try:
        yield
    finally:
        for run in session._runs():
            session.end(run, Outcome(RunStatus.FINISHED))
        session.chosen = None
        session.active.last = None
        destination.set_tracking_uri(None)
        for name in (config.EXPERIMENT_NAME, config.EXPERIMENT_ID):
            config.set_for_good(name, None)
    assert tracker.active_run() is None
