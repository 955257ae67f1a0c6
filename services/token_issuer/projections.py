"""What this service's tables are made of; what is not named here is not made of facts, and left alone by rebuilds."""

from services.token_issuer import read_model, subscriptions
from shared.rebuild.projection import Projection

PROJECTIONS = (
    Projection("own", ("token_issuer",), read_model.project, ("grants", "signing_keys")),
    Projection(
        subscriptions.PROJECTION,
        subscriptions.SOURCES,
        subscriptions.project,
        ("applications", "secrets", "resources", "users", "sessions", "denials"),
    ),
)
