-- What the runs projection reads and writes; see projections.runs_store.

-- name: position
SELECT position FROM projection WHERE name = 'runs';

-- name: move_checkpoint
UPDATE projection SET position = :to WHERE name = 'runs' AND position = :from;

-- name: insert_projection
INSERT INTO projection VALUES ('runs', :version, 0);

-- name: counts
SELECT (SELECT coalesce(max(run_no), 0) FROM run), (SELECT coalesce(max(key_id), 0) FROM key);

-- name: insert_key
INSERT INTO key (key, key_id) VALUES (?, ?);

-- name: key_id
SELECT key_id FROM key WHERE key = ?;

-- name: put_experiment
INSERT OR REPLACE INTO experiment (
    experiment_id, name, lifecycle_stage, artifact_location, created_us, updated_us,
    last_position, name_order_us, lifecycle_order_us
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: experiment
SELECT experiment_id, name, lifecycle_stage, artifact_location, created_us, updated_us,
    last_position, name_order_us, lifecycle_order_us
FROM experiment WHERE experiment_id = ?;

-- name: experiments_named
SELECT experiment_id FROM experiment WHERE name = ?;

-- name: experiment_tags
SELECT key, order_us, value FROM experiment_tag WHERE experiment_id = :experiment_id
UNION ALL
SELECT key, order_us, NULL FROM experiment_tag_deleted WHERE experiment_id = :experiment_id;

-- name: put_experiment_tag
INSERT OR REPLACE INTO experiment_tag (experiment_id, key, value, order_us) VALUES (?, ?, ?, ?);

-- name: put_experiment_tag_deleted
INSERT OR REPLACE INTO experiment_tag_deleted (experiment_id, key, order_us) VALUES (?, ?, ?);

-- name: remove_experiment_tag
DELETE FROM experiment_tag WHERE experiment_id = ? AND key = ?;

-- name: remove_experiment_tag_deleted
DELETE FROM experiment_tag_deleted WHERE experiment_id = ? AND key = ?;

-- name: put_run
INSERT OR REPLACE INTO run (
    run_no, run_id, experiment_id, name, name_order_us, user_id, user_order_us, parent_run_id,
    lifecycle_stage, lifecycle_order_us, status, base_status, status_order_us, born_order_us,
    born_writer_id, start_us, end_us, base_end_us, end_order_us, end_reason, end_detail, guess,
    owner_writer_id, owner_order_us, dropped, first_position, last_position, updated_us
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: run
SELECT
    run_no, run_id, experiment_id, name, name_order_us, user_id, user_order_us, parent_run_id,
    lifecycle_stage, lifecycle_order_us, base_status, status_order_us, born_order_us,
    born_writer_id, start_us, base_end_us, end_order_us, end_reason, end_detail, guess,
    owner_writer_id, owner_order_us, dropped, first_position, last_position, updated_us
FROM run WHERE run_id = ?;

-- name: put_writer
INSERT OR REPLACE INTO run_writer (
    writer_id, run_no, epoch, next_seq, clock_us, last_position, about
) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: writer
SELECT writer_id, run_no, epoch, next_seq, clock_us, last_position, about
FROM run_writer WHERE writer_id = ?;

-- name: params
SELECT key_id, order_us, value, writer_id FROM run_param WHERE run_no = ?;

-- name: put_param
INSERT OR REPLACE INTO run_param (run_no, key_id, value, order_us, writer_id)
VALUES (?, ?, ?, ?, ?);

-- name: conflicts
SELECT key_id, order_us, value, writer_id FROM run_param_conflict WHERE run_no = ?;

-- name: remove_conflicts
DELETE FROM run_param_conflict WHERE run_no = ? AND key_id = ?;

-- name: put_conflict
INSERT INTO run_param_conflict (run_no, key_id, value, order_us, writer_id)
VALUES (?, ?, ?, ?, ?);

-- name: tags
SELECT key_id, order_us, value FROM run_tag WHERE run_no = ?;

-- name: put_tag
INSERT OR REPLACE INTO run_tag (run_no, key_id, value, order_us) VALUES (?, ?, ?, ?);

-- name: metrics
SELECT
    key_id, last_step, last_us, last_bits, first_step, first_us, first_bits,
    min_value, min_step, max_value, max_step, count, nan_count
FROM run_metric WHERE run_no = ? ORDER BY key_id;

-- name: put_metric
INSERT OR REPLACE INTO run_metric (
    run_no, key_id, last_value, last_bits, last_step, last_us,
    first_value, first_bits, first_step, first_us,
    min_value, min_step, max_value, max_step, count, nan_count
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: inputs
SELECT name, digest, order_us, source_type, source, schema, profile
FROM run_input WHERE run_no = ?;

-- name: put_input
INSERT OR REPLACE INTO run_input (
    run_no, name, digest, order_us, source_type, source, schema, profile
) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: input_tags
SELECT name, digest, key, order_us, value FROM run_input_tag WHERE run_no = ?;

-- name: put_input_tag
INSERT OR REPLACE INTO run_input_tag (run_no, name, digest, key, value, order_us)
VALUES (?, ?, ?, ?, ?, ?);

-- name: artifact
SELECT order_us, digest, uri, etag, size, media_type, time_us
FROM artifact WHERE owner = ? AND path = ?;

-- name: put_artifact
INSERT OR REPLACE INTO artifact (
    owner, path, folder, digest, size, media_type, uri, etag, time_us, order_us, is_deleted
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: artifact_folder
SELECT files, size FROM artifact_folder WHERE owner = ? AND path = ?;

-- name: put_artifact_folder
INSERT OR REPLACE INTO artifact_folder (owner, path, parent, files, size)
VALUES (?, ?, ?, ?, ?);

-- name: remove_artifact_folder
DELETE FROM artifact_folder WHERE owner = ? AND path = ?;

-- name: insert_dead_letter
INSERT OR IGNORE INTO dead_letter (position, run_id, reason) VALUES (?, ?, ?);

-- name: dead_letters
SELECT position, run_id, reason FROM dead_letter ORDER BY position, reason;

-- name: model
SELECT model_id, created_us, is_deleted, state FROM model WHERE model_id = ?;

-- name: put_model
INSERT OR REPLACE INTO model (
    model_id, experiment_id, source_run_id, created_us, is_deleted, state
) VALUES (?, ?, ?, ?, ?, ?);

-- name: put_model_metric
INSERT OR IGNORE INTO model_metric (
    model_id, run_id, key, value, step, time_us, dataset_name, dataset_digest
) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: put_run_model
INSERT OR IGNORE INTO run_model (run_no, kind, model_id, step) VALUES (?, ?, ?, ?);
