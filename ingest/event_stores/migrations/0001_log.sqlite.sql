-- The event log of one workspace: batches, what each writer may send next, where the next
-- event goes. Rows of `batch` are never changed; an ordinary rowid table whose rowid is the
-- position keeps large payloads out of the tree's inner pages.

CREATE TABLE store (
    store_id TEXT NOT NULL,                 -- random; names the writers of this store's decisions
    workspace TEXT NOT NULL,
    created_at_us INTEGER NOT NULL
);

CREATE TABLE batch (
    first_position INTEGER PRIMARY KEY,
    workspace TEXT NOT NULL,
    n INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    writer_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    records_crc INTEGER NOT NULL,           -- 0: not comparable (what was left of a cut overlap)
    received_at_us INTEGER NOT NULL,        -- never falls along the positions
    schema INTEGER NOT NULL,
    payload_sha256 BLOB NOT NULL,
    chain_sha256 BLOB NOT NULL,
    payload BLOB NOT NULL
);
CREATE UNIQUE INDEX batch_sequence ON batch (writer_id, epoch, first_seq);
CREATE INDEX batch_run ON batch (run_id, first_position);

CREATE TABLE writer (
    writer_id TEXT PRIMARY KEY,
    run_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    next_seq INTEGER NOT NULL,
    position INTEGER NOT NULL,
    received_at_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX writer_run ON writer (run_id);

CREATE TABLE head (
    workspace TEXT PRIMARY KEY,
    next_position INTEGER NOT NULL,
    chain_sha256 BLOB NOT NULL
) WITHOUT ROWID;

-- Who said lately that it is alive. No part of the log; lost without harm.
CREATE TABLE lease (
    writer_id TEXT PRIMARY KEY,
    run_id TEXT NOT NULL,
    expires_us INTEGER NOT NULL
) WITHOUT ROWID;
