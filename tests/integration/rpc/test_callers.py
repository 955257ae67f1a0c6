"""Who gets through: by certificate, by rule."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.local.certificates import Authority
from shared.errors import Kind, Unavailable
from shared.rpc.caller import Rule
from shared.rpc.client import translate
from shared.rpc.tls import Tls
from stagedoor.validation.v1 import validation_pb2 as pb
from stagedoor.validation.v1 import validation_pb2_grpc as stubs
from tests.integration.rpc.serving import BATCH, OPEN, STREAM, VALIDATE, WATCH, Servicer, first, refused, serving
from tests.support.log_lines import LogLines
from tests.support.parties import Parties

ASK = pb.ValidateRequest(token="t")
IDENTITY_ONLY = dict.fromkeys((VALIDATE, STREAM, WATCH), Rule(frozenset({"service/identity"})))


def _certificate(parties: Parties, names: list[x509.GeneralName]) -> Tls:
    """A certificate of the parties' authority that names whatever it is told to."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "service/identity")]))
        .issuer_name(parties.authority._own.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(parties.authority._key, hashes.SHA256())
    return Tls(
        parties.authority.certificate.read_bytes(),
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


async def test_the_callers_that_a_rule_names_are_answered_and_known(parties: Parties) -> None:
    async with serving(parties, IDENTITY_ONLY) as running:
        async with running.connected(parties.service("identity")) as validation:
            answer = await validation.Validate(ASK)
        assert answer.reason == "service/identity"
        assert running.servicer.calls[0].person is None


@pytest.mark.parametrize("method", ["Validate", "ValidateStream", "WatchDenials"])
async def test_another_service_is_refused_by_the_rule(parties: Parties, method: str, log_lines: LogLines) -> None:
    async with serving(parties, IDENTITY_ONLY) as running, running.connected(parties.service("registry")) as validation:
        match method:
            case "Validate":
                error = await refused(validation.Validate(ASK))
            case "ValidateStream":
                error = await refused(first(validation.ValidateStream(iter([pb.ValidateBatchRequest()]))))
            case _:
                error = await refused(first(validation.WatchDenials(pb.WatchDenialsRequest())))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        refusal = translate(error)
        assert (refusal.kind, refusal.code) == (Kind.FORBIDDEN, "caller_not_allowed")
        assert running.servicer.requests == 0
    assert log_lines.named("caller_not_allowed")[0]["caller"] == "service/registry"


async def test_a_method_without_a_rule_is_refused_to_everybody(parties: Parties) -> None:
    async with serving(parties, IDENTITY_ONLY) as running:
        for tls in (parties.service("identity"), parties.service("token_issuer"), parties.operator()):
            async with running.connected(tls) as validation:
                error = await refused(validation.ValidateBatch(pb.ValidateBatchRequest()))
            assert translate(error).code == "caller_not_allowed"
        assert running.servicer.requests == 0


async def test_a_star_admits_one_kind_of_caller(parties: Parties) -> None:
    async with serving(parties, {VALIDATE: Rule(frozenset({"resource/*"}))}) as running:
        async with running.connected(parties.resource("stagehands")) as validation:
            assert (await validation.Validate(ASK)).reason == "resource/stagehands"
        for tls in (parties.service("identity"), parties.operator()):
            async with running.connected(tls) as validation:
                assert translate(await refused(validation.Validate(ASK))).code == "caller_not_allowed"


async def test_a_certificate_of_another_authority_is_no_certificate(parties: Parties, strangers: Parties) -> None:
    """The stranger even believes the server's authority; the handshake still fails."""
    shown = strangers.service("identity")
    stranger = Tls(parties.authority.certificate.read_bytes(), shown.certificate, shown.key)
    async with serving(parties, OPEN) as running, running.connected(stranger) as validation:
        error = await refused(validation.Validate(ASK))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert running.servicer.requests == 0


async def test_without_a_certificate_the_handshake_fails(parties: Parties) -> None:
    credentials = grpc.ssl_channel_credentials(parties.authority.certificate.read_bytes())
    async with (
        serving(parties, OPEN) as running,
        grpc.aio.secure_channel(running.address, credentials) as connection,
    ):
        error = await refused(stubs.ValidationStub(connection).Validate(ASK, timeout=5))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert running.servicer.requests == 0


async def test_without_tls_nothing_is_answered(parties: Parties) -> None:
    async with serving(parties, OPEN) as running, grpc.aio.insecure_channel(running.address) as connection:
        error = await refused(stubs.ValidationStub(connection).Validate(ASK, timeout=5))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert running.servicer.requests == 0


async def test_an_expired_certificate_is_refused(parties: Parties, tmp_path: Path) -> None:
    long_ago = Authority(tmp_path, clock=lambda: datetime.now(UTC) - timedelta(days=200))
    expired = Parties.__new__(Parties)
    expired.authority = long_ago
    async with serving(parties, OPEN, tls=Tls(*_server_of(parties, long_ago))) as running:
        async with running.connected(_believing(parties, expired.service("identity"))) as validation:
            error = await refused(validation.Validate(ASK))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert running.servicer.requests == 0


def _server_of(parties: Parties, believed: Authority) -> tuple[bytes, bytes, bytes]:
    shown = parties.service("token_issuer")
    return believed.certificate.read_bytes(), shown.certificate, shown.key


def _believing(parties: Parties, shown: Tls) -> Tls:
    return Tls(parties.authority.certificate.read_bytes(), shown.certificate, shown.key)


@pytest.mark.parametrize(
    "names",
    [
        [],
        [x509.DNSName("spiffe://stagedoor/service/identity")],
        [x509.UniformResourceIdentifier("spiffe://elsewhere/service/identity")],
        [x509.UniformResourceIdentifier("spiffe://stagedoor/service/")],
        [x509.UniformResourceIdentifier("spiffe://stagedoor/operator/service/identity")],
        [x509.UniformResourceIdentifier("https://stagedoor/service/identity")],
        [
            x509.UniformResourceIdentifier("spiffe://stagedoor/service/identity"),
            x509.UniformResourceIdentifier("spiffe://stagedoor/operator"),
        ],
    ],
    ids=["none", "dns", "domain", "no name", "odd path", "scheme", "two"],
)
async def test_a_certificate_of_ours_that_names_nobody_of_ours_is_refused(
    parties: Parties, names: list[x509.GeneralName]
) -> None:
    async with serving(parties, OPEN) as running, running.connected(_certificate(parties, names)) as validation:
        assert translate(await refused(validation.Validate(ASK))).code == "caller_not_allowed"
        assert running.servicer.requests == 0


async def test_a_client_talks_only_to_the_service_that_it_means(parties: Parties) -> None:
    """A stolen certificate of one service does not serve to be another one."""
    async with serving(parties, OPEN, tls=parties.service("registry")) as running:
        async with running.connected(parties.service("identity"), "token_issuer") as validation:
            assert isinstance(translate(await refused(validation.Validate(ASK))), Unavailable)
        async with running.connected(parties.service("identity"), "registry") as validation:
            assert (await validation.Validate(ASK)).allowed
        assert running.servicer.requests == 1


async def test_a_client_certificate_does_not_serve_as_a_servers(parties: Parties) -> None:
    async with serving(parties, OPEN, tls=parties.operator()) as running:
        async with running.connected(parties.service("identity"), "operator") as validation:
            assert isinstance(translate(await refused(validation.Validate(ASK))), Unavailable)
        assert running.servicer.requests == 0


async def test_rules_that_say_nothing_are_mistakes(parties: Parties) -> None:
    for callers, role in ((set(), None), ({"*/identity"}, None), ({"operator"}, frozenset[str]())):
        with pytest.raises(ValueError, match="a rule"):
            Rule(frozenset(callers), role)
    with pytest.raises(ValueError, match="not served"):
        async with serving(parties, {**OPEN, f"{BATCH}s": OPEN[BATCH]}, servicer=Servicer()):
            pass
