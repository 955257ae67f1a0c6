"""The log as evidence: a Merkle tree over the hashes of its events, and signed checkpoints of it (RFC 6962, C2SP).

stagedoor_verify.py   what an auditor needs to check all of it, in one file that needs nothing else of ours
proofs.py             which hashes prove that an event is in a tree, and that one tree begins with another
tiles.py              the tree on disk, outside the database
checkpoints.py        signed statements of the tree's size and root, and where they are kept
archive.py            events that leave the log, in files of their own
keeping.py            how the tree grows with the log, and what is found out on the way
"""
