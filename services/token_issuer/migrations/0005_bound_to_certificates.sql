-- Thumbprints of the client certificates that grants are bound to (RFC 8705); null: to none.
ALTER TABLE token_issuer.grants
    ADD COLUMN IF NOT EXISTS token_x5t_s256 text,       -- of the newest access token
    ADD COLUMN IF NOT EXISTS refresh_x5t_s256 text;     -- of the current refresh token
