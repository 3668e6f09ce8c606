"""The manifest: which segments an archive consists of, in order.

    manifest/<number>.json        {"format": 1, "workspace", "segments": [Segment, …]}

Each is immutable and says everything; the greatest number stands. A new one is created
under the next number, so of two who add a segment at once one is told that the number is
taken. A crash leaves the old one, or the new one. Of the older ones two are kept.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import asdict, dataclass
from typing import Final

from ingest.archive.objects import NoSuchObject, Objects
from ingest.archive.segments import Segment
from projections.log import GENESIS_CHAIN, LogDamaged, LogHead
from tracker.events.errors import TrackerError
from tracker.events.limits import INT64_MAX

FORMAT: Final = 1
_KEPT: Final = 3
_PREFIX: Final = "manifest/"


class ArchiveTaken(TrackerError):
    """Somebody else wrote to the archive at the same time."""


class ArchiveMismatch(TrackerError):
    """The archive is another than the one that is asked for."""


@dataclass(frozen=True, slots=True)
class Manifest:
    workspace: str
    number: int = 0
    segments: tuple[Segment, ...] = ()

    @property
    def head(self) -> LogHead:
        if not self.segments:
            return LogHead(1, GENESIS_CHAIN)
        last = self.segments[-1]
        return LogHead(last.last_position + 1, bytes.fromhex(last.chain))

    def index_after(self, position: int) -> int:
        """The index of the segment that holds the first batch ending beyond `position`."""
        return bisect_right(self.segments, position, key=lambda s: s.last_position)


async def load_manifest(objects: Objects, *, workspace: str) -> Manifest:
    """The manifest that stands; an empty one when there is no archive yet."""
    for _ in range(3):
        numbers = sorted(map(_number_of, await objects.keys(_PREFIX)))
        if not numbers or numbers[-1] == 0:
            return Manifest(workspace)
        try:
            data = await objects.read(_key(numbers[-1]))
        except NoSuchObject:
            continue  # three newer ones have come since the listing
        return _decoded(data, numbers[-1], workspace, objects.address_of(_key(numbers[-1])))
    raise ArchiveTaken("the archive's manifest changes faster than it can be read; try again")


async def add_segment(objects: Objects, manifest: Manifest, segment: Segment) -> Manifest:
    """Add a segment whose object is there and verified. Raises ArchiveTaken."""
    number = manifest.number + 1
    added = Manifest(manifest.workspace, number, (*manifest.segments, segment))
    said = {
        "format": FORMAT,
        "workspace": added.workspace,
        "segments": [asdict(each) for each in added.segments],
    }
    data = json.dumps(said, indent=1).encode()
    is_ours = await objects.create(_key(number), data)
    numbers = sorted(map(_number_of, await objects.keys(_PREFIX)))
    if not is_ours or numbers[-1] != number:
        raise ArchiveTaken("somebody else writes to this archive; begin again to go on after it")
    for old in numbers[:-_KEPT]:
        await objects.delete(_key(old))
    return added


def _decoded(data: bytes, number: int, workspace: str, address: str) -> Manifest:
    try:
        said = json.loads(data)
        if said["format"] != FORMAT:
            raise ArchiveMismatch(
                f"{address} is of format {said['format']}, and this software knows {FORMAT}; "
                "use the newer version that wrote it"
            )
        segments = tuple(Segment(**each) for each in said["segments"])
        found = str(said["workspace"])
    except (ValueError, KeyError, TypeError) as error:
        raise LogDamaged(
            f"the archive's manifest {address} cannot be read ({error!r}); "
            "the one before it in the same folder may be what it should be",
            first_position=1,
            last_position=INT64_MAX,
        ) from None
    if found != workspace:
        raise ArchiveMismatch(f"the archive holds workspace {found!r}, not {workspace!r}")
    return Manifest(found, number, segments)


def _key(number: int) -> str:
    return f"{_PREFIX}{number:08d}.json"


def _number_of(key: str) -> int:
    name = key.removeprefix(_PREFIX).removesuffix(".json")
    return int(name) if name.isascii() and name.isdecimal() else 0
