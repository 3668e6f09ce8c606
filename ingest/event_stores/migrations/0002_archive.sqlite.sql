-- Where the beginning of the log lies once it was detached: batches up to last_position are
-- read from the archive, whether or not rows of them are still here. At most one row.

CREATE TABLE archive (
    location TEXT NOT NULL,                 -- a folder, or s3://BUCKET/PREFIX
    last_position INTEGER NOT NULL,
    chain_sha256 BLOB NOT NULL,             -- of the batch that ends there
    detached_at_us INTEGER NOT NULL
);
