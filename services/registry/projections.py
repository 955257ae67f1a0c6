"""What this service's tables are made of; what is not named here is not made of facts, and left alone by rebuilds."""

from services.registry.read_model import project
from shared.rebuild.projection import Projection

TABLES = ("applications", "secrets", "resources", "initial_access_tokens", "registrations", "installations")
PROJECTIONS = (Projection("own", ("registry",), project, TABLES),)
