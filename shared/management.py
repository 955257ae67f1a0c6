"""Who may manage the system: a person whose token is for the management API, judged as any other resource would.

The management RPCs of all services are one resource, `{origin}/management`, with the one scope `sec`. The SDK's guard
checks the token here, against the pushed denials: a role that was removed, or a person who was disabled, counts from
that moment, not from the next sign-in.
"""

from shared.errors import Kind, Refusal, Unavailable
from shared.guards import GUARDS
from shared.http.operations import Check
from shared.messaging.access import NatsAccess
from shared.rpc.caller import Person
from shared.rpc.client import channel
from shared.rpc.tls import Tls
from shared.settings import ServiceSettings
from stagedoor import Denied, Guard
from stagedoor.grpc import GrpcOnline
from stagedoor.keys import HttpKeys
from stagedoor.verdict import TEMPORARY, Reason

SCOPE = "sec"


def audience(settings: ServiceSettings) -> str:
    """The identifier of the management API."""
    return f"{settings.origin}/management"


class Management:
    """Turns the token of a management call into the person behind it."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._began = False

    @classmethod
    def of(cls, settings: ServiceSettings, nats: NatsAccess, tls: Tls) -> "Management":
        """With denials over NATS, and questions to the token issuer where those are not enough."""
        guard = Guard(
            issuer=settings.issuer,
            audience=audience(settings),
            feed=nats.feed(settings.heartbeat_seconds),
            keys=HttpKeys(f"{settings.issuer}/connect/jwks", ca_file=settings.issuer_ca_file),
            online=GrpcOnline(channel(settings.token_issuer_address, tls, "token_issuer")),
            max_staleness=settings.max_staleness_seconds,
        )
        GUARDS.add(guard)
        return cls(guard)

    async def run(self) -> None:
        """Keep the guard current; a background task of the service."""
        await self._guard.run()

    def readiness(self) -> Check:
        """Whether tokens can be judged. Once they could, what is missing is asked of the issuer, so it stays ready."""
        current = self._guard.ready()
        self._began = self._began or current
        return Check(ok=self._began, detail="" if current else "denials or keys are not known; asking the issuer")

    async def authenticate(self, token: str) -> Person:
        """The person; refuses a token that is not accepted now, or is without the scope."""
        verdict = await self._guard.validate(token, scopes=(SCOPE,))
        if isinstance(verdict, Denied):
            raise _refusal(verdict)
        claims = verdict.claims
        return Person(
            sub=verdict.sub,
            client_id=verdict.client_id,
            roles=verdict.roles,
            scopes=verdict.scopes,
            jti=verdict.jti,
            position=claims["pos"],
            auth_time=claims.get("auth_time"),
        )


def _refusal(verdict: Denied) -> Refusal:
    if verdict.reason in TEMPORARY:
        return Unavailable(verdict.reason, verdict.description)
    if verdict.reason is Reason.INSUFFICIENT_SCOPE:
        return Refusal(Kind.FORBIDDEN, verdict.reason, verdict.description)
    return Refusal(Kind.UNAUTHENTICATED, verdict.reason, verdict.description)
