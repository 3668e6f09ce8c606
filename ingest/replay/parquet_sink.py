"""Tables as Parquet files in a folder or a bucket, partitioned as Hive does.

    metrics/experiment_id=<id>/<first position>-<last>.parquet
    runs/experiment_id=<id>/<position>-<part>.parquet        likewise params, tags, …
    experiments/<position>-0.parquet
    _tracker/<position>.json          how far the points are; the greatest stands

Files are immutable and appear whole. Points are written first and noted then; files beyond
the last note are what a killed export left, and are removed when the next one begins.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.archive.objects import Objects
from ingest.replay.at_once import AtOnce
from ingest.replay.copying import LogsDiffer
from ingest.replay.sinks import Noted
from ingest.replay.tally import Count, mixed, seed_of
from projections.arrow_arrays import numbers, numpy_of
from projections.parquet_tables import WHOLE_TABLES

_FORMAT: Final = 2
_NOTE: Final = re.compile(r"_tracker/(\d{20})\.json")
_POINTS: Final = re.compile(r"metrics/experiment_id=[^/]+/(\d{20})-(\d{20})\.parquet")
_ROW_GROUP_ROWS: Final = 500_000
_FILES_AT_ONCE: Final = 2
_SMALL_FILES_AT_ONCE: Final = 8


class ParquetSink:
    """See sinks.TableSink."""

    def __init__(self, objects: Objects, about: Mapping[str, Any], note: Noted) -> None:
        self._objects = objects
        self._about = about
        self._note = note

    @classmethod
    async def open(cls, objects: Objects, about: Mapping[str, Any]) -> ParquetSink:
        """Raises LogsDiffer when the folder holds tables of something else."""
        sink = cls(objects, about, await last_note(objects, about))
        await sink._remove_leftovers()
        return sink

    async def noted(self) -> Noted:
        return self._note

    async def put_points(self, tables: Mapping[str, Any], *, after: int, note: Noted) -> None:
        async def put(experiment: str, table: Any) -> None:
            data = await asyncio.to_thread(_encoded, table)
            folder = f"metrics/experiment_id={quote(experiment, safe='')}"
            key = f"{folder}/{after + 1:020d}-{note.position:020d}.parquet"
            await self._objects.create(key, data)

        async with AtOnce(_FILES_AT_ONCE) as several:
            for experiment, table in tables.items():
                await several.begin(put(experiment, table))
        said = {"format": _FORMAT, "about": self._about, **note.as_json()}
        key = f"_tracker/{note.position:020d}.json"
        await self._objects.create(key, json.dumps(said).encode())
        self._note = note

    async def put_tables(self, tables: Mapping[str, Iterable[Any]], *, position: int) -> None:
        old = {key for name in tables for key in await self._objects.keys(f"{name}/")}
        new: set[str] = set()

        async def put(key: str, part: Any) -> None:
            await self._objects.create(key, await asyncio.to_thread(_encoded, part))

        async with AtOnce(_SMALL_FILES_AT_ONCE) as several:
            for name, pieces in tables.items():
                for number, piece in enumerate(pieces):
                    for folder, part in _parts(name, piece):
                        key = f"{folder}/{position:020d}-{number}.parquet"
                        new.add(key)
                        if key not in old:
                            await several.begin(put(key, part))
        async with AtOnce(_SMALL_FILES_AT_ONCE) as several:
            for key in sorted(old - new):
                await several.begin(self._objects.delete(key))

    async def rows_of(self, name: str) -> int:
        rows: list[int] = []

        async def count(key: str) -> None:
            data = pa.BufferReader(await self._objects.read(key))
            rows.append(pq.ParquetFile(data).metadata.num_rows)

        async with AtOnce(_SMALL_FILES_AT_ONCE) as several:
            for key in await self._objects.keys(f"{name}/"):
                await several.begin(count(key))
        return sum(rows)

    async def points_by_run(self) -> dict[str, Count]:
        counts: dict[str, Count] = {}
        for key in await self._objects.keys("metrics/"):
            data = await self._objects.read(key)
            await asyncio.to_thread(_count_file, data, counts)
        return counts

    async def _remove_leftovers(self) -> None:
        for key in (await _notes(self._objects))[:-1]:
            await self._objects.delete(key)
        for key in await self._objects.keys("metrics/"):
            match = _POINTS.fullmatch(key)
            if match and int(match[2]) > self._note.position:
                await self._objects.delete(key)


async def last_note(objects: Objects, about: Mapping[str, Any]) -> Noted:
    """How far the tables are. Raises LogsDiffer when they are of something else."""
    notes = await _notes(objects)
    if not notes:
        return Noted()
    said = json.loads(await objects.read(notes[-1]))
    if said["format"] != _FORMAT:
        raise LogsDiffer(
            f"{objects.address_of('')} was written by another version (format {said['format']}, "
            f"and this one writes {_FORMAT}); give an empty place"
        )
    if said["about"] != about:
        raise LogsDiffer(
            f"{objects.address_of('')} holds tables of another workspace or of other runs; give "
            "an empty place, or the same --run and --experiment"
        )
    return Noted.of_json(said)


async def _notes(objects: Objects) -> list[str]:
    return [key for key in await objects.keys("_tracker/") if _NOTE.fullmatch(key)]


def count_points(table: Any, counts: dict[str, Count]) -> None:
    """Add the points of a table (run_id, key, step, time, value), hashed as tally does."""
    for batch in table.to_batches():
        if batch.num_rows == 0:
            continue
        runs, run_numbers = _dictionary(batch.column("run_id"))
        keys, key_numbers = _dictionary(batch.column("key"))
        steps, times, bits = (numpy_of(batch.column(at), "<u8") for at in ("step", "time", "value"))
        seeds = np.array([seed_of(key) for key in keys], np.uint64)
        base = mixed(mixed(steps) ^ times)
        hashes = mixed(base ^ (bits + seeds[key_numbers]))
        # Series lie behind each other, so a run is a few stretches of rows.
        starts = np.flatnonzero(np.diff(run_numbers, prepend=run_numbers[0] - 1))
        sums = np.add.reduceat(hashes, starts)
        lengths = np.diff(starts, append=len(run_numbers))
        for start, total, length in zip(starts, sums.tolist(), lengths.tolist(), strict=True):
            count = counts.setdefault(runs[run_numbers[start]], Count())
            count.add(Count(points=length, points_hash=total))


def _dictionary(column: Any) -> tuple[list[str], Any]:
    encoded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
    return encoded.dictionary.to_pylist(), numpy_of(encoded.indices, "<i4")


def _count_file(data: bytes, counts: dict[str, Count]) -> None:
    file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=["run_id", "key"])
    for group in range(file.num_row_groups):
        count_points(file.read_row_group(group), counts)


def _parts(name: str, table: Any) -> list[tuple[str, Any]]:
    """By experiment, without the column that the folder's name says."""
    if name in WHOLE_TABLES:
        return [(name, table)]
    experiments, numbers_of_rows = _dictionary(table.column("experiment_id").combine_chunks())
    rest = table.drop_columns(["experiment_id"])
    return [
        (
            f"{name}/experiment_id={quote(experiment, safe='')}",
            rest.take(numbers(np.flatnonzero(numbers_of_rows == number), pa.int64())),
        )
        for number, experiment in enumerate(experiments)
    ]


def _encoded(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    texts, encodings = [], {}
    for column in table.schema:
        if pa.types.is_integer(column.type) or pa.types.is_timestamp(column.type):
            # Steps and times rise evenly: a quarter of the bytes, and faster to write.
            encodings[column.name] = "DELTA_BINARY_PACKED"
        elif not pa.types.is_floating(column.type):
            texts.append(column.name)
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=texts,
        column_encoding=encodings,
        row_group_size=_ROW_GROUP_ROWS,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data
