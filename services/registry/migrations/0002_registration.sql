-- Initial access tokens that were not revoked (RFC 7591 section 1.2); the digest finds the one that is shown.
CREATE TABLE IF NOT EXISTS registry.initial_access_tokens (
    token_id text COLLATE "C" PRIMARY KEY,
    token_digest text COLLATE "C" NOT NULL,
    purpose text NOT NULL,
    expires_at timestamptz NOT NULL,
    uses integer,                       -- null: any number
    client_id_prefix text COLLATE "C" NOT NULL,
    scopes jsonb NOT NULL,
    grants jsonb NOT NULL,
    issued_at timestamptz NOT NULL,
    position bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS initial_access_tokens_by_digest ON registry.initial_access_tokens (token_digest);

-- What each of them registered, whatever became of it.
CREATE TABLE IF NOT EXISTS registry.registrations (
    client_id text COLLATE "C" PRIMARY KEY,
    token_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS registrations_by_token ON registry.registrations (token_id);
