"""A guard of another process and the issuer's own service agree on what a reference token is, and on its end."""

from services.token_issuer.events import ReferenceEndReason, ReferenceKind, ReferenceTokenRevoked
from services.token_issuer.references.texts import kind_of as issuers_kind_of
from services.token_issuer.references.texts import new_reference, text_of
from shared.rpc.client import channel
from stagedoor.grpc import GrpcFeed, GrpcOnline
from stagedoor.guard import Guard
from stagedoor.keys import StaticKeys
from stagedoor.reference import kind_of
from stagedoor.verdict import Allowed, Denied, Reason
from tests.integration.validation.serving import Serving
from tests.integration.validation.test_reference_tokens import issued
from tests.support.sdk_tokens import AUDIENCE, ISSUER
from tests.support.work import eventually


def test_both_sides_have_one_format() -> None:
    for kind in ReferenceKind:
        for text in (new_reference(kind), text_of(kind, 0), text_of(kind, 2**256 - 1)):
            assert issuers_kind_of(text) is kind
            assert kind_of(text.encode()) == kind.value


async def test_it_is_looked_up_once_and_refused_when_it_is_revoked(validation: Serving) -> None:
    token, event = await issued(validation)
    connection = channel(validation.address, validation.parties.resource("stagehands"), "token_issuer")
    online = GrpcOnline(connection)
    guard = Guard(
        issuer=ISSUER,
        audience=AUDIENCE,
        keys=StaticKeys([validation.key.public]),
        feed=GrpcFeed(connection, renew_seconds=0.5),
        online=online,
    )
    async with guard:
        await eventually(guard.ready)
        verdict = await guard.validate(token, scopes=["read"])
        assert isinstance(verdict, Allowed)
        assert (verdict.sub, verdict.jti) == ("freddie", event.jti)
        assert isinstance(guard.check(token), Allowed)
        unknown = await guard.validate(new_reference(ReferenceKind.PERSONAL))
        assert isinstance(unknown, Denied)
        assert unknown.reason is Reason.UNKNOWN_TOKEN

        ended = ReferenceTokenRevoked(
            jti=event.jti,
            client_id=event.client_id,
            sub=event.sub,
            reason=ReferenceEndReason.BY_OWNER,
            expires_at=event.expires_at,
        )
        await validation.facts.write(f"revocation-{event.jti}", ended)

        def refused() -> bool:
            found = guard.check(token)
            return isinstance(found, Denied) and found.reason is Reason.DENIED_TOKEN

        await eventually(refused)
    await online.close()
    await connection.close(None)
