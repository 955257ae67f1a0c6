"""The ledger: spreads the log, and answers what is in it.

Owns the relay to NATS, the denial feed's heartbeats, and reads for auditors.
Must never hold a right to change the log.
Facts in: all of them, as they stand in the log.
"""
