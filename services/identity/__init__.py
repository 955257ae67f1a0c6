"""The identity service: who is signing in.

Owns users, credentials, sessions, consents, the pages, and userinfo.
Must never hold an application's secret or a signing key.
Facts out: `events.py`. Facts in: the registry's, to forget the consents of an application that is gone, and to know
which ones want userinfo signed.
"""
