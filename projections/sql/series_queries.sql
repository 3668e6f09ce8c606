-- What queries read of the series projection; see projections.series_snapshot.

-- name: position
SELECT position FROM projection WHERE name = 'series';

-- name: run_and_metric
-- In one row what is known of both; NULL is what there is not. The last column names the build,
-- where a database has several.
SELECT p.position, r.tail_from, r.tail_points, m.metric_no, NULL
FROM projection p
LEFT JOIN run r ON r.run_id = :run_id
LEFT JOIN key k ON k.key = :key
LEFT JOIN metric m ON m.run_no = r.run_no AND m.key_id = k.key_id
WHERE p.name = 'series';

-- name: chunks
SELECT chunk_id, chunk_no, chunk.axis_id, chunk.n, step_first, step_last
FROM chunk CROSS JOIN axis ON axis.axis_id = chunk.axis_id
WHERE metric_no = :metric_no AND step_first <= :end_step AND step_last >= :start_step
ORDER BY chunk_no;

-- name: chunks_with_coarse
SELECT
    chunk_id, chunk_no, chunk.axis_id, chunk.n, step_first, step_last, axis.coarse, chunk.coarse
FROM chunk CROSS JOIN axis ON axis.axis_id = chunk.axis_id
WHERE metric_no = :metric_no AND step_first <= :end_step AND step_last >= :start_step
ORDER BY chunk_no;

-- name: bins
SELECT chunk_no, axis_bins.bins, chunk_bins.bins
FROM chunk
CROSS JOIN axis_bins ON axis_bins.axis_id = chunk.axis_id
CROSS JOIN chunk_bins ON chunk_bins.chunk_id = chunk.chunk_id
WHERE metric_no = :metric_no AND chunk_no BETWEEN :first_no AND :last_no;

-- name: points
SELECT (SELECT data FROM chunk_values WHERE chunk_id = ?), steps, times
FROM axis_points WHERE axis_id = ?;
