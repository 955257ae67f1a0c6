"""Questions to the issuer over gRPC, those of many callers on one stream.

What is asked while a batch is under way makes up the next batch, so nobody waits for a timer: one caller alone is
answered after one round trip, a thousand callers after two.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

import grpc
from grpc import aio

from stagedoor.certificate import Certificate
from stagedoor.clock import since_boot
from stagedoor.feed import Answer, OnlineError
from stagedoor.presented import Possession
from stagedoor.validation.v1 import validation_pb2 as messages
from stagedoor.validation.v1.validation_pb2_grpc import ValidationStub

_log = logging.getLogger("stagedoor.online")

_BATCH = 1000
"""Questions that the issuer takes at once."""
_BATCH_BYTES = 1024 * 1024
"""Of tokens and proofs in a batch; a message may have four times that."""
_MOST = 100_000
"""Questions that may wait; more are refused at once."""
_FINAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""Answers that would be the same again, or that asking again makes worse."""

_Stream = aio.StreamStreamCall[messages.ValidateBatchRequest, messages.ValidateBatchResponse]


@dataclass(slots=True, eq=False)
class _Question:
    request: messages.ValidateRequest
    answer: asyncio.Future[Answer]
    deadline: float
    """On the boot clock."""
    tried: bool = False


class GrpcOnline:
    """An `Online` over `ValidateStream`.

    It belongs to one event loop. The stream is opened with the first question and again whenever it has ended; a
    question that was on a stream which ended is asked once more.
    """

    def __init__(self, channel: aio.Channel, *, timeout: float = 2.0) -> None:
        """`timeout`: seconds that a question may take, waiting included."""
        self._stub = ValidationStub(channel)
        self._timeout = timeout
        self._waiting: deque[_Question] = deque()
        self._asking: asyncio.Task[None] | None = None
        self._stream: _Stream | None = None

    async def validate(  # noqa: PLR0913  (the parts of a question)
        self,
        token: str,
        *,
        audience: str,
        scopes: Collection[str],
        min_position: int,
        with_claims: bool = False,
        proof: Possession | None = None,
    ) -> Answer:
        """Ask about one token. Raises `OnlineError`, whatever the question failed of."""
        if len(self._waiting) >= _MOST:
            raise OnlineError("too many questions wait already")
        request = messages.ValidateRequest(
            token=token,
            audience=audience,
            scopes=sorted(scopes),
            minimum_position=max(0, min_position),
            with_claims=with_claims,
        )
        if isinstance(proof, Certificate):
            request.proof.client_certificate = proof.der
        elif proof is not None:
            request.proof.CopyFrom(messages.Proof(method=proof.method, uri=proof.uri, dpop=proof.dpop))
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Question(request, answer, since_boot() + self._timeout))
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="stagedoor questions")
        try:
            async with asyncio.timeout(self._timeout):
                return await answer
        except TimeoutError:
            raise OnlineError("the issuer does not answer in time") from None

    async def close(self) -> None:
        """End the stream; who still waits is told that it failed. The channel stays the caller's."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        self._end_stream()
        _fail(self._waiting, "no more questions are asked")
        self._waiting.clear()

    async def _ask(self) -> None:
        """Batch after batch, for as long as somebody waits."""
        while batch := self._next_batch():
            try:
                answers = await self._exchange(batch)
            except (aio.AioRpcError, asyncio.InvalidStateError, TimeoutError, EOFError) as failure:
                self._end_stream()
                self._ask_again(batch, failure)
            except BaseException:
                self._end_stream()
                _fail((*batch, *self._waiting), "the question was given up")
                raise
            else:
                for question, answer in zip(batch, answers, strict=True):
                    if not question.answer.done():
                        question.answer.set_result(
                            Answer(answer.allowed, answer.reason, answer.position, answer.claims)
                        )

    def _next_batch(self) -> list[_Question]:
        """The questions that somebody still waits for, in order; all for one audience.

        The issuer refuses a batch as a whole if one of its questions is not the caller's to ask.
        """
        batch: list[_Question] = []
        others: list[_Question] = []
        size = 0
        while self._waiting and len(batch) < _BATCH and size < _BATCH_BYTES:
            question = self._waiting.popleft()
            if question.answer.done():
                continue
            if batch and question.request.audience != batch[0].request.audience:
                others.append(question)
                continue
            batch.append(question)
            size += len(question.request.token) + question.request.proof.ByteSize()
        self._waiting.extendleft(reversed(others))
        return batch

    async def _exchange(self, batch: list[_Question]) -> Collection[messages.ValidateResponse]:
        if self._stream is None:
            # No deadline for the stream as a whole: it stays open for the questions to come.
            self._stream = self._stub.ValidateStream()  # type: ignore[call-arg]  # without one it is written to
        stream = self._stream
        async with asyncio.timeout(max(0.0, max(question.deadline for question in batch) - since_boot())):
            await stream.write(messages.ValidateBatchRequest(requests=[question.request for question in batch]))
            answer = await stream.read()
        if not isinstance(answer, messages.ValidateBatchResponse) or len(answer.responses) != len(batch):
            raise EOFError("the stream has ended")
        return answer.responses

    def _ask_again(self, batch: list[_Question], failure: Exception) -> None:
        code = failure.code() if isinstance(failure, aio.AioRpcError) else None
        words = f"the issuer answers {code.name}" if code is not None else str(failure) or "the issuer does not answer"
        again = [question for question in batch if not question.tried and code not in _FINAL]
        _fail([question for question in batch if question.tried or code in _FINAL], words)
        if again:
            _log.debug("questions are asked once more: %s", words)
        for question in again:
            question.tried = True
        self._waiting.extendleft(reversed(again))

    def _end_stream(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None


def _fail(questions: Collection[_Question], words: str) -> None:
    for question in questions:
        if not question.answer.done():
            question.answer.set_exception(OnlineError(words))
