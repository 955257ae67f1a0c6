"""gRPC between services: mutual TLS, caller rules as data, typed refusals in both directions."""

import os

# gRPC's core writes lines of its own, in a form of its own, to standard error, about what we report as refusals. It
# looks at this when it is first imported; a process whose environment has it is silent whatever it imports first.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
