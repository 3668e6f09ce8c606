"""Each way a store can be wrong is found and named by verify."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ingest.event_stores.sqlite import SqliteEventStore
from ingest.event_stores.sqlite_reader import SqliteLogReader
from ingest.read_side import open_read_side
from projections.builds import Builds
from projections.findings import Fault, VerifyReport
from projections.kinds import KINDS
from projections.log import chain_link
from projections.verify import verify
from tests.support.logs import Dropped, Metrics, Record, batch_to_append, event
from tracker.cli.rebuild import command as rebuild_command
from tracker.cli.verify import command as verify_command

WRITERS = ("w1", "w2", "w3")
BATCHES = 6  # per writer, 4 positions each
HEAD = len(WRITERS) * BATCHES * 4


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    path = tmp_path / "tracker.db"
    event_store = await SqliteEventStore.open(path)
    async with open_read_side(event_store, path) as side:
        for n in range(BATCHES):
            for writer in WRITERS:
                records: list[Record] = [
                    event("tags.set", n, tags={"n": str(n)}),
                    event("params.logged", n, params={f"p{n}": writer}),
                    Metrics({"loss": 1 / (n + 1)}, n, n),
                    Dropped(1, n),
                ]
                batch = batch_to_append(f"run-{writer}", writer, 1 + 4 * n, records)
                result = await event_store.append(batch)
        assert await side.wait_for(result.position, timeout_s=60)
    await event_store.aclose()
    return path


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def projection_of(store: Path, name: str) -> Path:
    build = Builds.beside(store).current(name)
    assert build is not None
    return build.path


async def report_of(store: Path) -> VerifyReport:
    log = SqliteLogReader(store)
    try:
        return await verify(log, Builds.beside(store), KINDS, on_progress=lambda _: None)
    finally:
        await log.aclose()


def faults(report: VerifyReport) -> set[Fault]:
    return {finding.fault for finding in report.findings}


async def test_a_sound_store_is_clean_and_counted(store: Path) -> None:
    report = await report_of(store)

    assert report.is_clean, report.findings
    assert (report.head, report.events, report.writers) == (HEAD, HEAD, 3)
    assert (report.batches, report.points, report.dropped) == (18, 18, 18)
    assert {proof.name for proof in report.projections} == {kind.name for kind in KINDS}
    assert all(proof.position == HEAD for proof in report.projections)


async def test_an_empty_store_is_clean(tmp_path: Path) -> None:
    event_store = await SqliteEventStore.open(tmp_path / "tracker.db")
    async with open_read_side(event_store, tmp_path / "tracker.db"):
        pass
    await event_store.aclose()

    assert (await report_of(tmp_path / "tracker.db")).is_clean


@pytest.mark.parametrize("byte", [0, 10, -1])
async def test_a_flipped_byte_in_a_payload_is_found(store: Path, byte: int) -> None:
    connection = sqlite3.connect(store)
    (payload,) = connection.execute("SELECT payload FROM batch WHERE first_position = 9").fetchone()
    flipped = bytearray(payload)
    flipped[byte] ^= 1
    with connection:
        connection.execute(
            "UPDATE batch SET payload = ? WHERE first_position = 9", (bytes(flipped),)
        )
    connection.close()

    report = await report_of(store)

    assert (report.findings[0].fault, report.findings[0].position) == (Fault.PAYLOAD_CHANGED, 9)
    assert Fault.PROJECTION_CANNOT_BE_REBUILT in faults(report)


async def test_a_payload_replaced_together_with_its_digest_breaks_the_chain(store: Path) -> None:
    execute(
        store,
        "UPDATE batch SET (payload, payload_sha256) = (SELECT payload, payload_sha256"
        " FROM batch WHERE first_position = 1) WHERE first_position = 9",
    )

    report = await report_of(store)

    assert [(f.fault, f.position) for f in report.findings[:1]] == [(Fault.CHAIN_BROKEN, 9)]
    assert Fault.PROJECTION_ROW_WRONG in faults(report)


@pytest.mark.parametrize(
    "change",
    [
        "received_at_us = received_at_us + 1",
        "records_crc = records_crc + 1",
        "schema = 2",
        "chain_sha256 = zeroblob(32)",
        "epoch = 2",
    ],
)
async def test_any_changed_field_of_a_row_breaks_the_chain(store: Path, change: str) -> None:
    execute(store, f"UPDATE batch SET {change} WHERE first_position = 9")

    report = await report_of(store)

    assert (Fault.CHAIN_BROKEN, 9) in [(f.fault, f.position) for f in report.findings]


async def test_a_deleted_row_is_found_as_missing_positions_and_sequences(store: Path) -> None:
    execute(store, "DELETE FROM batch WHERE first_position = 13")

    report = await report_of(store)

    assert {Fault.MISSING_POSITIONS, Fault.MISSING_SEQUENCES, Fault.CHAIN_BROKEN} <= faults(report)
    missing = next(f for f in report.findings if f.fault is Fault.MISSING_POSITIONS)
    assert "13 to 16" in missing.message
    hole = next(f for f in report.findings if f.fault is Fault.MISSING_SEQUENCES)
    assert "writer w1" in hole.message
    assert "5 to 8" in hole.message


async def test_deleted_rows_at_the_end_are_found_by_the_head(store: Path) -> None:
    execute(store, f"DELETE FROM batch WHERE first_position > {HEAD - 8}")

    report = await report_of(store)

    missing = next(f for f in report.findings if f.fault is Fault.MISSING_POSITIONS)
    assert f"positions {HEAD - 7} to {HEAD} are missing" in missing.message
    assert Fault.WRITER_TABLE_WRONG in faults(report)


async def test_a_renumbered_row_is_found(store: Path) -> None:
    execute(store, "UPDATE batch SET first_position = 1000 WHERE first_position = 21")

    report = await report_of(store)

    assert Fault.MISSING_POSITIONS in faults(report)


async def test_rows_put_into_another_order_are_found_even_if_dense(store: Path) -> None:
    execute(
        store,
        "UPDATE batch SET first_position = -first_position WHERE first_position IN (5, 9)",
        "UPDATE batch SET first_position = 14 + first_position WHERE first_position IN (-5, -9)",
    )

    report = await report_of(store)

    assert {f.fault for f in report.findings if f.position in (5, 9)} == {Fault.CHAIN_BROKEN}


async def test_a_writers_batch_dropped_behind_a_rewritten_chain_is_found(store: Path) -> None:
    """Positions, digests and chain are made anew, as somebody who knows the format could."""
    rewrite_without(store, lambda writer, n: writer == "w2" and n == 3)

    report = await report_of(store)

    log_faults = {f.fault for f in report.findings if not f.fault.startswith("projection")}
    assert log_faults == {Fault.MISSING_SEQUENCES, Fault.WRITER_TABLE_WRONG}
    assert Fault.PROJECTION_AHEAD in faults(report)


async def test_a_writer_missing_from_the_writer_table_is_found(store: Path) -> None:
    execute(store, "DELETE FROM writer WHERE writer_id = 'w2'")

    report = await report_of(store)

    assert [(f.fault, "w2" in f.message) for f in report.findings] == [
        (Fault.WRITER_TABLE_WRONG, True)
    ]


@pytest.mark.parametrize(
    "change", ["next_seq = next_seq + 1", "epoch = 3", "run_id = 'x'", "position = 2"]
)
async def test_a_watermark_that_differs_from_the_log_is_found(store: Path, change: str) -> None:
    execute(store, f"UPDATE writer SET {change} WHERE writer_id = 'w3'")

    report = await report_of(store)

    assert faults(report) == {Fault.WRITER_TABLE_WRONG}


async def test_a_head_that_differs_from_the_last_batch_is_found(store: Path) -> None:
    execute(store, "UPDATE head SET chain_sha256 = zeroblob(32)")

    assert faults(await report_of(store)) == {Fault.HEAD_WRONG}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE run_tag SET value = 'x' WHERE run_no = 1", "value is 'x', should be '5'"),
        ("UPDATE run_metric SET last_bits = last_bits + 1 WHERE run_no = 2", "last_bits is"),
        ("UPDATE run SET name = 'x' WHERE run_no = 1", "run (run_no=1): name is 'x'"),
        ("DELETE FROM run_param WHERE run_no = 3", "run_param (run_no=3, key_id="),
        ("INSERT INTO run_tag VALUES (9, 9, 'x', 1)", "(run_no=9, key_id=9) should not be there"),
        ("UPDATE key SET key = 'lost' WHERE key = 'loss'", "key is 'lost', should be 'loss'"),
        ("UPDATE projection SET position = 8", "run (run_no=3) should not be there"),
        ("ALTER TABLE run ADD COLUMN more TEXT", "table run has columns"),
    ],
)
async def test_an_edited_projection_row_is_found_and_said(
    store: Path, change: str, said: str
) -> None:
    execute(projection_of(store, "runs"), change)

    report = await report_of(store)

    assert faults(report) == {Fault.PROJECTION_ROW_WRONG}
    assert any(said in finding.message for finding in report.findings), report.findings


async def test_a_projection_ahead_of_the_log_is_found(store: Path) -> None:
    execute(projection_of(store, "runs"), "UPDATE projection SET position = 1000")

    assert faults(await report_of(store)) == {Fault.PROJECTION_AHEAD}


async def test_a_dead_letter_is_reported(store: Path) -> None:
    execute(projection_of(store, "runs"), "INSERT INTO dead_letter VALUES (5, 'run-w2', 'why')")

    report = await report_of(store)

    assert [(f.fault, f.position) for f in report.findings] == [(Fault.DEAD_LETTER, 5)]


async def test_many_wrong_rows_are_counted_beyond_the_first_few(store: Path) -> None:
    path = projection_of(store, "runs")
    rows = ", ".join(f"({i}, 1, 'x', 1)" for i in range(100, 600))
    execute(path, f"INSERT INTO run_tag VALUES {rows}")

    report = await report_of(store)

    assert "480 more rows" in report.findings[-1].message


def test_the_command_says_clean_and_ends_with_0(store: Path) -> None:
    outcome = CliRunner().invoke(verify_command, [f"sqlite:///{store}"])

    assert outcome.exit_code == 0, outcome.output
    assert "clean: 72 events (18 points, 18 dropped) in 18 batches of 3 writers" in outcome.stdout


def test_the_command_lists_what_is_off_and_ends_with_1(store: Path) -> None:
    execute(store, "DELETE FROM batch WHERE first_position = 13")

    outcome = CliRunner().invoke(verify_command, [str(store), "--json"])

    assert outcome.exit_code == 1
    report = json.loads(outcome.stdout)
    assert not report["is_clean"]
    assert "missing_positions" in {finding["fault"] for finding in report["findings"]}


def test_the_command_refuses_a_store_that_is_not_there(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(verify_command, [str(tmp_path / "none.db")])

    assert outcome.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_rebuilding_offline_mends_an_edited_projection(store: Path) -> None:
    execute(projection_of(store, "runs"), "UPDATE run_tag SET value = 'x'")

    outcome = CliRunner().invoke(rebuild_command, [str(store), "--projection", "runs"])

    assert outcome.exit_code == 0, outcome.output
    assert CliRunner().invoke(verify_command, [str(store)]).exit_code == 0
    assert projection_of(store, "runs").name == "runs-2.sqlite"
    assert len(list(Builds.beside(store).folder.glob("runs-*.sqlite"))) == 1


def test_a_rebuild_that_cannot_be_finished_leaves_the_old_build(store: Path) -> None:
    execute(store, "UPDATE batch SET payload = zeroblob(5) WHERE first_position = 9")

    outcome = CliRunner().invoke(rebuild_command, [str(store), "--projection", "runs"])

    assert outcome.exit_code == 1
    assert "positions 9 to 12" in outcome.stderr
    assert projection_of(store, "runs").name == "runs-1.sqlite"
    assert len(list(Builds.beside(store).folder.glob("runs-*.sqlite"))) == 1


async def test_a_store_that_a_server_has_open_is_not_rebuilt_behind_its_back(
    store: Path,
) -> None:
    server = await SqliteEventStore.open(store)
    try:
        outcome = CliRunner().invoke(rebuild_command, [str(store)])
    finally:
        await server.aclose()

    assert outcome.exit_code == 1
    assert "is in use by another server" in outcome.stderr


def rewrite_without(store: Path, is_left_out: Callable[[str, int], bool]) -> None:
    """Rewrite the log without some batches, with positions and chain as if that was all."""
    connection = sqlite3.connect(store)
    connection.row_factory = sqlite3.Row
    rows = connection.execute("SELECT * FROM batch ORDER BY first_position").fetchall()
    kept = [r for r in rows if not is_left_out(r["writer_id"], (r["first_seq"] - 1) // 4)]
    assert len(kept) < len(rows)
    position, chain = 1, bytes(32)
    facts = ("n", "run_id", "writer_id", "epoch", "first_seq", "records_crc", "received_at_us")
    with connection:
        connection.execute("DELETE FROM batch")
        for row in kept:
            chain = chain_link(
                chain,
                first_position=position,
                schema=row["schema"],
                payload_sha256=row["payload_sha256"],
                **{name: row[name] for name in facts},
            )
            values = dict(row) | {"first_position": position, "chain_sha256": chain}
            marks = ", ".join("?" * len(values))
            connection.execute(
                f"INSERT INTO batch ({', '.join(values)}) VALUES ({marks})", list(values.values())
            )
            position += row["n"]
        connection.execute("UPDATE head SET next_position = ?, chain_sha256 = ?", (position, chain))
    connection.close()
