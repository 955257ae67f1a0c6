"""What this service's tables are made of; what is not named here is not made of facts, and left alone by rebuilds."""

from services.identity.read_model import project
from services.identity.subscriptions import PROJECTION, SOURCES, project_registry
from shared.rebuild.projection import Projection

PROJECTIONS = (
    Projection("own", ("identity",), project, ("users", "erased_users", "passkeys", "sessions", "consents")),
    Projection(PROJECTION, SOURCES, project_registry, ("uninstalled_applications", "signed_userinfo")),
)
