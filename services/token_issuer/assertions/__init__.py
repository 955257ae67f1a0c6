"""Client assertions (`private_key_jwt`): applications that prove with a signature who they are."""
