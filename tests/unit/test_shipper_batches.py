"""What a chunk becomes on the wire: every value bit for bit, in few bytes."""

from __future__ import annotations

import math
import random
import struct
import tempfile
from pathlib import Path
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from projections.columns import decode_batch, decode_payload
from tracker.shipper.collect import Batch, batch_of
from tracker.spool import framing
from tracker.spool.chunks import Chunk
from tracker.spool.folder import WriterFolder
from tracker.spool.reader import SpoolReader

KEYS = [f"train/metric_{number:02}" for number in range(20)]


def batch_from(folder: Path, records: list[bytes]) -> Batch:
    header = framing.segment_header("a" * 32, 1, 1)
    (folder / framing.segment_name(1)).write_bytes(header + b"".join(records))
    chunk = SpoolReader(WriterFolder(folder), next_seq=1).read(is_final=True)
    assert isinstance(chunk, Chunk)
    return batch_of(chunk, run_id="r" * 32, writer_id="a" * 32, epoch=1)


def metrics_record(seq: int, values: list[float], *, step: int, time_us: int) -> bytes:
    packer = framing.metrics_body_struct(len(values))
    body = packer.pack(framing.KIND_METRICS, len(values), 1, seq, step, time_us, *values)
    body += "\0".join(KEYS[: len(values)]).encode()
    return framing.FRAME.pack(len(body), crc32(body)) + body


def noisy_float32(chance: random.Random, step: int) -> float:
    value: float = struct.unpack(
        "<f", struct.pack("<f", 2 / (1 + step / 1000) + chance.gauss(0, 0.05))
    )[0]
    return value


def test_twenty_noisy_metrics_of_twenty_steps_cost_less_than_five_bytes_a_point(
    tmp_path: Path,
) -> None:
    chance = random.Random(1)
    records = [
        metrics_record(
            1 + step,
            [noisy_float32(chance, step) for _ in KEYS],
            step=step,
            time_us=1_763_700_000_000_000 + step * 10_000 + chance.randrange(600),
        )
        for step in range(20)
    ]

    batch = batch_from(tmp_path, records)

    assert batch.points == 400
    assert len(batch.body) / batch.points < 5


@given(
    rows=st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1),
            st.integers(0, 2**63 - 1),
            st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_steps_times_and_values_arrive_bit_for_bit(
    rows: list[tuple[int, int, list[bytes]]],
) -> None:
    """Values are any 64 bits: NaN payloads, infinities, denormals, the sign of zero."""
    records = []
    for seq, (step, time_us, raw) in enumerate(rows, start=1):
        values = b"".join(raw)
        body = framing.BODY.pack(framing.KIND_METRICS, len(raw), 1, seq)
        body += struct.pack("<qq", step, time_us) + values
        body += "\0".join(KEYS[: len(raw)]).encode()
        records.append(framing.FRAME.pack(len(body), crc32(body)) + body)
    with tempfile.TemporaryDirectory() as folder:
        batch = batch_from(Path(folder), records)

    header, payload = decode_batch(batch.body)
    columns = decode_payload(payload, n=header.n)
    arrived = {}
    for frame in columns.metrics:
        for index, offset in enumerate(frame.offsets):
            raw = [column[index : index + 1].tobytes() for column in frame.values]
            arrived[int(offset)] = (int(frame.steps[index]), int(frame.times_us[index]), raw)
    assert [arrived[offset] for offset in range(len(rows))] == rows


def test_the_crc_of_a_batch_is_that_of_its_records_however_they_are_cut(tmp_path: Path) -> None:
    records = [framing.metric_record(seq, b"loss", seq, seq, math.pi) for seq in range(1, 6)]

    batch = batch_from(tmp_path, records)

    header, _ = decode_batch(batch.body)
    assert header.records_crc == crc32(b"".join(record[4:8] for record in records))
