-- The small tables of an export, one block each, of a runs build. Rows of runs and of models
-- begin with the experiment that their run or model is in.

-- name: runs
SELECT experiment_id, run_id, name, user_id, status, lifecycle_stage, parent_run_id,
    start_us, end_us, end_reason, end_detail, dropped
FROM run ORDER BY run_no;

-- name: params
SELECT r.experiment_id, r.run_id, k.key, p.value
FROM run r JOIN run_param p USING (run_no) JOIN key k USING (key_id)
ORDER BY r.run_no, k.key;

-- name: param_conflicts
SELECT r.experiment_id, r.run_id, k.key, p.value, p.writer_id
FROM run r JOIN run_param_conflict p USING (run_no) JOIN key k USING (key_id)
ORDER BY r.run_no, k.key, p.value;

-- name: tags
SELECT r.experiment_id, r.run_id, k.key, t.value
FROM run r JOIN run_tag t USING (run_no) JOIN key k USING (key_id)
WHERE t.value IS NOT NULL
ORDER BY r.run_no, k.key;

-- name: artifacts
SELECT r.experiment_id, r.run_id, a.path, a.digest, a.size, a.media_type, a.uri, a.etag, a.time_us
FROM run r JOIN artifact a ON a.owner = r.run_id
WHERE a.is_deleted = 0
ORDER BY r.run_no, a.path;

-- name: inputs
SELECT r.experiment_id, r.run_id, i.name, i.digest, i.source_type, i.source, i.schema, i.profile
FROM run r JOIN run_input i USING (run_no)
ORDER BY r.run_no, i.name, i.digest;

-- name: input_tags
SELECT r.experiment_id, r.run_id, t.name, t.digest, t.key, t.value
FROM run r JOIN run_input_tag t USING (run_no)
ORDER BY r.run_no, t.name, t.digest, t.key;

-- name: model_links
SELECT r.experiment_id, r.run_id, l.kind, l.model_id, l.step
FROM run r JOIN run_model l USING (run_no)
ORDER BY r.run_no, l.kind, l.step, l.model_id;

-- name: models
-- What a model is said to be lies in `state`; its rows are made of it, see parquet_tables.
SELECT model_id, created_us, is_deleted, state FROM model
WHERE experiment_id IS NOT NULL
ORDER BY model_id;

-- name: model_metrics
SELECT m.experiment_id, p.model_id, p.run_id, p.key, p.value, p.step, p.time_us, p.dataset_name,
    p.dataset_digest
FROM model m JOIN model_metric p USING (model_id)
WHERE m.experiment_id IS NOT NULL
ORDER BY p.model_id, p.key, p.step, p.time_us;

-- name: model_artifacts
SELECT m.experiment_id, m.model_id, a.path, a.digest, a.size, a.media_type, a.uri, a.etag,
    a.time_us
FROM model m JOIN artifact a ON a.owner = m.model_id
WHERE m.experiment_id IS NOT NULL AND a.is_deleted = 0
ORDER BY m.model_id, a.path;

-- name: experiments
SELECT experiment_id, name, lifecycle_stage, artifact_location, created_us, updated_us
FROM experiment ORDER BY experiment_id;

-- name: experiment_tags
SELECT experiment_id, key, value FROM experiment_tag ORDER BY experiment_id, key;
