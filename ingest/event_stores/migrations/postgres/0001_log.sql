-- The event logs of any number of workspaces: batches, what each writer may send next, where
-- the next event goes. Rows of `batch` are never changed. Everything lies in a schema of its
-- own, so that the database may be shared and no search_path is needed (a pooler keeps none).

CREATE TABLE tracker.store (
    workspace text PRIMARY KEY,
    number integer GENERATED ALWAYS AS IDENTITY,  -- names the workspace's tables
    store_id text NOT NULL,                 -- random; names the writers of this store's decisions
    partition_positions bigint NOT NULL CHECK (partition_positions > 0),
    created_at_us bigint NOT NULL
);

-- One row per workspace, locked last by every append: whoever holds it decides what comes
-- next, so positions are dense and in the order of commits.
CREATE TABLE tracker.head (
    workspace text PRIMARY KEY REFERENCES tracker.store,
    next_position bigint NOT NULL,
    chain_sha256 bytea NOT NULL,
    received_at_us bigint NOT NULL,         -- never falls, whatever server's clock it was
    partitioned_to bigint NOT NULL          -- below this position batches have a partition
) WITH (fillfactor = 10);                   -- rewritten by every commit, in its own page

-- By workspace, then by ranges of positions: sealed ranges are detached, not deleted.
CREATE TABLE tracker.batch (
    workspace text NOT NULL,
    first_position bigint NOT NULL,
    n bigint NOT NULL,
    run_id text NOT NULL,
    writer_id text NOT NULL,
    epoch bigint NOT NULL,
    first_seq bigint NOT NULL,
    records_crc bigint NOT NULL,            -- 0: not comparable (what was left of a cut overlap)
    received_at_us bigint NOT NULL,         -- never falls along the positions
    schema integer NOT NULL,
    payload_sha256 bytea NOT NULL,
    chain_sha256 bytea NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (workspace, first_position)
) PARTITION BY LIST (workspace);
-- Payloads are compressed by whoever sent them.
ALTER TABLE tracker.batch ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE INDEX batch_run ON tracker.batch (workspace, run_id, first_position);
-- That no sequence is stored twice follows from the lock on the writer's row; a unique index
-- would have to contain the position, and say nothing.
CREATE INDEX batch_sequence ON tracker.batch (workspace, writer_id, first_seq);

-- Position 0: a writer whose first append is under way.
CREATE TABLE tracker.writer (
    workspace text NOT NULL,
    writer_id text NOT NULL,
    run_id text NOT NULL,
    epoch bigint NOT NULL,
    next_seq bigint NOT NULL,
    position bigint NOT NULL,
    received_at_us bigint NOT NULL,
    PRIMARY KEY (workspace, writer_id)
) WITH (fillfactor = 70);
CREATE INDEX writer_run ON tracker.writer (workspace, run_id);

-- Who said lately, to any server, that it is alive. By the database's clock. No part of the
-- log; lost without harm.
CREATE TABLE tracker.lease (
    workspace text NOT NULL,
    writer_id text NOT NULL,
    run_id text NOT NULL,
    expires_us bigint NOT NULL,
    PRIMARY KEY (workspace, writer_id)
) WITH (fillfactor = 70);

-- When a server last looked at the leases: while none did, nobody could renew one.
CREATE TABLE tracker.lease_watch (
    workspace text PRIMARY KEY,
    watched_at_us bigint NOT NULL
) WITH (fillfactor = 10);
