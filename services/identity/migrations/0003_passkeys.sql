-- Fed by the facts of each user's stream: passkeys (WebAuthn). Who has one does not sign in by the password alone.
CREATE TABLE IF NOT EXISTS identity.passkeys (
    passkey_id text PRIMARY KEY,
    sub text NOT NULL,
    name text NOT NULL,                         -- what the user calls it
    backup_eligible boolean NOT NULL,           -- the key may be copied to other devices, the authenticator says
    added_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS passkeys_by_user ON identity.passkeys (sub);

-- What passkeys are checked with. Written in the append of their fact, never in a fact, left alone by rebuilds.
-- No secret, but it tells one person's authenticator from all others: an erasure deletes it.
CREATE TABLE IF NOT EXISTS identity.passkey_credentials (
    passkey_id text PRIMARY KEY,
    sub text NOT NULL,
    credential_id bytea NOT NULL,               -- unique because the log reserves its digest
    public_key bytea NOT NULL,                  -- COSE_Key
    sign_count bigint NOT NULL,                 -- at its last use
    used_at timestamptz                         -- null: never
);
CREATE INDEX IF NOT EXISTS passkey_credentials_by_user ON identity.passkey_credentials (sub);
CREATE INDEX IF NOT EXISTS passkey_credentials_by_credential ON identity.passkey_credentials (credential_id);
