"""Questions about the past over gRPC: what something was, and whether a token was accepted. Part of `LedgerService`.

What a service's facts come to is that service's to say (`shared.history`); this reads them, and knows no service.
"""

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace

from protos.stagedoor.ledger.v1 import ledger_pb2 as messages
from services.ledger.events import Question
from services.ledger.past import Moment, Past, check_id
from services.ledger.permission import QUIET_SECONDS, Permission
from services.ledger.verdicts import Verdict, judge, met_by
from shared.denials import LONGEST_ACCESS_TOKEN, DenialKind
from shared.errors import Kind, Refusal
from shared.history import History, IssuedToken, Thing, Tokens
from shared.log.event import Recorded
from shared.log.row import EventFilter
from shared.rpc.guard import RpcContext
from stagedoor.verdict import DESCRIPTIONS, Reason

TOKEN: Final = "token"
"""What tokens are called in questions; they are told of by what issued them, and by the verdict."""
_SLACK: Final = timedelta(minutes=5)
"""Beyond the longest life of an access token: so far back one is looked for."""
_PRUNED: Final = "the log does not have all facts about it any more"

Found = IssuedToken | None | bool
"""A token; None: there is none; False: there may have been one, and the log cannot tell any more."""


class Histories:
    """What all services tell of the past."""

    def __init__(self, histories: Sequence[History]) -> None:
        self.things: Mapping[str, Thing[Any]] = {thing.kind: thing for one in histories for thing in one.things}
        self._denied_in = {kind: streams for one in histories for kind, streams in one.denied_in.items()}
        (self.tokens,) = (one.tokens for one in histories if one.tokens is not None)

    def denying(self, kind: DenialKind, denied: str) -> set[str]:
        """The streams whose facts can deny this."""
        return {stream(denied) for stream in self._denied_in[kind]}


class LookingBack:
    """The methods that tell of single things."""

    def __init__(self, past: Past, histories: Histories, permission: Permission) -> None:
        self._past = past
        self._histories = histories
        self._permission = permission

    async def AsOf(  # noqa: N802  (the name is the protocol's, as is the other)
        self, request: messages.AsOfRequest, context: RpcContext
    ) -> AsyncIterator[messages.AsOfResponse]:
        """What something was at a moment."""
        thing = self._histories.things.get(request.kind)
        if thing is None and request.kind != TOKEN:
            kinds = ", ".join([*self._histories.things, TOKEN])
            raise Refusal(Kind.INVALID, "invalid_argument", f"what is told of is one of: {kinds}")
        check_id(request.id, f"the id of the {request.kind}")
        about = {"kind": request.kind, "id": request.id}
        if thing is None:
            search = _Search(self, context, request.id, request.issued_position)
            moment = await self._past.ask(Question.AS_OF, request.moment, about)
            async for looked in search.run(moment):
                yield messages.AsOfResponse(looked_back_to=looked)
            yield messages.AsOfResponse(state=await self._token(search.found, moment))
            return
        moment = await self._past.ask(Question.AS_OF, request.moment, about)
        yield messages.AsOfResponse(state=await self._state(thing, request.id, moment))

    async def Explain(  # noqa: N802
        self, request: messages.ExplainRequest, context: RpcContext
    ) -> AsyncIterator[messages.ExplainResponse]:
        """Whether a token was accepted at a moment, and why."""
        check_id(request.jti, "the id of the token")
        if request.kid:
            check_id(request.kid, "the id of the key")
        search = _Search(self, context, request.jti, request.issued_position)
        moment = await self._past.ask(Question.EXPLANATION, request.moment, {"jti": request.jti, "kid": request.kid})
        async for looked in search.run(moment):
            yield messages.ExplainResponse(looked_back_to=looked)
        yield messages.ExplainResponse(explanation=await self._explained(search.found, moment, request.kid))

    async def _state(self, thing: Thing[Any], thing_id: str, moment: Moment) -> messages.State:
        told = await self._past.stream(thing.stream(thing_id), moment)
        answer = messages.State(knowledge="none", then=then(moment))
        if not told.whole:
            answer.knowledge = "pruned"
            return answer
        facts = [recorded.event for recorded in told.then]
        state = thing.tell(thing_id, facts, [recorded.event for recorded in told.since], moment.at)
        if state is not None:
            answer.knowledge, answer.data = "known", as_json(state)
            # Of several things in one stream it is the last fact that made a difference to this one.
            changed = len(facts)
            while changed > 1 and thing.tell(thing_id, facts[: changed - 1], (), moment.at) == thing.tell(
                thing_id, facts[:changed], (), moment.at
            ):
                changed -= 1
            answer.changed.CopyFrom(fact(told.then[changed - 1], ""))
        return answer

    async def _token(self, found: Found, moment: Moment) -> messages.State:
        answer = messages.State(knowledge="none", then=then(moment))
        if found is False:
            answer.knowledge = "pruned"
        elif isinstance(found, IssuedToken) and found.position <= moment.position:
            token = await self._signed(found, "")
            verdict = await self._judged(token, moment)
            answer.knowledge, answer.data = "known", as_json({**_plain(token), **_in_short(verdict)})
            last = next((one.recorded for one in reversed(verdict.causes) if one.decides), None)
            if last is not None:
                answer.changed.CopyFrom(fact(last, ""))
        return answer

    async def _explained(self, found: Found, moment: Moment, kid: str) -> messages.Explanation:
        answer = messages.Explanation(then=then(moment))
        if found is False:
            answer.verdict, answer.description = "pruned", _PRUNED
            return answer
        if not isinstance(found, IssuedToken):
            answer.verdict, answer.reason = "refused", "unknown_token"
            answer.description = "no token with this id was issued in the time in which it could be alive"
            return answer
        token = await self._signed(found, kid)
        answer.token.CopyFrom(_issued(token))
        if token.position > moment.position:
            answer.verdict, answer.reason = "refused", "not_issued"
            answer.description = "the token was issued later"
            return answer
        if kid and not token.reference and not await self._knows(kid, moment):
            answer.verdict, answer.reason = "refused", Reason.UNKNOWN_KEY.value
            answer.description = DESCRIPTIONS[Reason.UNKNOWN_KEY]
            return answer
        verdict = await self._judged(token, moment)
        answer.verdict = "accepted" if verdict.accepted else "refused"
        answer.reason, answer.description = verdict.reason, verdict.description
        row = await self._past.at(token.position)
        if row is not None:
            issued = messages.Fact(position=row.position, type=row.type, actor=row.actor, what="issues the token")
            issued.recorded_at.FromDatetime(row.recorded_at)
            answer.facts.append(issued)
        answer.facts.extend(fact(one.recorded, one.what, decides=one.decides) for one in verdict.causes)
        answer.facts.sort(key=lambda one: one.position)
        return answer

    async def find(self, jti: str, position: int) -> tuple[bool, Found]:
        """The token, where it can be found at once: whether it is known now, and what is known."""
        tokens = self._histories.tokens
        for stream in tokens.streams:
            told = await self._past.stream(stream(jti), _EVER)
            token = tokens.issued(told.then, jti)
            if token is not None:
                return True, token
        if not position:
            return False, None
        row = await self._past.at(position)
        if row is None and position < await self._past.pruned_before():
            return True, False
        if row is None:
            raise Refusal(Kind.INVALID, "not_reached", "the log has not come to the position of the token")
        found = await self.issued_in(row.stream, jti)
        if found is None:
            raise Refusal(Kind.INVALID, "not_issued_there", "the event at that position did not issue this token")
        return True, found

    async def issued_in(self, stream: str, jti: str) -> Found:
        """The token that a stream issued."""
        told = await self._past.stream(stream, _EVER)
        found = self._histories.tokens.issued(told.then, jti)
        return found if found is not None or told.whole else False

    @property
    def past(self) -> Past:
        """What is looked back at."""
        return self._past

    @property
    def tokens(self) -> Tokens:
        """How tokens are found."""
        return self._histories.tokens

    @property
    def permission(self) -> Permission:
        """Whether whoever asks still may."""
        return self._permission

    async def _signed(self, token: IssuedToken, kid: str) -> IssuedToken:
        """The token with the key that signed it: the one that is stated, else the one that signed at that position."""
        if token.reference:
            return token
        tokens = self._histories.tokens
        told = await self._past.stream(tokens.keys, Moment(token.position, token.issued_at))
        return replace(token, key=kid or tokens.signer(recorded.event for recorded in told.then))

    async def _knows(self, kid: str, moment: Moment) -> bool:
        """Whether there was such a key."""
        told = await self._past.stream(self._histories.tokens.keys, moment)
        return kid in self._histories.tokens.known_keys(recorded.event for recorded in told.then)

    async def _judged(self, token: IssuedToken, moment: Moment) -> Verdict:
        streams = {name for kind, denied in met_by(token) for name in self._histories.denying(kind, denied)}
        denying: list[Recorded] = []
        for name in sorted(streams):
            denying.extend((await self._past.stream(name, moment)).then)
        return judge(token, denying, moment.at)


class _Search:
    """Looks for the event that issued a token."""

    def __init__(self, back: LookingBack, context: RpcContext, jti: str, position: int) -> None:
        if position < 0:
            raise Refusal(Kind.INVALID, "invalid_argument", "a position is not negative")
        self._back = back
        self._context = context
        self._jti = jti
        self._position = position
        self.found: Found = None

    async def run(self, moment: Moment) -> AsyncIterator[int]:
        """Look at once where it may be, else through all that was issued in the longest life of an access token.

        What was issued before that had ended, whatever it was. Yields now and then how far it has come.
        """
        known, self.found = await self._back.find(self._jti, self._position)
        if known:
            return
        past, tokens = self._back.past, self._back.tokens
        still_allowed = self._back.permission.watch(self._context)
        after = await past.since(moment.at - LONGEST_ACCESS_TOKEN - _SLACK)
        wanted = EventFilter(types=tokens.types, jtis=(self._jti,))
        said = time.monotonic()
        async for looked, rows in past.backwards(moment.position, after, wanted):
            for row in rows:
                self.found = await self._back.issued_in(row.stream, self._jti)
                if self.found is not None:
                    return
            await still_allowed()
            if time.monotonic() - said >= QUIET_SECONDS:
                yield looked
                said = time.monotonic()
        if after + 1 < await past.pruned_before():
            self.found = False


_EVER: Final = Moment(2**63 - 1, datetime.max.replace(tzinfo=UTC))


def then(moment: Moment) -> messages.Then:
    """A moment as it is answered."""
    answer = messages.Then(position=moment.position)
    answer.time.FromDatetime(moment.at)
    return answer


def fact(recorded: Recorded, what: str, *, decides: bool = False) -> messages.Fact:
    """A fact as it is answered."""
    answer = messages.Fact(type=recorded.event.stored_as, actor=recorded.actor, what=what, decides=decides)
    if isinstance(recorded.position, int) and isinstance(recorded.recorded_at, datetime):
        answer.position = recorded.position
        answer.recorded_at.FromDatetime(recorded.recorded_at)
    return answer


def as_json(value: object) -> str:
    """As answers have it: moments in RFC 3339, in UTC."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_moment)


def _moment(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} is nothing that is told of the past")
    return value.isoformat().replace("+00:00", "Z")


def _plain(token: IssuedToken) -> dict[str, object]:
    return {
        "jti": token.jti,
        "kind": token.kind,
        "client_id": token.client_id,
        "sub": token.sub,
        "sid": token.sid,
        "gid": token.gid,
        "scopes": token.scopes,
        "audiences": token.audiences,
        "issued_at": token.issued_at,
        "expires_at": token.expires_at,
        "position": token.position,
        "kid": token.key,
        "actors": token.actors,
        "derived_from": token.derived_from,
    }


def _in_short(verdict: Verdict) -> dict[str, object]:
    return {"accepted": verdict.accepted, "reason": verdict.reason or None}


def _issued(token: IssuedToken) -> messages.IssuedToken:
    answer = messages.IssuedToken(
        jti=token.jti,
        kind=token.kind,
        client_id=token.client_id,
        sub=token.sub,
        sid=token.sid or "",
        gid=token.gid or "",
        scopes=token.scopes,
        audiences=token.audiences,
        position=token.position,
        kid=token.key or "",
        actors=token.actors,
        derived_from=token.derived_from,
    )
    answer.issued_at.FromDatetime(token.issued_at)
    answer.expires_at.FromDatetime(token.expires_at)
    return answer
