"""`Validate` and `WatchDenials`: the answers that other services get about tokens (stagedoor.validation.v1).

A caller is known by its certificate, and learns only of tokens for audiences that name it as a caller. The verdict is
the SDK's own, over a view of denials that is read from the log, so a process that checks for itself and one that asks
get the same answer.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from prometheus_client import Counter

from services.token_issuer.audiences import AudienceCallers
from services.token_issuer.references.checks import ReferenceChecks
from services.token_issuer.references.texts import looks_like_reference
from services.token_issuer.remembered import Remembered, questions_in
from shared.denial_source import DenialSource
from shared.errors import Kind, Refusal
from shared.head import HeadReader, HeadReading
from shared.log.log import DenialSnapshot, Log, NumberedDenial
from shared.rpc.caller import Rule, current
from shared.rpc.guard import RpcContext, strictly
from shared.tally import Tallies
from shared.wake import Wake
from stagedoor import Denied, Guard
from stagedoor.certificate import Certificate
from stagedoor.clock import since_boot
from stagedoor.dpop import Proof
from stagedoor.presented import Possession
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

RAW = frozenset({"Validate", "ValidateBatch", "ValidateStream"})
"""The methods that take and give bytes."""

_verdicts = Tallies("stagedoor_validation_verdicts", "Verdicts told to others.", ["reason"])
_allowed = _verdicts.labels("allowed")
_refused = Counter("stagedoor_validation_refused_total", "Calls refused because too much was being asked at once")

LARGEST_BATCH = 1000
QUESTIONS_AT_ONCE = 10_000
_AT_ONCE = 50
"""Tokens of a batch after which others get their turn."""
_PAGE = 1000
"""Denials of one message of a snapshot."""

_LONGEST_LAG = 3600.0
"""Seconds: what is said of a view that nobody has vouched for yet."""


class ValidationService:
    """The servicer. `guard` has to be running over a `shared.log_feed.LogFeed`."""

    def __init__(  # noqa: PLR0913  (what it is made of, and two settings)
        self,
        guard: Guard,
        callers: AudienceCallers,
        log: Log,
        wake: Wake,
        heartbeat_seconds: float = 1.0,
        *,
        references: ReferenceChecks,
        questions_at_once: int = QUESTIONS_AT_ONCE,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now`: the guard's clock. `questions_at_once`: how many tokens may be judged side by side."""
        self._guard = guard
        self._references = references
        self._callers = callers
        self._source = DenialSource(log, wake, HeadReader(log), heartbeat_seconds)
        self._now = now
        self._load = _Load(questions_at_once)
        self._remembered = Remembered(guard.view, since_boot)
        self._last = _Allowed(-1, -1, b"", b"")

    async def Validate(self, raw: bytes, _: RpcContext) -> bytes:  # noqa: N802  (the name is the protocol's)
        """The verdict on one token."""
        caller = current.get().caller.name
        if raw in self._remembered.of(caller):
            _allowed.count += 1
            return self._allowed().one
        request = strictly(messages.ValidateRequest.FromString, raw)
        with self._load.of(1):
            await self._admit(caller, (request,))
            return (await self._judge(caller, raw, request)).SerializeToString()

    async def ValidateBatch(self, raw: bytes, _: RpcContext) -> bytes:  # noqa: N802  (as above)
        """The verdicts on up to `LARGEST_BATCH` tokens, in order."""
        return await self._batch(current.get().caller.name, raw)

    async def ValidateStream(  # noqa: N802  (as above)
        self, requests: AsyncIterator[bytes], _: RpcContext
    ) -> AsyncIterator[bytes]:
        """The same for one batch after another."""
        caller = current.get().caller.name
        async for raw in requests:
            yield await self._batch(caller, raw)

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

    async def _batch(self, caller: str, raw: bytes) -> bytes:
        questions = questions_in(raw)
        if (
            questions is not None
            and len(questions) <= LARGEST_BATCH
            and self._remembered.of(caller).issuperset(questions)
        ):
            _allowed.count += len(questions)
            return self._allowed().repeated * len(questions)
        request = strictly(messages.ValidateBatchRequest.FromString, raw)
        if len(request.requests) > LARGEST_BATCH:
            raise Refusal(Kind.INVALID, "batch_too_large", f"a batch has at most {LARGEST_BATCH} tokens")
        if questions is None or len(questions) != len(request.requests):
            questions = [one.SerializeToString() for one in request.requests]
        with self._load.of(len(questions)):
            await self._admit(caller, request.requests)
            answers = []
            for number, (question, one) in enumerate(zip(questions, request.requests, strict=True), start=1):
                if question in self._remembered.of(caller):
                    _allowed.count += 1
                    answers.append(self._allowed().repeated)
                else:
                    answers.append(_repeated((await self._judge(caller, question, one)).SerializeToString()))
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
        return b"".join(answers)

    async def _admit(self, caller: str, requests: Iterable[messages.ValidateRequest]) -> None:
        """Refuse the whole call if any of its questions is none, or not this caller's to ask."""
        audiences = set()
        for request in requests:
            if not request.audience:
                raise Refusal(Kind.INVALID, "audience_missing", "a token is validated for an audience; name it")
            if request.minimum_position < 0:
                raise Refusal(Kind.INVALID, "invalid_argument", "a position is not negative")
            audiences.add(request.audience)
        for audience in audiences:
            await self._callers.require(caller, audience)

    async def _judge(
        self, caller: str, question: bytes, request: messages.ValidateRequest
    ) -> messages.ValidateResponse:
        """At once where the view is enough; a token or a minimum position that is newer is waited for briefly."""
        token, audience, scopes = request.token, request.audience, tuple(request.scopes)
        least, stand = request.minimum_position, self._remembered.stand
        proof = _possession(request.proof)
        if looks_like_reference(token):
            if isinstance(proof, Proof):
                return self._refuse(Reason.PROOF_MISMATCH)
            judged = await self._references.judge(token, audience=audience, scopes=scopes, min_position=least)
            _verdicts.labels(judged.reason or "allowed").add()
            return self._answer(judged.reason, judged.claims if request.with_claims else None)
        guard = self._guard
        verdict: Verdict = guard.check(token, audience=audience, scopes=scopes, min_position=least, proof=proof)
        if isinstance(verdict, Denied) and (verdict.reason in TEMPORARY or verdict.reason is Reason.UNKNOWN_KEY):
            verdict = await guard.validate(token, audience=audience, scopes=scopes, min_position=least, proof=proof)
        elif not (isinstance(verdict, Denied) or request.with_claims or request.HasField("proof")):
            self._remembered.add(caller, question, stand, verdict.claims["exp"] - self._now())
        if isinstance(verdict, Denied):
            return self._refuse(verdict.reason)
        _allowed.count += 1
        return self._answer("", verdict.claims if request.with_claims else None)

    def _refuse(self, reason: Reason) -> messages.ValidateResponse:
        _verdicts.labels(reason.value).add()
        return self._answer(reason)

    def _answer(self, reason: str, claims: Mapping[str, Any] | None = None) -> messages.ValidateResponse:
        """A verdict, as of the view that there is now; without a reason it is allowed, and then claims may be told."""
        view = self._guard.view
        lag_ms = int(min(view.age(since_boot()), _LONGEST_LAG) * 1000)
        answer = messages.ValidateResponse(allowed=not reason, reason=reason, position=view.position, lag_ms=lag_ms)
        if claims is not None and not reason:
            answer.claims = msgspec.json.encode(dict(claims)).decode()
        return answer

    def _allowed(self) -> "_Allowed":
        """The answer to what is remembered as allowed."""
        view = self._guard.view
        lag_ms = int(min(view.age(since_boot()), _LONGEST_LAG) * 1000)
        last = self._last
        if last.position != view.position or last.lag_ms != lag_ms:
            one = self._answer("").SerializeToString()
            self._last = last = _Allowed(view.position, lag_ms, one, _repeated(one))
        return last


@dataclass(frozen=True, slots=True)
class _Allowed:
    """A verdict without a reason and without claims, as it goes over the wire."""

    position: int
    lag_ms: int
    one: bytes
    """A `ValidateResponse`."""
    repeated: bytes
    """One of those in a `ValidateBatchResponse`."""


def _possession(shown: messages.Proof) -> Possession | None:
    """Without a proof or a certificate it was presented as Bearer, whatever else is said of the request."""
    if shown.dpop:
        return Proof(shown.method, shown.uri, shown.dpop)
    return Certificate(shown.client_certificate) if shown.client_certificate else None


def _repeated(response: bytes) -> bytes:
    """A verdict as one of many in a `ValidateBatchResponse`: messages of one field that follow each other are one."""
    size = len(response)
    return b"\x0a" + (bytes((size,)) if size < 0x80 else _varint(size)) + response


def _varint(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


class _Load:
    """How many questions are being answered; one too many is refused at once, instead of waiting for its turn."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way = 0

    @contextmanager
    def of(self, questions: int) -> Iterator[None]:
        """While so many more are answered."""
        if self._under_way and self._under_way + questions > self._most:
            _refused.inc()
            raise Refusal(Kind.EXHAUSTED, "too_many_questions", "too much is being asked at once; try again")
        self._under_way += questions
        try:
            yield
        finally:
            self._under_way -= questions


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
    message.recorded_at.FromDatetime(numbered.recorded_at)
    if denial.until is not None:
        message.until.FromDatetime(denial.until)
    return message


def _heartbeat(reading: HeadReading) -> messages.Heartbeat:
    head = reading.head
    message = messages.Heartbeat(position=head.position, number=head.denial_number, epoch=head.epoch)
    message.read_at.FromDatetime(reading.read_at)
    return message
