"""What a sign-in was worth: `acr` (OpenID Connect Core section 2), told from the methods that proved the person."""

from collections.abc import Collection, Sequence

PASSWORD = "urn:stagedoor:acr:password"
"""The password, and nothing else."""
MFA = "urn:stagedoor:acr:mfa"
"""More than one factor: a password and what came after it, or a passkey that its user had to unlock."""

ACR_VALUES = (PASSWORD, MFA)
"""What a sign-in here can be worth, the least first."""


def acr_of(amr: Collection[str]) -> str | None:
    """The class of a sign-in by these methods (RFC 8176); None if it is worth nothing that has a name."""
    return next(iter(_worth(amr)), None)


def met(amr: Collection[str], essential: Sequence[str]) -> str | None:
    """Which of the classes that the application demands a sign-in has; None: none of them (section 5.5.1.1).

    One that is worth more is worth the less, too; it is then told as what was demanded.
    """
    return next((value for value in _worth(amr) if value in essential), None)


def _worth(amr: Collection[str]) -> tuple[str, ...]:
    if "mfa" in amr:
        return MFA, PASSWORD
    return (PASSWORD,) if "pwd" in amr else ()


def wished(acr_values: str | None) -> bool:
    """Whether `acr_values` would rather have a second factor: the first that is possible here (section 3.1.2.1)."""
    first = next((value for value in (acr_values or "").split(" ") if value in ACR_VALUES), None)
    return first == MFA


def demanded(acr: Sequence[str]) -> bool:
    """Whether an essential `acr` of these values cannot be had without one."""
    return MFA in acr and PASSWORD not in acr
