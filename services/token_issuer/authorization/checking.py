"""What an authorization request is checked against, however it came."""

from services.token_issuer.authorization.hints import Hints
from services.token_issuer.authorization.parameters import Parameters
from services.token_issuer.authorization.rules import Surroundings
from services.token_issuer.issuer import Issuer
from services.token_issuer.views import Known


def targets(parameters: Parameters) -> tuple[str, ...]:
    """The resources to look up; none where the request will be refused for its form."""
    return () if parameters.faulty() else parameters.all("resource")


def surroundings(issuer: Issuer, known: Known) -> Surroundings:
    """Everything around the request, as it is now."""
    return Surroundings(
        resources=known.resources,
        places=issuer.policy.places,
        read_hint=Hints(issuer.keys, issuer.policy.issuer).read,
        now=issuer.clock(),
        position=known.as_of.positions.get("registry", 0),
    )
