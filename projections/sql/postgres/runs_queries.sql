-- Blocks of runs_queries.sql that PostgreSQL says differently; see projections.postgres.translation.

-- name: build
SELECT current_schema();

-- name: runs
SELECT r.run_no, r.run_id, r.name, r.experiment_id, r.user_id, r.status,
       r.lifecycle_stage = 'deleted' OR coalesce(e.lifecycle_stage = 'deleted', FALSE),
       r.start_us, r.end_us, r.end_reason, r.end_detail, r.parent_run_id, r.dropped,
       r.last_position
FROM unnest(:run_nos::bigint[]) WITH ORDINALITY AS j (value, place)
CROSS JOIN run r ON r.run_no = j.value
LEFT JOIN LATERAL (
    SELECT e.lifecycle_stage FROM experiment e WHERE e.experiment_id = r.experiment_id OFFSET 0
) e ON TRUE
ORDER BY j.place;

-- name: params
SELECT j.value, said.texts
FROM unnest(:run_nos::bigint[]) AS j (value)
CROSS JOIN LATERAL (
    SELECT json_object_agg(k.key, p.value ORDER BY p.key_id) AS texts
    FROM run_param p CROSS JOIN key k ON k.key_id = p.key_id
    WHERE p.run_no = j.value
) AS said
WHERE said.texts IS NOT NULL;

-- name: tags
SELECT j.value, said.texts
FROM unnest(:run_nos::bigint[]) AS j (value)
CROSS JOIN LATERAL (
    SELECT json_object_agg(k.key, t.value ORDER BY t.key_id) AS texts
    FROM run_tag t CROSS JOIN key k ON k.key_id = t.key_id
    WHERE t.run_no = j.value AND t.value IS NOT NULL
) AS said
WHERE said.texts IS NOT NULL;

-- name: metrics
-- A value as its bits, an integer, where the number does not say it all: NaN is NULL, -0.0 is 0.0.
SELECT m.run_no, m.key_id,
       m.last_value, m.last_step, m.last_us,
       m.first_value, m.first_step, m.first_us,
       m.min_value, m.min_step, m.max_value, m.max_step, m.count, m.nan_count,
       CASE WHEN m.last_value <> 0 THEN NULL ELSE m.last_bits END,
       CASE WHEN m.first_value <> 0 THEN NULL ELSE m.first_bits END
FROM unnest(:run_nos::bigint[]) WITH ORDINALITY AS j (value, place)
CROSS JOIN run_metric m ON m.run_no = j.value
ORDER BY j.place, m.key_id;

-- name: latest_points
SELECT m.run_no, m.key_id, m.last_value, m.last_us, m.last_step,
       CASE WHEN m.last_value <> 0 THEN NULL ELSE m.last_bits END
FROM unnest(:run_nos::bigint[]) WITH ORDINALITY AS j (value, place)
CROSS JOIN run_metric m ON m.run_no = j.value
ORDER BY j.place, m.key_id;

-- name: experiments
SELECT e.experiment_id, e.name, e.lifecycle_stage, e.artifact_location, e.created_us,
       e.updated_us,
       (SELECT count(*) FROM run r
        WHERE r.experiment_id = e.experiment_id AND r.lifecycle_stage = 'active'),
       (SELECT max(r.start_us) FROM run r WHERE r.experiment_id = e.experiment_id),
       greatest(e.name_order_us, e.lifecycle_order_us)
FROM unnest(:experiment_ids::text[]) WITH ORDINALITY AS j (value, place)
CROSS JOIN experiment e ON e.experiment_id = j.value
ORDER BY j.place;
