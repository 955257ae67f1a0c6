"""An API that takes Stagedoor's tokens, three times over. Copy from it what you need.

api.py       HTTP, on Starlette
rpc.py       gRPC, on grpc.aio; with threads in rpc_threads.py
worker.py    a background worker whose jobs bring along the token of whoever asked for them
"""
