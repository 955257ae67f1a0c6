"""The registry: which applications are trusted, and which resources there are to reach.

Owns applications, their secrets' digests, who may register them by program, and resources with their scopes.
Must never hold a user, a token or a private key.
Facts out: `events.py`. Facts in: none; who may manage it is told by the caller's token.
"""
