"""The guards of this process, as its metrics tell of them."""

from typing import Final

from prometheus_client import REGISTRY

from stagedoor.metrics import GuardCollector

GUARDS: Final = GuardCollector()
REGISTRY.register(GUARDS)
