-- Blocks of series_queries.sql that PostgreSQL says differently; see projections.postgres.translation.

-- name: run_and_metric
SELECT p.position, r.tail_from, r.tail_points, m.metric_no, current_schema()
FROM projection p
LEFT JOIN run r ON r.run_id = :run_id
LEFT JOIN key k ON k.key = :key
LEFT JOIN metric m ON m.run_no = r.run_no AND m.key_id = k.key_id
WHERE p.name = 'series';
