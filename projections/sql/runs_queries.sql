-- name: position
SELECT max(position) FROM projection;

-- name: build
-- Which one is read, where there are several.
SELECT '';

-- name: key_ids
SELECT k.key, k.key_id FROM json_each(:keys) j CROSS JOIN key k ON k.key = j.value;

-- name: weights
-- How much there is to say of each run, in the order of the run numbers asked for.
-- Schemas and profiles are long: an entry counts as 600 characters.
SELECT (SELECT count(*) FROM run_metric m WHERE m.run_no = j.value)
     + (SELECT count(*) FROM run_param p WHERE p.run_no = j.value)
     + (SELECT count(*) FROM run_tag t WHERE t.run_no = j.value)
     + (SELECT coalesce(sum(1 + (length(i.source) + length(i.schema) + length(i.profile)) / 600), 0)
        FROM run_input i WHERE i.run_no = j.value)
FROM json_each(:run_nos) j ORDER BY j.key;

-- name: runs
-- In the order of the run numbers asked for.
SELECT r.run_no, r.run_id, r.name, r.experiment_id, r.user_id, r.status,
       r.lifecycle_stage = 'deleted' OR coalesce(e.lifecycle_stage = 'deleted', FALSE),
       r.start_us, r.end_us, r.end_reason, r.end_detail, r.parent_run_id, r.dropped,
       r.last_position
FROM json_each(:run_nos) j
CROSS JOIN run r ON r.run_no = j.value
LEFT JOIN experiment e ON e.experiment_id = r.experiment_id
ORDER BY j.key;

-- name: params
-- One JSON object a run: a row for each param would take three times as long to fetch.
SELECT p.run_no, json_group_object(k.key, p.value)
FROM json_each(:run_nos) j
CROSS JOIN run_param p ON p.run_no = j.value
CROSS JOIN key k ON k.key_id = p.key_id
GROUP BY j.key;

-- name: tags
SELECT t.run_no, json_group_object(k.key, t.value)
FROM json_each(:run_nos) j
CROSS JOIN run_tag t ON t.run_no = j.value
CROSS JOIN key k ON k.key_id = t.key_id
WHERE t.value IS NOT NULL
GROUP BY j.key;

-- name: keys_of_metrics
SELECT k.key_id, k.key
FROM (SELECT DISTINCT m.key_id
      FROM json_each(:run_nos) j CROSS JOIN run_metric m ON m.run_no = j.value) named
CROSS JOIN key k ON k.key_id = named.key_id;

-- name: metrics
-- A value as its bits, an integer, where REAL does not say it all: NaN is NULL, -0.0 is 0.0.
SELECT m.run_no, m.key_id,
       iif(m.last_value, m.last_value, m.last_bits), m.last_step, m.last_us,
       iif(m.first_value, m.first_value, m.first_bits), m.first_step, m.first_us,
       m.min_value, m.min_step, m.max_value, m.max_step, m.count, m.nan_count
FROM json_each(:run_nos) j
CROSS JOIN run_metric m ON m.run_no = j.value;

-- name: latest_points
-- The bits where the number does not say it all, else NULL.
SELECT m.run_no, m.key_id, m.last_value, m.last_us, m.last_step,
       CASE WHEN m.last_value <> 0 THEN NULL ELSE m.last_bits END
FROM json_each(:run_nos) j
CROSS JOIN run_metric m ON m.run_no = j.value;

-- name: conflicts
SELECT c.run_no, k.key, c.value, c.writer_id
FROM json_each(:run_nos) j
CROSS JOIN run_param_conflict c ON c.run_no = j.value
CROSS JOIN key k ON k.key_id = c.key_id
ORDER BY c.run_no, k.key, c.order_us, c.value;

-- name: inputs
SELECT i.run_no, i.name, i.digest, i.source_type, i.source, i.schema, i.profile
FROM json_each(:run_nos) j
CROSS JOIN run_input i ON i.run_no = j.value
ORDER BY i.run_no, i.name, i.digest;

-- name: input_tags
SELECT t.run_no, t.name, t.digest, t.key, t.value
FROM json_each(:run_nos) j
CROSS JOIN run_input_tag t ON t.run_no = j.value
ORDER BY t.run_no, t.name, t.digest, t.key;

-- name: run_no
SELECT run_no, owner_writer_id FROM run WHERE run_id = :run_id;

-- name: writers
SELECT writer_id, epoch, next_seq, last_position, about, clock_us
FROM run_writer WHERE run_no = :run_no ORDER BY writer_id;

-- name: metric_keys
SELECT k.key
FROM run r
CROSS JOIN run_metric m ON m.run_no = r.run_no
CROSS JOIN key k ON k.key_id = m.key_id
WHERE r.run_id = :run_id ORDER BY k.key;

-- name: experiments
-- In the order of the ids asked for; runs counted are the active ones.
SELECT e.experiment_id, e.name, e.lifecycle_stage, e.artifact_location, e.created_us,
       e.updated_us,
       (SELECT count(*) FROM run r INDEXED BY run_experiment_start
        WHERE r.experiment_id = e.experiment_id AND r.lifecycle_stage = 'active'),
       (SELECT max(r.start_us) FROM run r INDEXED BY run_experiment_start
        WHERE r.experiment_id = e.experiment_id),
       max(e.name_order_us, e.lifecycle_order_us)
FROM json_each(:experiment_ids) j
CROSS JOIN experiment e ON e.experiment_id = j.value
ORDER BY j.key;

-- name: experiment_tags
SELECT t.experiment_id, t.key, t.value, t.order_us
FROM json_each(:experiment_ids) j
CROSS JOIN experiment_tag t ON t.experiment_id = j.value;

-- name: experiment_tags_deleted
SELECT d.experiment_id, d.order_us
FROM json_each(:experiment_ids) j
CROSS JOIN experiment_tag_deleted d ON d.experiment_id = j.value;

-- name: experiment_id_by_name
-- The active one, else the one deleted last.
SELECT experiment_id FROM experiment WHERE name = :name
ORDER BY lifecycle_stage = 'active' DESC, lifecycle_order_us DESC, experiment_id DESC LIMIT 1;
