-- What the token issuer looks things up in. Rows of its own facts are written in the append of the fact.

-- Fed by the facts of each grant's stream: all that a grant's next decision needs, so that no decision needs an event
-- that may have been archived. Rows of this table, of sessions and of denials go when no request can need them any more
-- (services/token_issuer/pruning.py).
CREATE TABLE IF NOT EXISTS token_issuer.grants (
    gid text PRIMARY KEY,
    client_id text NOT NULL,
    sub text NOT NULL,
    sid text NOT NULL,
    scopes text[] NOT NULL,
    audiences text[] NOT NULL,
    redirect_uri text NOT NULL,
    redirect_uri_given boolean NOT NULL,
    code_digest text NOT NULL,
    code_challenge text,
    nonce text,
    auth_time timestamptz NOT NULL,
    amr text[] NOT NULL,
    roles text[] NOT NULL,
    opened_at timestamptz NOT NULL,
    code_expires_at timestamptz NOT NULL,
    refresh_expires_at timestamptz,             -- null: it cannot be refreshed
    tokens_end_at timestamptz NOT NULL,         -- by then every access token so far has expired
    refresh_digest text,                        -- of the current refresh token
    previous_digest text,                       -- of the one before it
    rotated_at timestamptz,
    jti text,                                   -- of the newest access token; null: the code is unused
    token_scopes text[] NOT NULL,
    token_audiences text[] NOT NULL,
    access_token_seconds integer NOT NULL,
    ended text,                                 -- the reason; null: it goes on
    version integer NOT NULL,                   -- of the stream
    born bigint NOT NULL,                       -- position of the opening
    position bigint NOT NULL,                   -- of the event that issued the newest access token ...
    epoch integer NOT NULL,                     -- ... its epoch ...
    issued_at timestamptz NOT NULL              -- ... and when it was recorded
);
CREATE INDEX IF NOT EXISTS grants_by_user ON token_issuer.grants (sub, client_id);
CREATE INDEX IF NOT EXISTS grants_by_client ON token_issuer.grants (client_id);
CREATE INDEX IF NOT EXISTS grants_by_session ON token_issuer.grants (sid);

-- Fed by the facts of the stream `keys-signing`.
CREATE TABLE IF NOT EXISTS token_issuer.signing_keys (
    kid text PRIMARY KEY,
    algorithm text NOT NULL,
    use text NOT NULL,
    public_jwk jsonb NOT NULL,
    state text NOT NULL,                        -- pending, active, retiring, retired or compromised
    announced bigint NOT NULL,                  -- position ...
    announced_at timestamptz NOT NULL,          -- ... and when that was
    use_from timestamptz,                       -- when it may begin to sign; null: when it was announced
    activated_at timestamptz,
    retire_from timestamptz                     -- when nothing that it signed is alive; null as long as it signs
);
-- Before keys could be rotated, each was used from its beginning.
DO $$
BEGIN
    IF EXISTS (SELECT FROM information_schema.columns
                WHERE (table_schema, table_name, column_name) = ('token_issuer', 'signing_keys', 'withdrawn')) THEN
        ALTER TABLE token_issuer.signing_keys ADD COLUMN state text, ADD COLUMN announced_at timestamptz,
            ADD COLUMN use_from timestamptz, ADD COLUMN activated_at timestamptz, ADD COLUMN retire_from timestamptz;
        UPDATE token_issuer.signing_keys k
           SET state = CASE WHEN withdrawn THEN 'retired' WHEN activated IS NULL THEN 'pending' ELSE 'active' END,
               announced_at = (SELECT e.recorded_at FROM log.events e WHERE e.position = k.announced),
               activated_at = (SELECT e.recorded_at FROM log.events e WHERE e.position = k.activated);
        ALTER TABLE token_issuer.signing_keys DROP COLUMN withdrawn, DROP COLUMN activated,
            ALTER COLUMN state SET NOT NULL, ALTER COLUMN announced_at SET NOT NULL;
    END IF;
END $$;

-- Secrets at rest: private signing keys, wrapped under the master key. Written in the append of their fact, never in a
-- fact, left alone by rebuilds, and deleted in the append of the fact that they sign no more.
CREATE TABLE IF NOT EXISTS token_issuer.vault (
    kid text PRIMARY KEY,
    wrapped bytea NOT NULL
);

-- Fed by the facts of each reference token's stream.
CREATE TABLE IF NOT EXISTS token_issuer.reference_tokens (
    jti text PRIMARY KEY,
    digest text NOT NULL,                       -- SHA-256 of the token
    kind text NOT NULL,                         -- pat | sat
    client_id text NOT NULL,
    sub text NOT NULL,
    scopes text[] NOT NULL,
    audiences text[] NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked text,                               -- the reason; null: it was not taken back
    position bigint NOT NULL,                   -- of the event that issued it ...
    epoch integer NOT NULL,                     -- ... its epoch ...
    issued_at timestamptz NOT NULL              -- ... and when it was recorded
);
CREATE INDEX IF NOT EXISTS reference_tokens_by_digest ON token_issuer.reference_tokens (digest);
CREATE INDEX IF NOT EXISTS reference_tokens_by_user ON token_issuer.reference_tokens (sub, position);
CREATE INDEX IF NOT EXISTS reference_tokens_by_client ON token_issuer.reference_tokens (client_id, position);

-- What no fact says of reference tokens. A row is written in the append of the token, gone with its revocation, with
-- the erasure of its user, or a week after its end, and left alone by rebuilds.
CREATE TABLE IF NOT EXISTS token_issuer.reference_notes (
    jti text PRIMARY KEY,
    label text NOT NULL,                        -- what its owner calls it: perhaps personal, so it is not in the log
    last_used_at timestamptz                    -- to the minute
);
-- Before users could be erased it was not known whose a note was.
ALTER TABLE token_issuer.reference_notes ADD COLUMN IF NOT EXISTS sub text NOT NULL DEFAULT '';
UPDATE token_issuer.reference_notes n SET sub = r.sub
  FROM token_issuer.reference_tokens r WHERE r.jti = n.jti AND n.sub = '';
CREATE INDEX IF NOT EXISTS reference_notes_by_user ON token_issuer.reference_notes (sub);

-- Authorization requests that were pushed and wait for their sign-in, encrypted. Written with the fact, not made of it.
CREATE TABLE IF NOT EXISTS token_issuer.pushed_requests (
    digest text PRIMARY KEY,                    -- of the reference that the request_uri ends with
    client_id text NOT NULL,
    sealed text NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Fed by the registry's facts.
CREATE TABLE IF NOT EXISTS token_issuer.applications (
    client_id text PRIMARY KEY,
    settings jsonb NOT NULL,
    scopes text[] NOT NULL,                     -- as in the settings
    service_account text,                       -- as in the settings
    enabled boolean NOT NULL,
    uninstalled boolean NOT NULL,
    position bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS token_issuer.secrets (
    client_id text NOT NULL,
    secret_id text NOT NULL,
    digest text NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (client_id, secret_id)
);
CREATE TABLE IF NOT EXISTS token_issuer.resources (
    resource_id text PRIMARY KEY,
    identifier text NOT NULL,
    settings jsonb NOT NULL,
    scopes text[] NOT NULL,                     -- their names, as in the settings
    position bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS resources_by_identifier ON token_issuer.resources (identifier);

-- Fed by identity's facts.
CREATE TABLE IF NOT EXISTS token_issuer.users (
    sub text PRIMARY KEY,
    kind text NOT NULL,
    roles text[] NOT NULL,
    enabled boolean NOT NULL,
    sessions_cut_off bigint NOT NULL,           -- sessions begun at or before this position are over ...
    kept_session text,                          -- ... but for this one
    position bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS token_issuer.sessions (
    sid text PRIMARY KEY,
    sub text NOT NULL,
    expires_at timestamptz NOT NULL,
    ended boolean NOT NULL,
    position bigint NOT NULL                    -- where it began
);

-- Fed by the denials that the facts of both declare. They hold for grants as they do for tokens: a grant lives longer.
CREATE TABLE IF NOT EXISTS token_issuer.denials (
    kind text NOT NULL,
    id text NOT NULL,
    rule text NOT NULL,
    except_id text NOT NULL,                    -- empty: without exception
    position bigint NOT NULL,
    PRIMARY KEY (kind, id, rule, except_id)
);

-- How far the facts of others have been taken in.
CREATE TABLE IF NOT EXISTS token_issuer.checkpoints (
    projection text NOT NULL,
    source text NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (projection, source)
);

-- Of which ends of sessions applications have still to be told (services/token_issuer/backchannel/). No rebuild makes
-- these: a logout that was delivered, or given up, is nothing that the log knows of.
CREATE TABLE IF NOT EXISTS token_issuer.logouts (
    position bigint PRIMARY KEY,                -- of the fact
    sub text NOT NULL,
    sid text,                                   -- null: all sessions of the user ...
    kept_sid text                               -- ... but for this one
);
CREATE TABLE IF NOT EXISTS token_issuer.logout_deliveries (
    delivery_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    client_id text NOT NULL,
    sub text NOT NULL,
    sid text NOT NULL,
    position bigint NOT NULL,                   -- of the fact that ended the session
    attempts integer NOT NULL DEFAULT 0,        -- that failed
    failure text,                               -- code of the last one ...
    failed_at timestamptz,                      -- ... and when that was
    due_at timestamptz,                         -- when it is tried next; null: it was given up
    taken_by text                               -- the attempt that is under way, until it is due again
);
CREATE INDEX IF NOT EXISTS logout_deliveries_due ON token_issuer.logout_deliveries (client_id, due_at);

-- Of sessions that ended before there was any of this nobody is told now; and nobody was erased before they could be.
INSERT INTO token_issuer.checkpoints (projection, source, position)
SELECT p.projection, 'identity', h.position FROM log.head h, (VALUES ('logout'), ('erased')) p (projection)
    ON CONFLICT (projection, source) DO NOTHING;
