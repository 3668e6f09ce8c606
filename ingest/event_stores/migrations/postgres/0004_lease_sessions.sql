-- The session by which the lease of the read models was taken or renewed last (pid and
-- backend_start of pg_stat_activity), and the token that it had then: where it is gone, so is its
-- server, mostly. Null through a pooler, whose sessions outlive who uses them. A server of before
-- this file takes a lease without a word about its session, so another token means: not known.
ALTER TABLE tracker.projection_lease
    ADD COLUMN backend_pid integer,
    ADD COLUMN backend_start timestamptz,
    ADD COLUMN backend_token bigint;
