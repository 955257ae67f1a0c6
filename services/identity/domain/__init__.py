"""The rules of the identity service: users, sessions, consents, and what stands between a request and its code."""
