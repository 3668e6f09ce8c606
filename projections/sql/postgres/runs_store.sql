-- Blocks of runs_store.sql that PostgreSQL says differently; see projections.postgres.translation.

-- name: insert_projection
-- The row is made with the build.
SELECT :version::bigint;
