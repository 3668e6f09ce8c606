-- Blocks of series_store.sql that PostgreSQL says differently; see projections.postgres.translation.

-- name: insert_projection
-- The row is made with the build.
SELECT $1::bigint;

-- name: put_next_id
UPDATE next_id SET id = x.id FROM unnest($1::bigint[], $2::text[]) AS x (id, kind)
WHERE next_id.kind = x.kind;

-- name: insert_key
-- Numbered as SQLite numbers rows: one beyond the greatest.
INSERT INTO key (key_id, key)
SELECT (SELECT coalesce(max(key_id), 0) FROM key) + row_number() OVER (ORDER BY x.place), x.key
FROM unnest($1::text[]) WITH ORDINALITY AS x (key, place)
WHERE NOT EXISTS (SELECT FROM key k WHERE k.key = x.key);

-- name: insert_metric
INSERT INTO metric (run_no, metric_no, key_id, chunks)
SELECT x.run_no, x.metric_no, key.key_id, x.chunks
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) AS x (run_no, metric_no, chunks, key)
JOIN key ON key.key = x.key;
