-- What the application demanded the sign-in to be worth (OpenID Connect Core section 5.5.1.1); null: nothing.
ALTER TABLE token_issuer.grants ADD COLUMN IF NOT EXISTS acr text;
