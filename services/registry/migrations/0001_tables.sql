-- What the registry answers from. Fed by its own events, in their append.

CREATE TABLE IF NOT EXISTS registry.applications (
    client_id text COLLATE "C" PRIMARY KEY,
    settings jsonb NOT NULL,
    enabled boolean NOT NULL,
    registered_at timestamptz NOT NULL,
    position bigint NOT NULL
);

-- Those that were not revoked; digests are in the events alone, for the token issuer.
CREATE TABLE IF NOT EXISTS registry.secrets (
    client_id text COLLATE "C" NOT NULL,
    secret_id text COLLATE "C" NOT NULL,
    added_at timestamptz NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (client_id, secret_id)
);

CREATE TABLE IF NOT EXISTS registry.resources (
    resource_id text COLLATE "C" PRIMARY KEY,
    identifier text COLLATE "C" NOT NULL,
    settings jsonb NOT NULL,
    position bigint NOT NULL
);
