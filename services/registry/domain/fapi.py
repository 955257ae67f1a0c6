"""What the FAPI 2.0 Security Profile has an application be (sections 5.3.2 and 5.4), as far as its settings say it.

The rest is for the issuer to hold it to. Nothing here is softer in demo mode.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from services.registry.domain.refusals import invalid
from services.registry.events import (
    ApplicationSettings,
    ApplicationType,
    AuthMethod,
    GrantType,
    ReferenceTokens,
    ResponseAlgorithm,
    SecurityProfile,
)

AUTH_METHODS: Final = frozenset(
    {AuthMethod.PRIVATE_KEY_JWT, AuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH, AuthMethod.TLS_CLIENT_AUTH}
)
"""How it may prove who it is (section 5.3.2.1, item 6)."""
ALGORITHMS: Final = frozenset({"ES256", "PS256", "EdDSA"})
"""What may sign, whoever does (section 5.4.1)."""

_GRANTS: Final = frozenset({GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN, GrantType.CLIENT_CREDENTIALS})
"""A device code begins without a pushed request, and what an exchange gives is bound to no key."""
_IMPLIED: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "require_pushed_authorization_requests": True,
        "id_token_signed_response_alg": ResponseAlgorithm.ES256,
    }
)


def implied(profile: SecurityProfile | None, *, by_certificate: bool) -> Mapping[str, Any]:
    """Settings, by name, that nobody has to state of an application which is held to this profile.

    `by_certificate`: its access tokens are bound to its client certificate; else to a key, by DPoP.
    """
    return {} if profile is None else {**_IMPLIED, "dpop_bound_access_tokens": not by_certificate}


def check_profile(settings: ApplicationSettings) -> None:
    """Refuse settings that the application's profile forbids."""
    if settings.security_profile is None:
        return
    plain = [uri for uri in settings.redirect_uris if not uri.startswith("https://")]
    faults = (
        (settings.type is not ApplicationType.CONFIDENTIAL, "is confidential (section 5.3.2.1)"),
        (settings.auth_method not in AUTH_METHODS, f"authenticates by {_either(AUTH_METHODS)} (section 5.3.2.1)"),
        (
            any(key.alg is not None and key.alg not in ALGORITHMS for key in settings.jwks),
            f"signs with {_either(ALGORITHMS)} (section 5.4.1)",
        ),
        (
            not (settings.dpop_bound_access_tokens or settings.tls_client_certificate_bound_access_tokens),
            "has its access tokens bound to a key or a certificate (section 5.3.2.1)",
        ),
        (
            not settings.require_pushed_authorization_requests,
            "has to push its authorization requests (section 5.3.2.2)",
        ),
        (not settings.require_pkce, "has to use PKCE (section 5.3.2.2)"),
        (
            ResponseAlgorithm.RS256 in (settings.id_token_signed_response_alg, settings.userinfo_signed_response_alg),
            "reads nothing that is signed with RS256 (section 5.4.1)",
        ),
        (not set(settings.grants) <= _GRANTS, f"has no grants but {', '.join(sorted(_GRANTS))}"),
        (
            settings.reference_tokens is not ReferenceTokens.NONE,
            "has no reference tokens, which are bound to no key (section 5.3.2.1)",
        ),
    )
    for broken, what in faults:
        if broken:
            raise invalid(f"with the FAPI 2.0 Security Profile an application {what}")
    if plain:
        raise invalid(
            "with the FAPI 2.0 Security Profile every redirect URI is https (section 5.3.2.2)", "invalid_redirect_uri"
        )


def _either(words: frozenset[Any]) -> str:
    return " or ".join(sorted(words))
