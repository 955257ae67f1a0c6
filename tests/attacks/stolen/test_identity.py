"""What a stolen identity service cannot do: one test for each line of the table in docs/security.md."""

import tomllib
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from cryptography.fernet import Fernet
from google.protobuf.timestamp_pb2 import Timestamp

from infra.local.sign_in import CodeFlow
from infra.local.system import System
from protos.stagedoor.registry.v1 import installation_pb2, registry_pb2
from protos.stagedoor.registry.v1.installation_pb2_grpc import InstallationStub
from protos.stagedoor.registry.v1.registry_pb2_grpc import RegistryStub
from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import AuthorizationStub
from services.identity.events import UserKind
from services.registry.events import SecretAdded
from shared.ids import digest
from tests.support.doors import HUB, Doors, parts
from tests.support.issuing import Stage, query
from tests.support.stolen import Thief, refusal, stolen

SPA = "com.roadie/spa"


@pytest.fixture
async def thief(system: System) -> AsyncIterator[Thief]:
    async with stolen(system, "identity") as one:
        yield one


class Session:
    """A real session of Freddie's; the thief could as well make one."""

    def __init__(self, doors: Doors, sid: str, sub: str, auth_time: int) -> None:
        self.doors = doors
        self.sid = sid
        self.sub = sub
        self.auth_time = datetime.fromtimestamp(auth_time, UTC)

    def request(self, sealed: str, *scopes: str) -> pb.IssueCodeRequest:
        """That Freddie agrees."""
        at = Timestamp()
        at.FromDatetime(self.auth_time)
        return pb.IssueCodeRequest(
            sealed_request=sealed, sid=self.sid, sub=self.sub, auth_time=at, amr=["pwd"], consented_scopes=scopes
        )


@pytest.fixture
def session(doors: Doors) -> Session:
    said = parts(doors.honest.access_token)[1]
    return Session(doors, said["sid"], said["sub"], said["auth_time"])


@pytest.fixture
def issuer(thief: Thief) -> Any:
    return AuthorizationStub(thief.channel("token_issuer"))


async def begun(issuer: Any, flow: CodeFlow) -> pb.Proceed:
    """What an application's request becomes, in the hands of the thief."""
    pairs = [pb.Parameter(name=name, value=value) for name, value in parse_qsl(urlsplit(flow.address).query)]
    answer = await issuer.BeginAuthorization(pb.BeginAuthorizationRequest(parameters=pairs), timeout=10)
    assert answer.WhichOneof("outcome") == "proceed", answer
    proceed: pb.Proceed = answer.proceed
    return proceed


def code_of(answer: pb.IssueCodeResponse) -> str:
    return parse_qs(urlsplit(answer.redirect).query)["code"][0]


async def test_it_mints_no_token_for_a_service(thief: Thief, doors: Doors, issuer: Any) -> None:
    """There is no way from a page to a token of an application's own."""
    await thief.appends_nothing_of("token_issuer")
    await thief.changes_nothing_of("token_issuer")
    await thief.calls_nothing_of("token_issuer", "Tokens")
    own = doors.application("com.merchsync/service")
    assert own["grants"] == ["client_credentials"]
    for redirect_uri in ("http://localhost:8480/callback", "http://127.0.0.1/", ""):
        flow = CodeFlow(doors.issuer, own["client_id"], redirect_uri, "read")
        pairs = [pb.Parameter(name=name, value=value) for name, value in parse_qsl(urlsplit(flow.address).query)]
        answer = await issuer.BeginAuthorization(pb.BeginAuthorizationRequest(parameters=pairs), timeout=10)
        assert answer.WhichOneof("outcome") == "refused"


async def test_nor_one_for_a_service_account(stage: Stage) -> None:
    """Whatever session it makes up for it."""
    hub = await stage.register(resources=True)
    account, position = await stage.sign_in(await stage.user(UserKind.SERVICE))
    sent = await stage.issue(await stage.begin(hub), account, position)
    assert query(sent.redirect.uri)["error"] == "access_denied"
    assert sent.position == 0


async def test_it_changes_nothing_of_a_request(doors: Doors, issuer: Any, session: Session, thief: Thief) -> None:
    """Client, redirect URI, challenge and scope are sealed by the issuer."""
    flow = doors.flow("openid read")
    sealed = (await begun(issuer, flow)).sealed_request
    other = (await begun(issuer, doors.flow("openid read update"))).sealed_request
    own = Fernet(urlsafe_b64encode(thief.master_key().derive("authorization-request")))
    half = len(sealed) // 2
    changed = [sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :] for at in range(0, len(sealed), 37)]
    changed += [sealed[:half] + other[half:], sealed[:-4], "", own.encrypt(b"{}").decode()]
    for forged in changed:
        told = await refusal(issuer.IssueCode(session.request(forged, "openid", "read"), timeout=10))
        assert told.code == "invalid_request", forged
    for more in (("openid", "read", "update"), ("sec",), ("openid", "read", "offline_access")):
        told = await refusal(issuer.IssueCode(session.request(sealed, *more), timeout=10))
        assert told.code == "invalid_request", more
    # As it is, it leads where the application wanted it, with what it asked for.
    answer = await issuer.IssueCode(session.request(sealed, "openid", "read"), timeout=10)
    assert answer.redirect.startswith(f"{flow.redirect_uri}?")


async def test_it_has_nothing_signed_but_userinfo_for_a_token_that_it_shows(
    doors: Doors, issuer: Any, session: Session
) -> None:
    honest = doors.honest
    told = f'{{"sub":"{session.sub}"}}'
    for token, claims in (
        ("", told),
        (honest.id_token, told),
        (honest.access_token[:-8] + "AAAAAAAA", told),
        (honest.access_token, '{"sub":"somebody-else"}'),
        (honest.access_token, f'{{"sub":"{session.sub}","exp":2147483647,"nonce":"n"}}'),
    ):
        request = pb.SignUserinfoRequest(access_token=token, claims=claims)
        assert (await refusal(issuer.SignUserinfo(request, timeout=10))).code in ("invalid_request", "not_signed")
    plain = pb.SignUserinfoRequest(access_token=honest.access_token, claims=told)
    assert (await refusal(issuer.SignUserinfo(plain, timeout=10))).code == "not_signed"


async def test_it_redeems_no_code_that_an_application_asked_for(doors: Doors, issuer: Any, session: Session) -> None:
    """It sees the code; it has neither the verifier nor the secret."""
    spa = doors.application(SPA)
    public = CodeFlow(doors.issuer, SPA, spa["redirect_uris"][0], "openid read")
    for flow in (doors.flow("openid read"), public):
        sealed = (await begun(issuer, flow)).sealed_request
        code = code_of(await issuer.IssueCode(session.request(sealed, "openid", "read"), timeout=10))
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": flow.redirect_uri}
        for more in ({}, {"code_verifier": "a" * 43}, {"code_verifier": flow.verifier[::-1]}):
            answer = await doors.http.post(
                f"{doors.issuer}/connect/token", data={**form, **more, "client_id": flow.client_id}
            )
            expected = "invalid_grant" if flow is public else "invalid_client"
            assert answer.json()["error"] == expected
        # The owner has both.
        secret = None if flow is public else doors.application(HUB)["client_secret"]
        assert "access_token" in await flow.redeem(code, client_secret=secret)


async def test_it_manages_nothing_with_a_token_that_it_has_seen(thief: Thief, system: System) -> None:
    """An administrator's own tokens pass through it, at userinfo for one. Only those of its pages are taken."""
    told = tomllib.loads((system.home.path / "profile.toml").read_text())
    shown = (("authorization", f"Bearer {told['access_token']}"),)
    registry: Any = RegistryStub(thief.channel("registry"))
    installation: Any = InstallationStub(thief.channel("registry"))
    for asking in (
        registry.RegisterApplication(registry_pb2.RegisterApplicationRequest(client_id="com.evil/app"), metadata=shown),
        registry.UninstallApplication(registry_pb2.UninstallApplicationRequest(client_id=HUB), metadata=shown),
        registry.ListApplications(registry_pb2.ListApplicationsRequest(), metadata=shown),
    ):
        assert (await refusal(asking)).code == "caller_not_allowed"
    for asking in (
        installation.ReadDocument(installation_pb2.ReadDocumentRequest(document="https://x.example/"), metadata=shown),
        installation.Install(installation_pb2.InstallRequest(document="https://x.example/"), metadata=shown),
        installation.ReadInstalled(installation_pb2.ReadInstalledRequest(client_id=HUB), metadata=shown),
        installation.Uninstall(installation_pb2.UninstallRequest(client_id=HUB), metadata=shown),
    ):
        assert (await refusal(asking)).code == "token_not_of_the_pages"


async def test_it_reads_no_client_secret(thief: Thief, doors: Doors) -> None:
    """It hears which secrets there are, as digests, and those do not serve as secrets."""
    database = await thief.database()
    for table in ("registry.secrets", "registry.applications", "token_issuer.secrets", "token_issuer.applications"):
        with pytest.raises(Exception, match="permission denied"):
            await database.fetch(f"SELECT * FROM {table}")  # noqa: S608  (a constant)
    facts = [one.event for one in await (await thief.log()).read(0, sources=("registry",), limit=1000)]
    digests = {one.secret_digest for one in facts if isinstance(one, SecretAdded)}
    secret = doors.application(HUB)["client_secret"]
    assert digest(secret) in digests
    assert all(secret not in repr(fact) for fact in facts)
    form = {"grant_type": "client_credentials", "client_id": HUB}
    for shown in digests:
        answer = await doors.http.post(f"{doors.issuer}/connect/token", data=form | {"client_secret": shown})
        assert answer.json()["error"] == "invalid_client"
    await thief.calls_nothing_of("registry", token=doors.honest.management)
