-- The read models (see projections.postgres): which build of each serves, how far every build
-- is, and who builds. A build's tables lie in a schema of its own, tracker_N_NAME_NUMBER. All
-- of it can be thrown away and made again from the log.

-- One row per workspace and projection: replaced in one place, so a switch is one update.
CREATE TABLE tracker.projection (
    workspace text NOT NULL REFERENCES tracker.store,
    name text NOT NULL,                     -- runs | series
    number integer,                         -- of the build that serves; null: none yet
    last_number integer NOT NULL,           -- numbers are never given twice
    PRIMARY KEY (workspace, name)
);

-- One row per build, which holds its checkpoint: everything up to `position` is folded.
CREATE TABLE tracker.projection_build (
    workspace text NOT NULL,
    name text NOT NULL,
    number integer NOT NULL,
    version integer NOT NULL,
    position bigint NOT NULL,
    schema_name text NOT NULL,
    retired_at timestamptz,                 -- since when it does not serve any more
    PRIMARY KEY (workspace, name, number)
) WITH (fillfactor = 10);                   -- rewritten by every fold, in its own page

-- Who folds: one server per workspace. The token rises with every change of hands, and a fold
-- commits only while the row has its token. By the database's clock.
CREATE TABLE tracker.projection_lease (
    workspace text PRIMARY KEY REFERENCES tracker.store,
    token bigint NOT NULL,
    holder text NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 10);

-- Rebuilds that somebody asked any server for, and how far they are.
CREATE TABLE tracker.projection_rebuild (
    workspace text NOT NULL REFERENCES tracker.store,
    name text NOT NULL,
    position bigint NOT NULL,
    head bigint NOT NULL,
    is_done boolean NOT NULL,
    error text,
    PRIMARY KEY (workspace, name)
);
