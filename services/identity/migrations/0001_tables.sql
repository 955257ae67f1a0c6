-- What the identity service looks things up in. Rows of its own facts are written in the append of the fact.

-- Fed by the facts of each user's stream.
CREATE TABLE IF NOT EXISTS identity.users (
    sub text PRIMARY KEY,
    user_name text NOT NULL,                    -- normalised; unique because the log reserves its digest
    kind text NOT NULL,
    enabled boolean NOT NULL,
    roles text[] NOT NULL,
    given_name text,
    family_name text,
    display_name text,
    email text,
    email_verified boolean NOT NULL,
    locale text,
    zoneinfo text,
    sessions_cut_off bigint NOT NULL,           -- sessions begun at or before this position are over ...
    kept_session text,                          -- ... but for this one
    registered_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,            -- of the profile
    position bigint NOT NULL                    -- of the user's last fact
);
-- Users of before had neither telephone number nor postal address.
ALTER TABLE identity.users
    ADD COLUMN IF NOT EXISTS phone_number text,
    ADD COLUMN IF NOT EXISTS phone_number_verified boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS street_address text,
    ADD COLUMN IF NOT EXISTS locality text,
    ADD COLUMN IF NOT EXISTS region text,
    ADD COLUMN IF NOT EXISTS postal_code text,
    ADD COLUMN IF NOT EXISTS country text;
CREATE INDEX IF NOT EXISTS users_by_name ON identity.users (user_name);

-- Fed by the facts of each user's stream: those who were erased. Of them there is no other row in any table.
CREATE TABLE IF NOT EXISTS identity.erased_users (
    sub text PRIMARY KEY,
    position bigint NOT NULL                    -- where that was
);

-- The key of each user's personal data, wrapped under the master key. Written in the append of the registration, left
-- alone by rebuilds, deleted in the append that erases the user: without it what the log says of them is noise.
--
-- A table of its own, so that the ordinary back-up can leave it out (docs/operations.md). What was deleted is vacuumed
-- at the next opportunity, however little it is.
CREATE TABLE IF NOT EXISTS identity.personal_keys (
    sub text PRIMARY KEY,
    wrapped bytea NOT NULL
) WITH (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);

-- Secrets at rest. Written in the append of their fact, never in a fact, left alone by rebuilds.
--   password      argon2id hash
CREATE TABLE IF NOT EXISTS identity.vault (
    sub text NOT NULL,
    kind text NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (sub, kind)
);

-- Keys of personal data were among them before.
WITH moved AS (DELETE FROM identity.vault WHERE kind = 'personal_key' RETURNING sub, value)
INSERT INTO identity.personal_keys (sub, wrapped) SELECT sub, value FROM moved ON CONFLICT (sub) DO NOTHING;

-- Fed by the facts of each session's stream. A session that ended by hand has no row.
CREATE TABLE IF NOT EXISTS identity.sessions (
    sid text PRIMARY KEY,
    sub text NOT NULL,
    secret_digest text NOT NULL,
    auth_time timestamptz NOT NULL,
    amr text[] NOT NULL,
    expires_at timestamptz NOT NULL,
    user_agent text,
    started_position bigint NOT NULL,
    auth_position bigint NOT NULL               -- of the fact that the user signed in, or last proved it again
);
CREATE INDEX IF NOT EXISTS sessions_by_secret ON identity.sessions (secret_digest);
CREATE INDEX IF NOT EXISTS sessions_by_user ON identity.sessions (sub);

-- When a session was last used, to the minute. Not derived from facts: it is worth none.
CREATE TABLE IF NOT EXISTS identity.session_activity (
    sid text PRIMARY KEY,
    seen_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS session_activity_by_time ON identity.session_activity (seen_at);

-- Fed by the facts of each consent's stream; a row for each scope, since a fact adds to those before it.
CREATE TABLE IF NOT EXISTS identity.consents (
    sub text NOT NULL,
    client_id text NOT NULL,
    scope text NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (sub, client_id, scope)
);

-- Fed by the registry's facts: consents to these are forgotten.
CREATE TABLE IF NOT EXISTS identity.uninstalled_applications (
    client_id text PRIMARY KEY,
    position bigint NOT NULL
);

-- Fed by the registry's facts: applications that want userinfo signed.
CREATE TABLE IF NOT EXISTS identity.signed_userinfo (
    client_id text PRIMARY KEY,
    position bigint NOT NULL
);

-- Failed sign-ins (services/identity/throttle.py). Not derived from facts: counters that fade within the hour.
CREATE TABLE IF NOT EXISTS identity.sign_in_failures (
    account text NOT NULL,                      -- keyed digest, or empty: any account
    device text NOT NULL,                       -- id of a device known to the account, or empty
    address text NOT NULL,                      -- keyed digest, or empty: any address
    failures double precision NOT NULL,
    counted_at timestamptz NOT NULL,
    PRIMARY KEY (account, device, address)
);
CREATE INDEX IF NOT EXISTS sign_in_failures_by_time ON identity.sign_in_failures (counted_at);

-- What is true of the instance once and for all: `bootstrapped`, `demo`.
CREATE TABLE IF NOT EXISTS identity.instance (
    mark text PRIMARY KEY,
    position bigint NOT NULL
);
