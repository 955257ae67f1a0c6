"""What a sign-in was worth: `acr` (OpenID Connect Core section 2), told from the methods that proved the person."""

from collections.abc import Collection

PASSWORD = "urn:stagedoor:acr:password"
"""The password, and nothing else."""

ACR_VALUES = (PASSWORD,)
"""What a sign-in here can be worth."""


def acr_of(amr: Collection[str]) -> str | None:
    """The class of a sign-in by these methods (RFC 8176); None if it is worth nothing that has a name."""
    return PASSWORD if "pwd" in amr else None
