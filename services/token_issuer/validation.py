"""`Validate` and `WatchDenials`: the answers that other services get about tokens (stagedoor.validation.v1).

A caller is known by its certificate, and learns only of tokens for audiences that name it as a caller. The verdict is
the SDK's own, over a view of denials that is read from the log, so a process that checks for itself and one that asks
get the same answer.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing

import msgspec

from services.token_issuer.audiences import AudienceCallers
from shared.denial_source import DenialSource
from shared.errors import Kind, Refusal
from shared.head import HeadReader, HeadReading
from shared.log.log import DenialSnapshot, Log, NumberedDenial
from shared.rpc.caller import Rule, current
from shared.rpc.guard import RpcContext
from shared.wake import Wake
from stagedoor import Denied, Guard
from stagedoor.clock import since_boot
from stagedoor.validation.v1 import validation_pb2 as messages
from stagedoor.verdict import TEMPORARY, Reason, Verdict

SERVICE = "stagedoor.validation.v1.Validation"
_RESOURCES = frozenset({"service/*", "resource/*"})
RULES: Mapping[str, Rule] = {
    **{
        f"{SERVICE}/{method}": Rule(_RESOURCES | {"operator"})
        for method in ("Validate", "ValidateBatch", "ValidateStream")
    },
    f"{SERVICE}/WatchDenials": Rule(_RESOURCES),
}
"""Whoever has a certificate may ask; about which audiences is the resource's settings to say."""

LARGEST_BATCH = 1000
_AT_ONCE = 50
"""Tokens of a batch after which others get their turn."""
_PAGE = 1000
"""Denials of one message of a snapshot."""

_LONGEST_LAG = 3600.0
"""Seconds: what is said of a view that nobody has vouched for yet."""


class ValidationService:
    """The servicer. `guard` has to be running over a `shared.log_feed.LogFeed`."""

    def __init__(
        self, guard: Guard, callers: AudienceCallers, log: Log, wake: Wake, heartbeat_seconds: float = 1.0
    ) -> None:
        self._guard = guard
        self._callers = callers
        self._source = DenialSource(log, wake, HeadReader(log), heartbeat_seconds)

    async def Validate(  # noqa: N802  (the name is the protocol's)
        self, request: messages.ValidateRequest, _: RpcContext
    ) -> messages.ValidateResponse:
        """The verdict on one token."""
        await self._admit((request,))
        return await self._judge(request)

    async def ValidateBatch(  # noqa: N802  (as above)
        self, request: messages.ValidateBatchRequest, _: RpcContext
    ) -> messages.ValidateBatchResponse:
        """The verdicts on up to `LARGEST_BATCH` tokens, in order."""
        return await self._batch(request)

    async def ValidateStream(  # noqa: N802  (as above)
        self, requests: AsyncIterator[messages.ValidateBatchRequest], _: RpcContext
    ) -> AsyncIterator[messages.ValidateBatchResponse]:
        """The same for one batch after another."""
        async for request in requests:
            yield await self._batch(request)

    async def WatchDenials(  # noqa: N802  (as above)
        self, request: messages.WatchDenialsRequest, _: RpcContext
    ) -> AsyncIterator[messages.WatchDenialsResponse]:
        """A snapshot where the caller needs one; then denials, and heartbeats that vouch for a head just read.

        The first heartbeat comes at once, so that a watch can also serve as a ping.
        """
        if request.after_number < 0 or request.epoch < 0:
            raise Refusal(Kind.INVALID, "invalid_argument", "numbers and epochs are not negative")
        follow = self._source.follow(request.after_number, request.epoch, snapshots=True)
        async with aclosing(follow) as source:
            async for told in source:
                if isinstance(told, HeadReading):
                    yield messages.WatchDenialsResponse(heartbeat=_heartbeat(told))
                elif isinstance(told, DenialSnapshot):
                    for page in _pages(told):
                        yield messages.WatchDenialsResponse(snapshot=page)
                else:
                    for denial in told:
                        yield messages.WatchDenialsResponse(denial=_denial(denial))

    async def _batch(self, request: messages.ValidateBatchRequest) -> messages.ValidateBatchResponse:
        if len(request.requests) > LARGEST_BATCH:
            raise Refusal(Kind.INVALID, "batch_too_large", f"a batch has at most {LARGEST_BATCH} tokens")
        await self._admit(request.requests)
        answer = messages.ValidateBatchResponse()
        for number, one in enumerate(request.requests, start=1):
            answer.responses.append(await self._judge(one))
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return answer

    async def _admit(self, requests: Iterable[messages.ValidateRequest]) -> None:
        """Refuse the whole call if any of its questions is none, or not this caller's to ask."""
        audiences = set()
        for request in requests:
            if not request.audience:
                raise Refusal(Kind.INVALID, "audience_missing", "a token is validated for an audience; name it")
            if request.minimum_position < 0:
                raise Refusal(Kind.INVALID, "invalid_argument", "a position is not negative")
            audiences.add(request.audience)
        caller = current.get().caller.name
        for audience in audiences:
            await self._callers.require(caller, audience)

    async def _judge(self, request: messages.ValidateRequest) -> messages.ValidateResponse:
        """At once where the view is enough; a token or a minimum position that is newer is waited for briefly."""
        token, audience, scopes = request.token, request.audience, tuple(request.scopes)
        least = request.minimum_position
        verdict: Verdict = self._guard.check(token, audience=audience, scopes=scopes, min_position=least)
        if isinstance(verdict, Denied) and (verdict.reason in TEMPORARY or verdict.reason is Reason.UNKNOWN_KEY):
            verdict = await self._guard.validate(token, audience=audience, scopes=scopes, min_position=least)
        view = self._guard.view
        lag = view.age(since_boot())
        answer = messages.ValidateResponse(
            allowed=not isinstance(verdict, Denied),
            position=view.position,
            lag_ms=int(min(lag, _LONGEST_LAG) * 1000),
        )
        if isinstance(verdict, Denied):
            answer.reason = verdict.reason
        elif request.with_claims:
            answer.claims = msgspec.json.encode(dict(verdict.claims)).decode()
        return answer


def _pages(snapshot: DenialSnapshot) -> Iterator[messages.Snapshot]:
    head, denials = snapshot.head, snapshot.denials
    for start in range(0, max(1, len(denials)), _PAGE):
        yield messages.Snapshot(
            position=head.position,
            number=head.denial_number,
            epoch=head.epoch,
            denials=map(_denial, denials[start : start + _PAGE]),
            complete=start + _PAGE >= len(denials),
            epochs=[messages.Epoch(epoch=epoch, first_position=first) for epoch, first in snapshot.epochs]
            if start == 0
            else [],
        )


def _denial(numbered: NumberedDenial) -> messages.Denial:
    denial = numbered.denial
    message = messages.Denial(
        number=numbered.number,
        position=numbered.position,
        epoch=numbered.epoch,
        kind=denial.kind.value,
        id=denial.id,
        rule=denial.rule.value,
        except_id=denial.except_id or "",
    )
    if denial.until is not None:
        message.until.FromDatetime(denial.until)
    return message


def _heartbeat(reading: HeadReading) -> messages.Heartbeat:
    head = reading.head
    message = messages.Heartbeat(position=head.position, number=head.denial_number, epoch=head.epoch)
    message.read_at.FromDatetime(reading.read_at)
    return message
