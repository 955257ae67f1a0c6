"""What a browser answers, made up or changed: each thing that an answer says is held against what was asked."""

import json
from collections.abc import Callable
from typing import Any

import cbor2
import pytest

from services.identity.passkey_rows import PasskeyCredential
from services.identity.relying_party import Assertion, NewCredential, NotVerifiedError, RelyingParty, asserted
from shared.encoding import base64url, from_base64url
from tests.support.passkeys import (
    BE,
    BS,
    ES256,
    ISSUER,
    ORIGIN,
    RS256,
    UP,
    UV,
    Authenticator,
    ClientData,
)

CHALLENGE, ANOTHER = b"c" * 32, b"d" * 32
HANDLE = b"a-sub-of-22-characters"


def party() -> RelyingParty:
    found = RelyingParty.of(ISSUER)
    assert found is not None
    return found


def to_create(challenge: bytes = CHALLENGE) -> dict[str, Any]:
    text = party().to_create(challenge, handle=HANDLE, name="freddie", shown_name="Freddie", known=())
    options: dict[str, Any] = json.loads(text)
    return options


def to_get(challenge: bytes = CHALLENGE) -> dict[str, Any]:
    options: dict[str, Any] = json.loads(party().to_get(challenge))
    return options


def created(answer: dict[str, str]) -> NewCredential:
    return party().created(json.dumps(answer), CHALLENGE)


def credential(own: Authenticator, **changes: Any) -> PasskeyCredential:
    made = created(own.make(to_create()))
    return PasskeyCredential(
        **{
            "passkey_id": "one",
            "credential_id": made.credential_id,
            "public_key": made.public_key,
            "sign_count": made.sign_count,
            "backup_eligible": made.backup_eligible,
            **changes,
        }
    )


def verified(answer: dict[str, str], known: PasskeyCredential) -> int:
    return party().verified(asserted(json.dumps(answer)), CHALLENGE, known)


def saying(**changes: Any) -> Callable[[ClientData], ClientData]:
    return lambda said: {**said, **changes}


def forgetting(name: str) -> Callable[[ClientData], ClientData]:
    return lambda said: {key: value for key, value in said.items() if key != name}


ELSEWHERE: dict[str, dict[str, Any]] = {
    "another origin": {"origin": "https://login.example.com.evil.example"},
    "a subdomain": {"origin": f"https://x.{ORIGIN.removeprefix('https://')}"},
    "another port": {"origin": f"{ORIGIN}:8443"},
    "http": {"origin": ORIGIN.replace("https", "http")},
    "a path after it": {"origin": f"{ORIGIN}/"},
    "no origin": {"origin": ""},
    "another relying party": {"rp_id": "evil.example"},
    "the domain above": {"rp_id": "example.com"},
    "another challenge": {"client_data": saying(challenge=base64url(ANOTHER).decode())},
    "no challenge": {"client_data": saying(challenge="")},
    "a challenge that is none": {"client_data": saying(challenge=None)},
    "in a frame of another site": {"client_data": saying(crossOrigin=True)},
    "in a frame, in other words": {"client_data": saying(crossOrigin="true")},
    "with a top origin": {"client_data": saying(topOrigin="https://evil.example")},
    "the origin in a list": {"client_data": saying(origin=[ORIGIN])},
    "without a type": {"client_data": forgetting("type")},
    "without an origin": {"client_data": forgetting("origin")},
    "without a challenge": {"client_data": forgetting("challenge")},
    "a payment": {"client_data": saying(type="payment.get")},
}


@pytest.mark.parametrize("alg", [ES256, RS256])
def test_an_honest_one_is_taken(alg: int) -> None:
    own = Authenticator(alg)
    known = credential(own)
    assert verified(own.use(to_get()), known) == 2
    # Browsers may say nothing of frames, and add what nobody knows yet (section 5.8.1).
    assert verified(own.use(to_get(), client_data=forgetting("crossOrigin")), known) == 3
    assert verified(own.use(to_get(), client_data=saying(later="x")), known) == 4


@pytest.mark.parametrize("how", ELSEWHERE.values(), ids=ELSEWHERE)
def test_made_elsewhere_or_for_something_else(how: dict[str, Any]) -> None:
    with pytest.raises(NotVerifiedError):
        created(Authenticator().make(to_create(), **how))


@pytest.mark.parametrize("how", ELSEWHERE.values(), ids=ELSEWHERE)
def test_used_elsewhere_or_for_something_else(how: dict[str, Any]) -> None:
    own = Authenticator()
    known = credential(own)
    with pytest.raises(NotVerifiedError):
        verified(own.use(to_get(), **how), known)


def test_one_kind_of_answer_as_the_other() -> None:
    own = Authenticator()
    known = credential(own)
    with pytest.raises(NotVerifiedError):
        verified(own.use(to_get(), client_data=saying(type="webauthn.create")), known)
    with pytest.raises(NotVerifiedError):
        created(own.make(to_create(), client_data=saying(type="webauthn.get")))
    with pytest.raises(NotVerifiedError):
        asserted(json.dumps(own.make(to_create())))
    with pytest.raises(NotVerifiedError):
        created(own.use(to_get()))


@pytest.mark.parametrize("flag", [UP, UV], ids=["nobody was there", "nobody was verified"])
def test_without_the_user(flag: int) -> None:
    own = Authenticator()
    known = credential(own)
    with pytest.raises(NotVerifiedError):
        verified(own.use(to_get(), without=flag), known)
    with pytest.raises(NotVerifiedError):
        created(Authenticator(flags=(UP | UV) & ~flag).make(to_create()))


@pytest.mark.parametrize(("before", "now"), [(0, BE), (BE, 0), (0, BS)])
def test_a_key_that_could_suddenly_be_copied(before: int, now: int) -> None:
    own = Authenticator(flags=UP | UV | before)
    known = credential(own)
    own.flags = UP | UV | now
    with pytest.raises(NotVerifiedError):
        verified(own.use(to_get()), known)


@pytest.mark.parametrize("name", ["clientDataJSON", "authenticatorData", "signature", "id"])
def test_changed_after_it_was_signed(name: str) -> None:
    own = Authenticator()
    known = credential(own)
    answer = own.use(to_get())
    raw = bytearray(from_base64url(answer[name]) or b"")
    # Within the client data: a character of a name, so that it stays what it should be in all other ways.
    at = raw.index(b"crossOrigin") if name == "clientDataJSON" else len(raw) // 2
    raw[at] ^= 1
    with pytest.raises(NotVerifiedError):
        verified({**answer, name: base64url(bytes(raw)).decode()}, known)


def test_signed_by_another_key() -> None:
    own, other = Authenticator(), Authenticator()
    known = credential(own)
    other.make(to_create())
    other.credentials[-1].credential_id = known.credential_id
    with pytest.raises(NotVerifiedError):
        verified(other.use(to_get()), known)


def test_a_key_of_another_kind_under_the_same_name() -> None:
    """What was registered says how it is verified, nothing in the answer does."""
    own, rsa = Authenticator(ES256), Authenticator(RS256)
    known = credential(own)
    rsa.make(to_create())
    rsa.credentials[-1].credential_id = known.credential_id
    with pytest.raises(NotVerifiedError):
        verified(rsa.use(to_get()), known)


def with_key(change: Callable[[dict[int, Any]], object]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """An attestation whose public key is another one."""

    def changed(made: dict[str, Any]) -> dict[str, Any]:
        data, at = made["authData"], 37 + 16 + 2 + 32
        return {**made, "authData": data[:at] + cbor2.dumps(change(cbor2.loads(data[at:])))}

    return changed


def vouching(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda made: {**made, **changes}


ATTESTATIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "an algorithm that was not offered (ES384)": with_key(lambda key: {**key, 3: -35}),
    "RSA with SHA-1": with_key(lambda _: {1: 3, 3: -65535, -1: b"\x80" + bytes(255), -2: b"\x01\x00\x01"}),
    "no algorithm": with_key(lambda key: {k: v for k, v in key.items() if k != 3}),
    "a point that is not on the curve": with_key(lambda key: {**key, -3: bytes(32)}),
    "a key that is no map": with_key(lambda _: [1, 2, 3]),
    "a key of a kind that nobody knows": with_key(lambda key: {**key, 1: 99}),
    "a key without end": with_key(lambda _: {1: 3, 3: RS256, -1: b"\x80" + bytes(4000), -2: b"\x01\x00\x01"}),
    "an attestation that was not asked for": vouching(fmt="packed", attStmt={"alg": ES256, "sig": b"x", "x5c": [b"x"]}),
    "of the kind of a TPM": lambda made: {**made, "fmt": "tpm"},
    "of a kind that nobody knows": lambda made: {**made, "fmt": "x"},
    "self-signed by nobody": lambda made: {**made, "fmt": "packed", "attStmt": {"alg": ES256, "sig": b"x" * 70}},
    "bytes at the end": lambda made: {**made, "authData": made["authData"] + b"x"},
    "cut short": lambda made: {**made, "authData": made["authData"][:-1]},
    "without a credential": lambda made: {**made, "authData": made["authData"][:32] + b"\x05" + bytes(4)},
    "without data": lambda _: {"fmt": "none", "attStmt": {}},
    "no bytes": lambda made: {**made, "authData": "x"},
}


@pytest.mark.parametrize("attestation", ATTESTATIONS.values(), ids=ATTESTATIONS)
def test_a_credential_that_is_none(attestation: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    with pytest.raises(NotVerifiedError):
        created(Authenticator().make(to_create(), attestation=attestation))


def test_the_id_of_another_credential() -> None:
    answer = Authenticator().make(to_create())
    with pytest.raises(NotVerifiedError):
        created({**answer, "id": base64url(b"of-somebody-else").decode()})


def test_signed_with_itself_is_as_good_as_none() -> None:
    """What browsers leave where an authenticator cannot vouch for itself (section 5.1.3)."""
    for alg in (ES256, RS256):
        own = Authenticator(alg)
        assert created(own.make(to_create(), signed_with_itself=True)).sign_count == 1
        with pytest.raises(NotVerifiedError):
            created(own.make(to_create(), signed_with_itself=True, attestation=lambda made: {**made, "fmt": "tpm"}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '"x"',
        "NaN",
        "[" * 10_000,
        "{" + '"id":"eA","id":"eQ"' + "}",
        "x" * 20_000,
        '{"id":1}',
    ],
)
def test_no_answer_at_all(text: str) -> None:
    with pytest.raises(NotVerifiedError):
        asserted(text)
    with pytest.raises(NotVerifiedError):
        party().created(text, CHALLENGE)


@pytest.mark.parametrize("value", [None, 1, [], "=", "a b", "eA==", "eB", "\u00e4", "e\n"])
@pytest.mark.parametrize("name", ["id", "clientDataJSON", "authenticatorData", "signature", "userHandle"])
def test_members_that_could_be_read_in_two_ways(name: str, value: object) -> None:
    own = Authenticator()
    credential(own)
    with pytest.raises(NotVerifiedError):
        asserted(json.dumps({**own.use(to_get()), name: value}))


def test_members_that_nobody_sent() -> None:
    own = Authenticator()
    credential(own)
    answer = own.use(to_get())
    with pytest.raises(NotVerifiedError):
        asserted(json.dumps({**answer, "type": "public-key"}))
    with pytest.raises(NotVerifiedError):
        asserted(json.dumps({**answer, "id": ""}))


def test_client_data_that_could_be_read_in_two_ways() -> None:
    own = Authenticator()
    known = credential(own)
    right = own.use(to_get())
    said = (from_base64url(right["clientDataJSON"]) or b"").decode()
    elsewhere = ', "origin": "https://evil.example"}'
    for text in (said[:-1] + ', "crossOrigin": true}', said[:-1] + elsewhere, "\ufeff" + said):
        found = asserted(json.dumps(right))
        twice = Assertion(
            found.credential_id, text.encode(), found.authenticator_data, found.signature, found.user_handle
        )
        with pytest.raises(NotVerifiedError):
            party().verified(twice, CHALLENGE, known)


@pytest.mark.parametrize(
    ("issuer", "found"),
    [
        ("https://login.example.com/id", ("login.example.com", "https://login.example.com")),
        ("https://localhost:8443/id", ("localhost", "https://localhost:8443")),
        ("http://localhost:8400/id", ("localhost", "http://localhost:8400")),
        ("http://id.localhost:8400/id", ("id.localhost", "http://id.localhost:8400")),
        # Browsers know none by numbers, nor without https.
        ("http://127.0.0.1:8400/id", None),
        ("https://127.0.0.1:8443/id", None),
        ("https://[::1]:8443/id", None),
        ("http://login.example.com/id", None),
        ("http://localhost.example.com/id", None),
    ],
)
def test_who_is_asked_for_them(issuer: str, found: tuple[str, str] | None) -> None:
    asked = RelyingParty.of(issuer)
    assert (None if asked is None else (asked.rp_id, asked.origin)) == found
