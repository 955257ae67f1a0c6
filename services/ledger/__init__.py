"""The ledger: spreads the log, and answers what is in it.

Owns the relay to NATS, the denial feed, checkpoints and proofs, and reads for auditors: of the log, and of what it came
to at any moment, as each service tells it in its `history.py`.
Must never hold a right to change the log; of its own it adds that somebody asked.
Facts in: all of them, as they stand in the log. Facts out: what was asked of it.

Of any number of replicas one leads: it relays events to JetStream and publishes denials and heartbeats. All of them
answer pings, snapshots and reads. While there is no ledger nothing is lost: the log is in PostgreSQL, views are fed
from it by polling, and guards that are not vouched for ask online or refuse.
"""
