-- name: position
SELECT max(position) FROM projection;

-- name: files_in
SELECT path, digest, size, media_type, uri, etag, time_us, order_us, is_deleted
FROM artifact
WHERE owner = :owner AND folder = :folder AND path > :after AND is_deleted = 0
ORDER BY path LIMIT :limit;

-- name: folders_in
-- A folder stands behind a file of the same path.
SELECT path, files, size
FROM artifact_folder
WHERE owner = :owner AND parent = :folder AND path >= :after AND path <> ''
      AND NOT (path = :after AND :after_folder = 1)
ORDER BY path LIMIT :limit;

-- name: files_below
SELECT path, digest, size, media_type, uri, etag, time_us, order_us, is_deleted
FROM artifact
WHERE owner = :owner AND path > :after AND path < :end AND is_deleted = 0
ORDER BY path LIMIT :limit;

-- name: artifact
SELECT path, digest, size, media_type, uri, etag, time_us, order_us, is_deleted
FROM artifact WHERE owner = :owner AND path = :path;

-- name: folder
SELECT path, files, size FROM artifact_folder WHERE owner = :owner AND path = :path;

-- name: every_file
SELECT owner, path, digest, size, media_type, uri, etag, time_us, order_us, is_deleted
FROM artifact
WHERE (owner, path) > (:owner, :path) AND (digest IS NOT NULL OR uri IS NOT NULL)
ORDER BY owner, path LIMIT :limit;

-- name: unfolded
SELECT position FROM dead_letter LIMIT 1;

-- name: referred
SELECT j.value FROM json_each(:digests) j
WHERE EXISTS (SELECT 1 FROM artifact a WHERE a.digest = j.value);
