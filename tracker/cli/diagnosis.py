"""The examinations behind `tracker doctor`. Each looks at one thing and never raises.

A finding is ok, a note (worth knowing), or wrong: then its advice says what to do.
"""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from tracker import config, destination, local_server
from tracker.cli.formats import count, printable, size
from tracker.client import Client
from tracker.events.errors import TrackerError
from tracker.refusals import QueryFailed
from tracker.spool.acks import read_ack
from tracker.spool.folder import SpoolRoot, WriterFolder
from tracker.spool.segments import HEADER_BYTES, records_in

PROBE_TIMEOUT_S: Final = 2.0
# Times of runs come from the machines that train; beyond this they mislead.
CLOCK_DIFFERENCE_S_MAX: Final = 5.0
DISK_FREE_BYTES_MIN: Final = 1024**3
FSYNC_SAMPLES: Final = 9
FSYNC_SLOW_S: Final = 0.1
WAL_RESET_FIXED_IN: Final = (3, 51, 3)


class State(StrEnum):
    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    state: State
    text: str
    advice: str = ""


def examine(uri: str | None, api_key: str | None) -> Iterator[Finding]:
    """All findings, the slow ones last."""
    yield from destination_chain(uri)
    spool = SpoolRoot(config.spool_dir())
    yield from spool_content(spool)
    yield disk_space(spool.path)
    yield fsync_latency(spool.path)
    yield sqlite_version()
    yield Finding(
        "python", State.OK, f"{platform.python_version()} on {platform.platform(terse=True)}"
    )
    yield from server(uri, api_key)


def destination_chain(uri: str | None) -> Iterator[Finding]:
    """Every link of the chain, and which one won. `uri` is what the command line says."""
    is_overruled = uri is not None and uri != config.tracker_uri()
    if is_overruled:
        said = f"--uri says {printable(uri or '')}"
        yield Finding("destination", State.OK, f"{said}: this one counts")
    for link in destination.describe_chain():
        if link.value is None:
            continue
        said = f"{link.source} says {printable(link.value)}"
        if link.note:
            state = State.WRONG if link.won else State.NOTE
            yield Finding("destination", state, f"{said}: {link.note}", "Correct it.")
        elif link.won and not is_overruled:
            yield Finding("destination", State.OK, f"{said}: this one counts")
        else:
            yield Finding("destination", State.NOTE, f"{said}: something before it counts")


def spool_content(spool: SpoolRoot) -> Iterator[Finding]:
    """Where the spool is, and what in it has not been delivered."""
    folders = list(spool.writer_folders())
    if not folders:
        yield Finding("spool", State.OK, f"{spool.path}, empty: everything has been delivered")
        return
    waiting = sum(map(undelivered, folders))
    taken = sum(_bytes_of(folder) for folder in folders)
    text = f"{spool.path}, {size(taken)} of {count(len(folders), 'writer')}, "
    if waiting:
        advice = "They are delivered when the server is there, or now by: tracker sync"
        text += f"{count(waiting, 'record')} not confirmed yet"
        yield Finding("spool", State.NOTE, text, advice)
    else:
        yield Finding("spool", State.OK, text + "all confirmed")
    for name, what in (("quarantine", "unreadable bytes"), ("rejected", "records refused")):
        affected = [folder for folder in folders if _has_files(folder.path / name)]
        if affected:
            yield Finding(
                "spool",
                State.WRONG,
                f"{what} set aside for {count(len(affected), 'writer')}, such as "
                f"{affected[0].path / name}",
                "The files there say why. See: tracker spool verify",
            )


def undelivered(folder: WriterFolder) -> int:
    """How many sequence numbers of a writer are spooled and not acknowledged."""
    segments = folder.readable_segments()
    if not segments:
        return 0
    last = segments[-1]
    next_seq = last.first_seq
    try:
        for _, after in records_in(last.path.read_bytes()[HEADER_BYTES:], next_seq):
            next_seq = after
    except OSError:
        return 0  # Delivered and removed since it was listed.
    return max(0, next_seq - read_ack(folder.acks).next_seq)


def disk_space(path: Path) -> Finding:
    existing = _existing(path)
    try:
        usage = shutil.disk_usage(existing)
    except OSError as error:
        return Finding("disk", State.WRONG, f"{existing}: {error.strerror}")
    text = f"{size(usage.free)} of {size(usage.total)} free at {existing}"
    if usage.free < DISK_FREE_BYTES_MIN:
        advice = "Make room, or move the spool with TRACKER_SPOOL_DIR: a full disk loses records."
        return Finding("disk", State.WRONG, text, advice)
    return Finding("disk", State.OK, text)


def fsync_latency(path: Path) -> Finding:
    """How long the disk takes to make a record safe from power loss."""
    existing = _existing(path)
    times = []
    try:
        with tempfile.TemporaryFile(dir=existing) as probe:
            for _ in range(FSYNC_SAMPLES):
                probe.write(b"\0" * 4096)
                probe.flush()
                start = time.perf_counter()
                os.fsync(probe.fileno())
                times.append(time.perf_counter() - start)
    except OSError as error:
        return Finding(
            "fsync", State.WRONG, f"{existing} cannot be written: {error.strerror}",
            "Choose a writable place with TRACKER_SPOOL_DIR.",
        )  # fmt: skip
    median = statistics.median(times)
    text = f"{median * 1000:.2f} ms at {existing}"
    if median > FSYNC_SLOW_S:
        advice = "Log calls do not wait for it, unless TRACKER_DURABILITY=fsync; a server does."
        return Finding("fsync", State.NOTE, f"{text}, which is slow", advice)
    return Finding("fsync", State.OK, text)


def sqlite_version() -> Finding:
    text = f"{sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < WAL_RESET_FIXED_IN:
        fixed = ".".join(map(str, WAL_RESET_FIXED_IN))
        return Finding(
            "sqlite", State.OK,
            f"{text}; before {fixed} two connections that checkpoint at once can corrupt a "
            "WAL file, so one connection alone writes and checkpoints each of ours",
        )  # fmt: skip
    return Finding("sqlite", State.OK, text)


def server(uri: str | None, api_key: str | None) -> Iterator[Finding]:
    """Whether the destination answers, how fast, and whether its clock agrees."""
    try:
        where = uri or destination.destination().uri
        if where == destination.LOCAL:
            found = local_server.find(config.home())
            if found is None:
                yield _no_local_server()
                return
            where = found
        with Client(where, api_key, retry_for_s=0) as client:
            probe = client.probe()
            ready = client.ready()
    except QueryFailed as error:
        yield Finding("server", State.WRONG, printable(str(error), characters_max=500), error.hint)
        return
    except TrackerError as error:
        yield Finding("server", State.WRONG, str(error))
        return
    text = f"{probe.uri} answers in {probe.latency_s * 1000:.1f} ms, version {probe.version}"
    yield Finding("server", State.OK, text)
    lag = max((projection["lag"] for projection in ready["projections"]), default=0)
    behind = f"; projections are {count(lag, 'event')} behind" if lag else ""
    yield Finding("log", State.OK, f"{count(ready['head'], 'event')} stored{behind}")
    yield _clock(probe.clock_ahead_s)


def _no_local_server() -> Finding:
    missing = local_server.missing_modules()
    if missing:
        return Finding(
            "server", State.NOTE,
            f"none runs on this machine, and none can: {', '.join(missing)} missing",
            "Logging works without. For queries: pip install 'tracker[server]'",
        )  # fmt: skip
    return Finding(
        "server", State.NOTE,
        "none runs on this machine; what is logged waits in the spool",
        "A query starts one for a while; `tracker server` starts one that stays.",
    )  # fmt: skip


def _clock(ahead_s: float) -> Finding:
    if abs(ahead_s) <= CLOCK_DIFFERENCE_S_MAX:
        return Finding("clock", State.OK, "agrees with the server's within seconds")
    side = "ahead of" if ahead_s > 0 else "behind"
    return Finding(
        "clock", State.WRONG,
        f"{abs(ahead_s):,.0f} s {side} the server's",
        "Runs will show wrong times; let both machines keep time by NTP.",
    )  # fmt: skip


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest above it that exists."""
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), Path(path.anchor))


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _bytes_of(folder: WriterFolder) -> int:
    taken = 0
    for segment in folder.readable_segments():
        try:
            taken += segment.path.stat().st_size
        except OSError:
            continue  # Delivered and removed since it was listed.
    return taken
