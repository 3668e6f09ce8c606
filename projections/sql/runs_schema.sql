-- The runs projection: experiments and runs as they are now. One file (version) per build;
-- everything here is a fold of the event log and may be thrown away.
--
-- "order_us" columns decide between writers: a strictly rising clock per writer, derived
-- in the fold, so that the result does not depend on the order in which spools arrive.

CREATE TABLE projection (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    position INTEGER NOT NULL               -- checkpoint: everything up to here is folded
) WITHOUT ROWID;

CREATE TABLE key (
    key_id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE
);

CREATE TABLE experiment (
    experiment_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    lifecycle_stage TEXT NOT NULL,          -- active | deleted
    artifact_location TEXT,
    created_us INTEGER NOT NULL,            -- the earliest fact that names it
    updated_us INTEGER NOT NULL,            -- the latest one, run starts included
    last_position INTEGER NOT NULL,
    name_order_us INTEGER NOT NULL,
    lifecycle_order_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX experiment_name ON experiment (name);

CREATE TABLE experiment_tag (
    experiment_id TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    order_us INTEGER NOT NULL,
    PRIMARY KEY (experiment_id, key)
) WITHOUT ROWID;

-- A deleted experiment tag, kept to order late writes.
CREATE TABLE experiment_tag_deleted (
    experiment_id TEXT NOT NULL,
    key TEXT NOT NULL,
    order_us INTEGER NOT NULL,
    PRIMARY KEY (experiment_id, key)
) WITHOUT ROWID;

CREATE TABLE run (
    run_no INTEGER PRIMARY KEY,             -- dense, in order of first event
    run_id TEXT NOT NULL UNIQUE,
    experiment_id TEXT NOT NULL,
    name TEXT NOT NULL,
    name_order_us INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    user_order_us INTEGER NOT NULL,
    parent_run_id TEXT,
    lifecycle_stage TEXT NOT NULL,          -- active | deleted
    lifecycle_order_us INTEGER NOT NULL,
    status TEXT NOT NULL,                   -- what is shown: the base status or the guess
    base_status TEXT NOT NULL,
    status_order_us INTEGER NOT NULL,
    born_order_us INTEGER NOT NULL,         -- of the earliest run.started, which stands;
    born_writer_id TEXT NOT NULL,           -- INT64_MAX and '' while none has arrived
    start_us INTEGER NOT NULL,              -- while none has arrived: the earliest time seen
    end_us INTEGER,                         -- of what is shown
    base_end_us INTEGER,
    end_order_us INTEGER NOT NULL,
    end_reason TEXT,
    end_detail TEXT,
    guess TEXT,                             -- JSON list of {status, end_us, reason, detail, writer, seq, order_us}
    owner_writer_id TEXT,
    owner_order_us INTEGER NOT NULL,
    dropped INTEGER NOT NULL,               -- sequence numbers whose records were lost
    first_position INTEGER NOT NULL,
    last_position INTEGER NOT NULL,
    updated_us INTEGER NOT NULL             -- received_at of the last event folded
);
CREATE INDEX run_experiment_start ON run (experiment_id, start_us, lifecycle_stage);
CREATE INDEX run_parent ON run (parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX run_start ON run (start_us, run_no);

CREATE TABLE run_writer (
    writer_id TEXT PRIMARY KEY,
    run_no INTEGER,
    epoch INTEGER NOT NULL,
    next_seq INTEGER NOT NULL,
    clock_us INTEGER NOT NULL,              -- the writer's rising clock, see order_us
    last_position INTEGER NOT NULL,
    about TEXT                              -- JSON of run.joined
) WITHOUT ROWID;
CREATE INDEX run_writer_run ON run_writer (run_no);

CREATE TABLE run_param (
    run_no INTEGER NOT NULL,
    key_id INTEGER NOT NULL,
    value TEXT NOT NULL,
    order_us INTEGER NOT NULL,
    writer_id TEXT NOT NULL,
    -- The value as a number if it reads as one, else as text; for params.lr < 0.01.
    number REAL GENERATED ALWAYS AS (value) VIRTUAL,
    PRIMARY KEY (run_no, key_id)
) WITHOUT ROWID;
CREATE INDEX run_param_value ON run_param (key_id, substr(value, 1, 128), run_no);
CREATE INDEX run_param_number ON run_param (key_id, number, run_no) WHERE typeof(number) = 'real';

-- A param logged twice with another value: the earliest by order_us stands, the others are here.
CREATE TABLE run_param_conflict (
    run_no INTEGER NOT NULL,
    key_id INTEGER NOT NULL,
    value TEXT NOT NULL,
    order_us INTEGER NOT NULL,
    writer_id TEXT NOT NULL,
    PRIMARY KEY (run_no, key_id, value)
) WITHOUT ROWID;

CREATE TABLE run_tag (
    run_no INTEGER NOT NULL,
    key_id INTEGER NOT NULL,
    value TEXT,                             -- NULL: deleted, kept to order late writes
    order_us INTEGER NOT NULL,
    PRIMARY KEY (run_no, key_id)
) WITHOUT ROWID;
CREATE INDEX run_tag_value ON run_tag (key_id, substr(value, 1, 128), run_no) WHERE value IS NOT NULL;

-- SQLite stores NaN as NULL; the *_bits columns hold every float64 exactly.
CREATE TABLE run_metric (
    run_no INTEGER NOT NULL,
    key_id INTEGER NOT NULL,
    last_value REAL,
    last_bits INTEGER NOT NULL,
    last_step INTEGER NOT NULL,
    last_us INTEGER NOT NULL,
    first_value REAL,
    first_bits INTEGER NOT NULL,
    first_step INTEGER NOT NULL,
    first_us INTEGER NOT NULL,
    min_value REAL,                         -- NULL when every value was NaN
    min_step INTEGER,
    max_value REAL,
    max_step INTEGER,
    count INTEGER NOT NULL,
    nan_count INTEGER NOT NULL,
    PRIMARY KEY (run_no, key_id)
) WITHOUT ROWID;
CREATE INDEX run_metric_last ON run_metric (key_id, last_value, run_no);

-- A dataset that the run read: what it is, never its bytes.
CREATE TABLE run_input (
    run_no INTEGER NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    order_us INTEGER NOT NULL,
    source_type TEXT NOT NULL,
    source TEXT NOT NULL,
    schema TEXT NOT NULL,
    profile TEXT NOT NULL,
    PRIMARY KEY (run_no, name, digest)
) WITHOUT ROWID;
CREATE INDEX run_input_name ON run_input (name, run_no);
CREATE INDEX run_input_digest ON run_input (digest, run_no);

CREATE TABLE run_input_tag (
    run_no INTEGER NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    order_us INTEGER NOT NULL,
    PRIMARY KEY (run_no, name, digest, key)
) WITHOUT ROWID;
CREATE INDEX run_input_tag_value ON run_input_tag (key, substr(value, 1, 128), run_no);

-- A file in the tree of a run or of a logged model; its bytes are a blob of the artifact store
-- (digest), or stay where they are (uri).
CREATE TABLE artifact (
    owner TEXT NOT NULL,                    -- a run id or a model id
    path TEXT NOT NULL,
    folder TEXT NOT NULL,                   -- the path without its last part; '' at the top
    digest TEXT,
    size INTEGER,                           -- NULL: nobody said it (references)
    media_type TEXT,
    uri TEXT,
    etag TEXT,
    time_us INTEGER NOT NULL,               -- when it was logged
    order_us INTEGER NOT NULL,
    is_deleted INTEGER NOT NULL,            -- 1: kept to order late writes, without content
    PRIMARY KEY (owner, path)
) WITHOUT ROWID;
CREATE INDEX artifact_in_folder ON artifact (owner, folder, path) WHERE is_deleted = 0;
CREATE INDEX artifact_digest ON artifact (digest) WHERE digest IS NOT NULL;

-- What lies below a folder, at any depth; '' is the whole tree. A folder without files is none.
CREATE TABLE artifact_folder (
    owner TEXT NOT NULL,
    path TEXT NOT NULL,
    parent TEXT NOT NULL,
    files INTEGER NOT NULL,
    size INTEGER NOT NULL,                  -- bytes, as far as they are known
    PRIMARY KEY (owner, path)
) WITHOUT ROWID;
CREATE INDEX artifact_folder_parent ON artifact_folder (owner, parent, path);

CREATE TABLE dead_letter (
    position INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (position, reason)
) WITHOUT ROWID;

-- A logged model. What has no column of its own is in `state`, see model_rules.
CREATE TABLE model (
    model_id TEXT PRIMARY KEY,
    experiment_id TEXT,                     -- NULL until it was created
    source_run_id TEXT,
    created_us INTEGER NOT NULL,
    is_deleted INTEGER NOT NULL,
    state TEXT NOT NULL                     -- JSON
) WITHOUT ROWID;
CREATE INDEX model_experiment ON model (experiment_id, created_us) WHERE is_deleted = 0;

-- A point of a model's metric, as logged; `value` as text keeps NaN and every bit.
CREATE TABLE model_metric (
    model_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    step INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    dataset_name TEXT NOT NULL,
    dataset_digest TEXT NOT NULL,
    PRIMARY KEY (model_id, key, step, time_us, value, run_id, dataset_name, dataset_digest)
) WITHOUT ROWID;

-- That a run read, or made, a model.
CREATE TABLE run_model (
    run_no INTEGER NOT NULL,
    kind TEXT NOT NULL,                     -- input or output
    model_id TEXT NOT NULL,
    step INTEGER NOT NULL,
    PRIMARY KEY (run_no, kind, model_id, step)
) WITHOUT ROWID;
CREATE INDEX run_model_model ON run_model (model_id, run_no);
