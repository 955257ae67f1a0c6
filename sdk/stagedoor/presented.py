"""How a token is presented: the one credential of a request, and what comes with it (RFC 6750, 8705, 9449)."""

from typing import NamedTuple

from stagedoor.certificate import Certificate
from stagedoor.dpop import Proof

Possession = Proof | Certificate
"""What shows that a bound token is its holder's: a DPoP proof, or the certificate of the connection."""


class Presented(NamedTuple):
    """The token of a request."""

    token: str
    proof: Possession | None = None
    """A `Proof`: it came as `DPoP`. Else it came as `Bearer`, or as an API key; over a connection with a certificate,
    where that is known."""

    def __repr__(self) -> str:
        return f"Presented(proof={self.proof!r})"

    @property
    def scheme(self) -> str:
        """Authentication scheme that a challenge about it names."""
        return "DPoP" if isinstance(self.proof, Proof) else "Bearer"
