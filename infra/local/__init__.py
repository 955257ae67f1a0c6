"""The whole system on one machine: PostgreSQL, NATS, Caddy and the services, as child processes.

`system.System` starts and stops it; `supervisor` is what `make run` runs around it.
"""
