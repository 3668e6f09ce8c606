-- The series projection: sealed chunks of metric points, and where each run's tail begins.
-- One file (version) per build; a fold of the event log that may be thrown away.

CREATE TABLE projection (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    position INTEGER NOT NULL               -- checkpoint: everything up to here is folded
) WITHOUT ROWID;

-- Ids rise and are never given twice, so that a rebuild gives the same ones.
CREATE TABLE next_id (
    kind TEXT PRIMARY KEY,                  -- axis | chunk
    id INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE key (
    key_id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE
);

-- A run that has logged a metric. Its tail is in the log: the points of the run's batches
-- that begin beyond tail_from.
CREATE TABLE run (
    run_no INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    tail_from INTEGER NOT NULL,
    tail_batches INTEGER NOT NULL,
    tail_points INTEGER NOT NULL,
    tail_bytes INTEGER NOT NULL,            -- of the log's payloads
    sealed_points INTEGER NOT NULL,
    metrics INTEGER NOT NULL                -- how many metrics have sealed points
);

CREATE TABLE metric (
    metric_no INTEGER PRIMARY KEY,
    run_no INTEGER NOT NULL,
    key_id INTEGER NOT NULL,
    chunks INTEGER NOT NULL,                -- the chunks are numbered 0 … chunks - 1
    UNIQUE (run_no, key_id)
);

-- Steps and times of a chunk, shared by the metrics that were logged together.
CREATE TABLE axis (
    axis_id INTEGER PRIMARY KEY,
    uses INTEGER NOT NULL,                  -- chunks on this axis; gone with the last one
    n INTEGER NOT NULL,
    step_first INTEGER NOT NULL,            -- the least, as points are in order of step
    step_last INTEGER NOT NULL,
    coarse BLOB                             -- bins of 1,024 of full chunks, see series_rollup
);

CREATE TABLE axis_bins (
    axis_id INTEGER PRIMARY KEY,
    bins BLOB NOT NULL                      -- bins of 128
);

CREATE TABLE axis_points (
    axis_id INTEGER PRIMARY KEY,
    steps BLOB NOT NULL,
    times BLOB NOT NULL
);

-- Finer bins and values lie apart, so that reading coarse ones does not page through them.
CREATE TABLE chunk (
    chunk_id INTEGER PRIMARY KEY,
    metric_no INTEGER NOT NULL,
    chunk_no INTEGER NOT NULL,              -- points of one step: the lower chunk's came first
    axis_id INTEGER NOT NULL,
    n INTEGER NOT NULL,                     -- 4,096 is full and final; others may be merged
    coarse BLOB                             -- bins of 1,024 of full chunks, see series_rollup
);
CREATE UNIQUE INDEX chunk_of_metric ON chunk (metric_no, chunk_no);
CREATE INDEX chunk_to_merge ON chunk (metric_no, chunk_no) WHERE n < 4096;

CREATE TABLE chunk_bins (
    chunk_id INTEGER PRIMARY KEY,
    bins BLOB NOT NULL                      -- bins of 128
);

CREATE TABLE chunk_values (
    chunk_id INTEGER PRIMARY KEY,
    data BLOB NOT NULL                      -- see series_codec
);
