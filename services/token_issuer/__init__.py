"""The token issuer: every protocol rule of a request, and every token.

Owns grants, tokens, signing keys, discovery, the token endpoint, introspection, revocation, `Validate` and
`WatchDenials`. Must never hold a password.
Facts out: `events.py`. Facts in: the registry's (applications, resources) and identity's (users, sessions).
"""
