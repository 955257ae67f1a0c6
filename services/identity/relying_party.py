"""This server as a relying party of WebAuthn (W3C, Web Authentication Level 3): what browsers are asked, what counts.

Parsing and verifying are the library's; the rules here are those that it leaves to us. No attestation is asked for, so
nothing is learnt of anybody's authenticator but what it says of itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import (
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    parse_attestation_object,
    parse_authenticator_data,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AttestationFormat,
    AuthenticationCredential,
    AuthenticatorAssertionResponse,
    AuthenticatorAttestationResponse,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialType,
    RegistrationCredential,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from services.identity.passkey_rows import PasskeyCredential
from shared.encoding import base64url, from_base64url, strict_json

ALGORITHMS = (
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
)
"""What a key may sign with, the best first: what authenticators can do."""
WAIT_SECONDS = 300
"""How long a browser lets its user look for the authenticator."""
_MOST = 16 * 1024
"""Characters of what a browser answers."""
_LONGEST_ID = 1023
"""Bytes of a credential's id (section 7.1, step 26)."""
_LONGEST_KEY = 1200
"""Bytes of a public key: enough for RSA of 8,192 bits."""


class NotVerifiedError(Exception):
    """What the browser answered is not what it was asked for. Says why, for tests; nobody else is told."""


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential that was made just now."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    backup_eligible: bool


@dataclass(frozen=True, slots=True)
class Assertion:
    """An answer that claims to be of a credential; nothing of it is verified."""

    credential_id: bytes
    client_data: bytes
    authenticator_data: bytes
    signature: bytes
    user_handle: bytes | None


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Asks and verifies."""

    rp_id: str
    """The host that credentials are bound to."""
    origin: str
    """Where alone they are made and used."""

    @classmethod
    def of(cls, issuer: str) -> "RelyingParty | None":
        """As the issuer's address has it; None if browsers know no passkeys there.

        That takes a domain (an address in numbers is none) that is reached by https, or is this machine's own name.
        """
        parts = urlsplit(issuer)
        host = (parts.hostname or "").rstrip(".")
        if not host or _is_address(host):
            return None
        if parts.scheme != "https" and host != "localhost" and not host.endswith(".localhost"):
            return None
        return cls(host, f"{parts.scheme}://{parts.netloc.lower()}")

    def to_create(self, challenge: bytes, *, handle: bytes, name: str, shown_name: str, known: Sequence[bytes]) -> str:
        """What a browser is told to make a credential, in JSON (section 5.4); not on an authenticator with a `known`.

        It has to be found without being named, and its user to be verified each time: it is two factors in one.
        """
        options = generate_registration_options(
            rp_id=self.rp_id,
            rp_name=f"Stagedoor {self.rp_id}",
            user_name=name,
            user_id=handle,
            user_display_name=shown_name,
            challenge=challenge,
            timeout=WAIT_SECONDS * 1000,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                require_resident_key=True,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=_described(known),
            supported_pub_key_algs=list(ALGORITHMS),
        )
        return options_to_json(options)

    def to_get(self, challenge: bytes, allowed: Sequence[bytes] = ()) -> str:
        """What a browser is told to use one, in JSON (section 5.5); any that it has, if none is named."""
        options = generate_authentication_options(
            rp_id=self.rp_id,
            challenge=challenge,
            timeout=WAIT_SECONDS * 1000,
            allow_credentials=_described(allowed),
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return options_to_json(options)

    def created(self, answer: str, challenge: bytes) -> NewCredential:
        """The credential that was made (section 7.1). Raises `NotVerifiedError`."""
        members = _members(answer, "clientDataJSON", "attestationObject")
        client_data, attestation = members["clientDataJSON"], members["attestationObject"]
        _check_here(client_data)
        credential_id = members["id"]
        credential = RegistrationCredential(
            id=base64url(credential_id).decode(),
            raw_id=credential_id,
            response=AuthenticatorAttestationResponse(client_data_json=client_data, attestation_object=attestation),
            type=PublicKeyCredentialType.PUBLIC_KEY,
        )
        try:
            _check_attestation(attestation)
            made = verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self.rp_id,
                expected_origin=self.origin,
                require_user_verification=True,
                supported_pub_key_algs=list(ALGORITHMS),
            )
            # A key that cannot be used is found out now, not when its owner stands before the door.
            decoded_public_key_to_cryptography(decode_credential_public_key(made.credential_public_key))
            flags = parse_attestation_object(attestation).auth_data.flags
        except NotVerifiedError:
            raise
        except Exception as failure:  # whatever an answer that was made up brings about in the library
            raise NotVerifiedError(str(failure)) from failure
        if made.credential_id != credential_id or len(made.credential_public_key) > _LONGEST_KEY:
            raise NotVerifiedError("the credential is not the one that is spoken of, or its key is too long")
        return NewCredential(credential_id, made.credential_public_key, made.sign_count, flags.be)

    def verified(self, assertion: Assertion, challenge: bytes, known: PasskeyCredential) -> int:
        """Its signature counter, if this is a use of that credential (section 7.2). Raises `NotVerifiedError`.

        The counter is for the caller to look at: only one that was signed means something.
        """
        _check_here(assertion.client_data)
        credential = AuthenticationCredential(
            id=base64url(assertion.credential_id).decode(),
            raw_id=assertion.credential_id,
            response=AuthenticatorAssertionResponse(
                client_data_json=assertion.client_data,
                authenticator_data=assertion.authenticator_data,
                signature=assertion.signature,
                user_handle=assertion.user_handle,
            ),
            type=PublicKeyCredentialType.PUBLIC_KEY,
        )
        try:
            used = verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self.rp_id,
                expected_origin=self.origin,
                credential_public_key=known.public_key,
                credential_current_sign_count=0,
                require_user_verification=True,
            )
            flags = parse_authenticator_data(assertion.authenticator_data).flags
        except Exception as failure:  # as above
            raise NotVerifiedError(str(failure)) from failure
        if assertion.credential_id != known.credential_id:
            raise NotVerifiedError("another credential")
        if flags.be is not known.backup_eligible:  # section 7.2, step 18
            raise NotVerifiedError("whether the key may be copied never changes")
        return used.new_sign_count


def asserted(answer: str) -> Assertion:
    """What a browser answered when it was told to use a credential. Raises `NotVerifiedError` if it is none."""
    members = _members(answer, "clientDataJSON", "authenticatorData", "signature", "userHandle")
    return Assertion(
        members["id"],
        members["clientDataJSON"],
        members["authenticatorData"],
        members["signature"],
        members["userHandle"] or None,
    )


def _members(answer: str, *names: str) -> dict[str, bytes]:
    """Exactly these members of an answer, decoded, and `id`. What our script sends has no others."""
    if len(answer) > _MOST:
        raise NotVerifiedError("too long")
    try:
        found = strict_json(answer)
    except ValueError as wrong:
        raise NotVerifiedError("not JSON") from wrong
    if not isinstance(found, dict) or set(found) != {"id", *names}:
        raise NotVerifiedError("not the members of an answer")
    members: dict[str, bytes] = {}
    for name, value in found.items():
        raw = from_base64url(value) if isinstance(value, str) and value.isascii() else None
        if raw is None:
            raise NotVerifiedError(f"{name} is not base64url")
        members[name] = raw
    if not 1 <= len(members["id"]) <= _LONGEST_ID:
        raise NotVerifiedError("not the id of a credential")
    return members


def _check_here(client_data: bytes) -> None:
    """Raises `NotVerifiedError` unless it was asked on a page of our own, in no frame of another site (section 5.8.1).

    Type, challenge and origin are looked at by the library.
    """
    try:
        said = strict_json(client_data.decode())
    except ValueError as wrong:
        raise NotVerifiedError("the client data is not JSON") from wrong
    needed = ("type", "challenge", "origin")
    if not isinstance(said, dict) or any(not isinstance(said.get(name), str) for name in needed):
        raise NotVerifiedError("the client data is incomplete")
    if said.get("crossOrigin", False) is not False or "topOrigin" in said:
        raise NotVerifiedError("asked in a frame")


def _check_attestation(attestation: bytes) -> None:
    """Raises `NotVerifiedError` for what nobody asked for: it is none, or a signature with the new key itself."""
    found = parse_attestation_object(attestation)
    if found.fmt == AttestationFormat.NONE:
        return
    if found.fmt != AttestationFormat.PACKED or found.att_stmt.x5c is not None:
        raise NotVerifiedError("an attestation that was not asked for")


def _described(credential_ids: Sequence[bytes]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=one) for one in credential_ids]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
