-- What the series projection reads and writes; see projections.series_store.

-- name: insert_projection
INSERT INTO projection VALUES ('series', ?, 0);

-- name: insert_next_ids
INSERT INTO next_id VALUES ('axis', 1), ('chunk', 1);

-- name: position
SELECT position FROM projection WHERE name = 'series';

-- name: move_checkpoint
UPDATE projection SET position = :to WHERE name = 'series' AND position = :from;

-- name: next_id
SELECT id FROM next_id WHERE kind = ?;

-- name: put_next_id
UPDATE next_id SET id = ? WHERE kind = ?;

-- name: run
SELECT run_no, tail_from, tail_batches, tail_points, tail_bytes, sealed_points, metrics
FROM run WHERE run_id = ?;

-- name: runs_count
SELECT coalesce(max(run_no), 0) FROM run;

-- name: put_run
INSERT OR REPLACE INTO run (
    run_id, run_no, tail_from, tail_batches, tail_points, tail_bytes, sealed_points, metrics
) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: metrics_of_run
SELECT key.key, metric.metric_no, metric.chunks
FROM metric JOIN key USING (key_id) WHERE metric.run_no = ?;

-- name: metrics_count
SELECT coalesce(max(metric_no), 0) FROM metric;

-- name: insert_key
INSERT INTO key (key) VALUES (?) ON CONFLICT DO NOTHING;

-- name: insert_metric
INSERT INTO metric (run_no, metric_no, key_id, chunks)
SELECT ?, ?, key_id, ? FROM key WHERE key = ?;

-- name: set_chunks
UPDATE metric SET chunks = ? WHERE metric_no = ?;

-- name: chunks_to_merge
SELECT metric.metric_no, chunk.chunk_id, chunk.axis_id, chunk.n
FROM metric JOIN chunk ON chunk.metric_no = metric.metric_no AND chunk.n < 4096
WHERE metric.run_no = ? ORDER BY metric.metric_no, chunk.chunk_no;

-- name: axis_points
SELECT steps, times, n FROM axis_points JOIN axis USING (axis_id) WHERE axis_id = ?;

-- name: chunk_values
SELECT data FROM chunk_values WHERE chunk_id = ?;

-- name: insert_axis
INSERT INTO axis VALUES (?, ?, ?, ?, ?, ?);

-- name: insert_axis_points
INSERT INTO axis_points VALUES (?, ?, ?);

-- name: insert_axis_bins
INSERT INTO axis_bins VALUES (?, ?);

-- name: leave_axis
UPDATE axis SET uses = uses - ? WHERE axis_id = ? RETURNING uses;

-- name: remove_axis
DELETE FROM axis WHERE axis_id = ?;

-- name: remove_axis_points
DELETE FROM axis_points WHERE axis_id = ?;

-- name: insert_chunk
INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?);

-- name: insert_chunk_bins
INSERT INTO chunk_bins VALUES (?, ?);

-- name: insert_chunk_values
INSERT INTO chunk_values VALUES (?, ?);

-- name: remove_chunk
DELETE FROM chunk WHERE chunk_id = ?;

-- name: remove_chunk_values
DELETE FROM chunk_values WHERE chunk_id = ?;
