-- name: model
SELECT model_id, created_us, is_deleted, state FROM model WHERE model_id = :model_id;

-- name: models_of
SELECT model_id, created_us, is_deleted, state FROM model
WHERE experiment_id IN (SELECT value FROM json_each(:experiment_ids)) AND is_deleted = 0
ORDER BY created_us DESC, model_id;

-- name: metrics
SELECT model_id, run_id, key, value, step, time_us, dataset_name, dataset_digest
FROM model_metric WHERE model_id IN (SELECT value FROM json_each(:model_ids));

-- name: links
SELECT run_no, kind, model_id, step FROM run_model
WHERE run_no IN (SELECT value FROM json_each(:run_nos))
ORDER BY run_no, kind, step, model_id;
