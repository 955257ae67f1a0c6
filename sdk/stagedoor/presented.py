"""How a token is presented: the one credential of a request, and what comes with it (RFC 6750, RFC 9449 section 7)."""

from typing import NamedTuple

from stagedoor.dpop import Proof


class Presented(NamedTuple):
    """The token of a request."""

    token: str
    proof: Proof | None = None
    """As `DPoP`; None: as `Bearer`, or as an API key."""

    def __repr__(self) -> str:
        return f"Presented(proof={self.proof!r})"

    @property
    def scheme(self) -> str:
        """Authentication scheme that a challenge about it names."""
        return "Bearer" if self.proof is None else "DPoP"
