-- Thumbprints of the keys that grants are bound to (RFC 9449); null: to none.
ALTER TABLE token_issuer.grants
    ADD COLUMN IF NOT EXISTS dpop_jkt text,         -- of the code
    ADD COLUMN IF NOT EXISTS token_jkt text,        -- of the newest access token
    ADD COLUMN IF NOT EXISTS refresh_jkt text;      -- of the current refresh token
