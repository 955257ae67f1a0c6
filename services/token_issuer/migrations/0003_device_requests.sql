-- What devices ask for (RFC 8628), while it waits for a person. Written with the fact, not made of it; a row goes when
-- somebody allows it, or when it is too old.
CREATE TABLE IF NOT EXISTS token_issuer.device_requests (
    gid text PRIMARY KEY,                       -- of the grant that it may lead to
    digest text NOT NULL,                       -- of the device code
    user_code text NOT NULL,                    -- digest of the user code, under a key of the issuer
    client_id text NOT NULL,
    sealed text NOT NULL,                       -- what was asked, encrypted
    born bigint NOT NULL,                       -- position of the request
    expires_at timestamptz NOT NULL,
    refused boolean NOT NULL,
    interval_seconds integer NOT NULL,          -- between two questions of the device
    polled_at timestamptz,                      -- when it last asked ...
    hasty boolean NOT NULL                      -- ... and whether that was too soon
);
CREATE INDEX IF NOT EXISTS device_requests_by_user_code ON token_issuer.device_requests (user_code);
