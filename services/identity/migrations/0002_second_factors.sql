-- Since when a user has a second factor (RFC 6238); null: none. Its seed is in the vault:
--   totp                                  the seed, sealed under the master key
--   recovery_code_0 to recovery_code_9    keyed digests of the recovery codes that are left
ALTER TABLE identity.users ADD COLUMN IF NOT EXISTS totp_since timestamptz;
