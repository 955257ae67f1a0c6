-- The tables of the log, of log_owner. Nobody else may write here, and log_owner cannot sign in: everything goes through
-- the functions in the files above this folder. Databases of before there were steps have some of it, or all.

-- Held by whoever appends, from before the head is read until the commit. It has no rows.
CREATE TABLE IF NOT EXISTS log.gate ();

-- Held by the caretaker that leads, for as long as it does. It has no rows.
CREATE TABLE IF NOT EXISTS log.leader ();

-- How far the log has come: one row, changed by each append.
CREATE TABLE IF NOT EXISTS log.head (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    epoch integer NOT NULL,
    position bigint NOT NULL,
    denial_number bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    server_started_at timestamptz,      -- of the server that checked the epoch last
    events_until bigint NOT NULL,       -- there are partitions up to this position
    once_from timestamptz NOT NULL,     -- there are partitions for once-keys that expire from here ...
    once_until timestamptz NOT NULL     -- ... until before here
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
-- The greatest position in log.denial_horizons.
ALTER TABLE log.head ADD COLUMN IF NOT EXISTS denials_pruned bigint NOT NULL DEFAULT 0;
INSERT INTO log.head (epoch, position, denial_number, recorded_at, events_until, once_from, once_until)
    VALUES (0, 0, 0, '-infinity', 0, date_trunc('day', now(), 'UTC'), date_trunc('day', now(), 'UTC'))
    ON CONFLICT DO NOTHING;

-- A database that came back from a back-up, or a standby that took over, may have lost the last positions and hands
-- them out again; the epoch tells the two branches apart.
CREATE TABLE IF NOT EXISTS log.epochs (
    epoch integer PRIMARY KEY,
    system_identifier bigint NOT NULL,
    timeline integer NOT NULL,
    first_position bigint NOT NULL,
    began_at timestamptz NOT NULL
);

-- Lasting events stay. Expiring ones are archived and dropped a partition at a time. A stream's versions are unique:
-- log.streams sees to that, and the index of each partition sees to it once more.
CREATE TABLE IF NOT EXISTS log.events (
    epoch integer NOT NULL,
    position bigint NOT NULL,
    retention text NOT NULL,
    source text NOT NULL,
    stream text NOT NULL CHECK (octet_length(stream) BETWEEN 3 AND 600 AND strpos(stream, E'\n') = 0),
    version integer NOT NULL CHECK (version > 0),
    type text NOT NULL CHECK (octet_length(type) <= 200 AND strpos(type, E'\n') = 0),
    data text NOT NULL CHECK (octet_length(data) <= 262144),
    data_digest bytea NOT NULL,
    salt bytea NOT NULL CHECK (octet_length(salt) = 16),
    actor text NOT NULL CHECK (octet_length(actor) BETWEEN 1 AND 600 AND strpos(actor, E'\n') = 0),
    command_id uuid NOT NULL,
    correlation_id text NOT NULL
        CHECK (octet_length(correlation_id) BETWEEN 1 AND 200 AND strpos(correlation_id, E'\n') = 0),
    causation_id bigint CHECK (causation_id < position),
    recorded_at timestamptz NOT NULL,
    leaf_hash bytea NOT NULL,
    PRIMARY KEY (position, retention)
) PARTITION BY LIST (retention);
CREATE INDEX IF NOT EXISTS events_by_source ON log.events (source, position);
CREATE TABLE IF NOT EXISTS log.events_lasting PARTITION OF log.events FOR VALUES IN ('lasting')
    PARTITION BY RANGE (position);
CREATE TABLE IF NOT EXISTS log.events_expiring PARTITION OF log.events FOR VALUES IN ('expiring')
    PARTITION BY RANGE (position);

-- The version of each stream that can have more than one event.
CREATE TABLE IF NOT EXISTS log.streams (
    stream text PRIMARY KEY,
    version integer NOT NULL
) WITH (fillfactor = 85);

-- Names that are taken for ever, and what may be used once; each login has its own.
CREATE TABLE IF NOT EXISTS log.names (
    login name NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) BETWEEN 16 AND 64),
    position bigint NOT NULL,
    PRIMARY KEY (login, digest)
);
CREATE TABLE IF NOT EXISTS log.once (
    login name NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) BETWEEN 16 AND 64),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (login, digest, expires_at)
) PARTITION BY RANGE (expires_at);

-- What must not be accepted, at the position of the event that says so, with dense numbers of its own.
CREATE TABLE IF NOT EXISTS log.denials (
    number bigint PRIMARY KEY,
    position bigint NOT NULL,
    epoch integer NOT NULL,
    source text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL CHECK (octet_length(id) BETWEEN 1 AND 1200),
    rule text NOT NULL CHECK (rule IN ('standing', 'cut_off', 'lifted')),
    except_id text CHECK (octet_length(except_id) <= 600),
    until timestamptz,
    recorded_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS denials_by_id ON log.denials (kind, id, position);
CREATE INDEX IF NOT EXISTS denials_by_end ON log.denials (until);

-- Up to where denials of a kind may have been pruned because their time was over. Whoever has not heard of a source's
-- facts up to here cannot be told any more what of them concerns it, and is fenced.
CREATE TABLE IF NOT EXISTS log.denial_horizons (
    source text NOT NULL,
    kind text NOT NULL,
    login name NOT NULL,                -- whose facts they are
    position bigint NOT NULL,
    PRIMARY KEY (kind, source)
);

-- When the log was last looked after: one row.
CREATE TABLE IF NOT EXISTS log.care_taken (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    at timestamptz NOT NULL
);

-- Who may write and read what; filled by the migration.
CREATE TABLE IF NOT EXISTS log.types (
    type text PRIMARY KEY CHECK (type ~ '^[a-z][a-z_]*\.[A-Za-z0-9]+$'),
    login name NOT NULL,
    retention text NOT NULL CHECK (retention IN ('lasting', 'expiring')),
    denial_kinds text[] NOT NULL
);
CREATE TABLE IF NOT EXISTS log.categories (
    category text PRIMARY KEY CHECK (category ~ '^[a-z][a-z_]*$'),
    login name NOT NULL
);
CREATE TABLE IF NOT EXISTS log.caretakers (
    login name PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS log.readers (
    login name NOT NULL,
    source text NOT NULL,
    PRIMARY KEY (login, source)
);

-- Which tables are made of facts alone; filled by the migration.
CREATE TABLE IF NOT EXISTS log.read_models (
    login name NOT NULL,
    projection text NOT NULL CHECK (projection ~ '^[a-z][a-z_]*[a-z]$'),
    sources text[] NOT NULL,            -- whose facts it is made of
    tables text[] NOT NULL,             -- of the login's schema; nothing else writes to them
    version integer NOT NULL,           -- of the projection that made the rows ...
    rebuilt_to bigint NOT NULL,         -- ... when it was rebuilt last, up to this position; 0: never
    PRIMARY KEY (login, projection)
);

-- Expiring events that were archived and have left the log.
CREATE TABLE IF NOT EXISTS log.pruned (
    last bigint PRIMARY KEY,            -- the expiring events up to this position ...
    first bigint NOT NULL,              -- ... from this one on
    events bigint NOT NULL,             -- so many
    record bigint NOT NULL,             -- position of the event that says that they were archived
    pruned_at timestamptz NOT NULL
);
