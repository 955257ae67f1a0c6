"""Back-channel logout (OpenID Connect Back-Channel Logout 1.0): applications are told of sessions that ended.

a fact of identity ──▶ what ended ──▶ who is told of it ──▶ a POST to each, until it says 200
causes.py, a follower   tables.py, one statement for each step   deliveries.py
"""
