"""What the issuer says about itself (OpenID Connect Discovery, RFC 8414): exactly what works, and nothing more."""

from typing import Any, Final
from urllib.parse import urlsplit

from services.registry.events import AuthMethod, GrantType, ResponseAlgorithm
from services.token_issuer.acr import ACR_VALUES
from services.token_issuer.assertions.jws import ALGORITHMS as ALGORITHMS_OF_APPLICATIONS
from services.token_issuer.authorization.answers import ResponseMode
from services.token_issuer.authorization.rules import PROMPTS
from services.token_issuer.claims import CLAIMS
from services.token_issuer.client_certificates import METHODS, MutualTls
from services.token_issuer.scopes import OFFLINE_ACCESS, USERINFO_SCOPES
from stagedoor.dpop import ALGORITHMS as DPOP_ALGORITHMS

SCOPES = (*USERINFO_SCOPES, OFFLINE_ACCESS)
_ID_TOKEN_CLAIMS = ("iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash")


ALIASES: Final = {
    "token_endpoint": "token",
    "userinfo_endpoint": "userinfo",
    "introspection_endpoint": "introspect",
    "revocation_endpoint": "revocation",
    "pushed_authorization_request_endpoint": "par",
    "device_authorization_endpoint": "device",
}
"""Endpoints that a client may show a certificate at."""


def openid_path(issuer: str) -> str:
    """Where OpenID Connect Discovery section 4 has the document: below the issuer."""
    return f"{urlsplit(issuer).path}/.well-known/openid-configuration"


def oauth_path(issuer: str) -> str:
    """Where RFC 8414 section 3.1 has it: between host and path of the issuer."""
    return f"/.well-known/oauth-authorization-server{urlsplit(issuer).path}"


def at(issuer: str, origin: str) -> str:
    """The same place at another origin."""
    return f"{origin}{urlsplit(issuer).path}"


def document(issuer: str, mutual_tls: MutualTls | None = None) -> dict[str, Any]:
    """The metadata; the same document serves both. `mutual_tls`: certificates of clients are believed."""
    connect = f"{issuer}/connect"
    by_certificate = () if mutual_tls is None else mutual_tls.methods
    methods = [method.value for method in AuthMethod if method not in METHODS or method in by_certificate]
    algorithms = list(ALGORITHMS_OF_APPLICATIONS)
    signed = [algorithm.value for algorithm in ResponseAlgorithm]
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{connect}/authorize",
        "token_endpoint": f"{connect}/token",
        "userinfo_endpoint": f"{connect}/userinfo",
        "jwks_uri": f"{connect}/jwks",
        "introspection_endpoint": f"{connect}/introspect",
        "revocation_endpoint": f"{connect}/revocation",
        "registration_endpoint": f"{connect}/register",
        "pushed_authorization_request_endpoint": f"{connect}/par",
        "require_pushed_authorization_requests": False,
        "device_authorization_endpoint": f"{connect}/device",
        "end_session_endpoint": f"{connect}/endsession",
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": [mode.value for mode in ResponseMode],
        "grant_types_supported": [grant.value for grant in GrantType],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": signed,
        "userinfo_signing_alg_values_supported": signed,
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_methods_supported": [m for m in methods if m != AuthMethod.NONE],
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": list(PROMPTS),
        "acr_values_supported": list(ACR_VALUES),
        "display_values_supported": ["page"],
        "ui_locales_supported": ["en"],
        "claim_types_supported": ["normal"],
        "claims_supported": [*_ID_TOKEN_CLAIMS, *CLAIMS],
        "claims_parameter_supported": True,
        "request_parameter_supported": True,
        "request_object_signing_alg_values_supported": algorithms,
        "require_signed_request_object": False,
        "request_uri_parameter_supported": False,
        "dpop_signing_alg_values_supported": list(DPOP_ALGORITHMS),
        "authorization_response_iss_parameter_supported": True,
        **({} if mutual_tls is None else _of_certificates(issuer, mutual_tls)),
    }


def _of_certificates(issuer: str, mutual_tls: MutualTls) -> dict[str, Any]:
    """RFC 8705 section 3.3, and section 5 where clients are asked for a certificate at an origin of its own."""
    said: dict[str, Any] = {"tls_client_certificate_bound_access_tokens": True}
    elsewhere = at(issuer, mutual_tls.origin)
    if elsewhere != issuer:
        said["mtls_endpoint_aliases"] = {name: f"{elsewhere}/connect/{path}" for name, path in ALIASES.items()}
    return said
