"""The engine: the log, deciders, projections, denials, and the edges over HTTP and gRPC.

It names no service. A service is built from these parts in its own `main.py`.
"""
