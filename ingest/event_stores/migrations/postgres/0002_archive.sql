-- Where the beginning of a log lies once it was detached: batches up to last_position are
-- read from the archive, whether or not rows of them are still here.

CREATE TABLE tracker.archive (
    workspace text PRIMARY KEY REFERENCES tracker.store,
    location text NOT NULL,                 -- a folder, or s3://BUCKET/PREFIX
    last_position bigint NOT NULL,
    chain_sha256 bytea NOT NULL,            -- of the batch that ends there
    detached_at_us bigint NOT NULL
);
