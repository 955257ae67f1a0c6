"""Tokens at a gRPC server: an interceptor for `grpc.aio`, and one for servers with threads.

    server = aio.server(interceptors=[GuardInterceptor(guard, scopes={"/tickets.Tickets/Change": ["update"]})])

    async def change(request, context):
        who = allowed()        # the verdict on the call's token: who, through what

The token comes in the metadata `authorization: Bearer`, or as `x-api-key` if it is a reference token, once. One that is
bound to a key comes as `authorization: DPoP` with its proof in the metadata `dpop` (RFC 9449): for the method POST, and
the address that the call has as a request of HTTP/2: `public_url`, then a slash, the service, a slash and the method.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextvars import ContextVar
from typing import Any

import grpc
from grpc import aio

from stagedoor.dpop import Proof
from stagedoor.guard import Guard
from stagedoor.presented import Presented
from stagedoor.reference import PREFIXES
from stagedoor.thread import GuardThread
from stagedoor.verdict import Allowed, Denied, Reason, Verdict

_KEYS = tuple(prefix.decode() for prefix in PREFIXES)
_current: ContextVar[Allowed] = ContextVar("stagedoor_allowed")


def allowed() -> Allowed:
    """The verdict on the token of the call that is being answered. Raises `LookupError` for an open method."""
    return _current.get()


class _Refused(Exception):  # noqa: N818  (it is an answer)
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class _Rules:
    """Which methods need what."""

    def __init__(
        self, scopes: Mapping[str, Collection[str]], open_methods: Collection[str], public_url: str | None
    ) -> None:
        self._public = None if public_url is None else public_url.rstrip("/")
        self._scopes = {method: tuple(needed) for method, needed in scopes.items()}
        self._open = frozenset(open_methods)

    def open(self, call: grpc.HandlerCallDetails) -> bool:
        return call.method in self._open

    def scopes(self, call: grpc.HandlerCallDetails) -> tuple[str, ...]:
        return self._scopes.get(str(call.method), ())

    def presented(self, call: grpc.HandlerCallDetails) -> Presented:
        """The one token of a call, and its proof where it comes with one."""
        scheme, token = _credential(call)
        if scheme != "dpop":
            return Presented(token)
        proofs = [_text(value) for name, value in call.invocation_metadata or () if name == "dpop"]
        if self._public is None:
            raise _Refused(grpc.StatusCode.UNAUTHENTICATED, "tokens that are bound to a key are not accepted here")
        if len(proofs) != 1:
            raise _Refused(grpc.StatusCode.UNAUTHENTICATED, "a token that is presented as DPoP needs exactly one proof")
        return Presented(token, Proof("POST", f"{self._public}{call.method}", proofs[0]))


class GuardInterceptor(aio.ServerInterceptor):  # type: ignore[type-arg]  # it is generic in the stubs alone
    """Lets a call through with an accepted token; `allowed()` has the verdict."""

    def __init__(
        self,
        guard: Guard,
        *,
        scopes: Mapping[str, Collection[str]] | None = None,
        open_methods: Collection[str] = (),
        public_url: str | None = None,
    ) -> None:
        """`scopes`: those that a method needs, by its full name. `open_methods` are let through without a token.

        `public_url`: where clients reach this server, `https://grpc.example.com` say; None: bound tokens are refused.
        """
        self._guard = guard
        self._rules = _Rules(scopes or {}, open_methods, public_url)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Judge the call's token, then go on or refuse."""
        call = handler_call_details
        if self._rules.open(call):
            return await continuation(call)
        try:
            token, proof = self._rules.presented(call)
            _admit(await self._guard.validate(token, scopes=self._rules.scopes(call), proof=proof))
        except _Refused as refused:
            return _like(await continuation(call), _refusing_async(refused))
        return await continuation(call)


class ThreadGuardInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]  # as above
    """The same for a server with threads."""

    def __init__(
        self,
        guard: GuardThread,
        *,
        scopes: Mapping[str, Collection[str]] | None = None,
        open_methods: Collection[str] = (),
        public_url: str | None = None,
    ) -> None:
        """As those of `GuardInterceptor`."""
        self._guard = guard
        self._rules = _Rules(scopes or {}, open_methods, public_url)

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Have the call's token judged before it is answered, in the thread that answers it.

        Here is the one thread that takes in the calls of all: whoever waits here has everybody wait.
        """
        call = handler_call_details
        handler = continuation(call)
        if handler is None or self._rules.open(call):
            return handler

        def judge(context: grpc.ServicerContext) -> None:
            try:
                token, proof = self._rules.presented(call)
                _admit(self._guard.validate(token, scopes=self._rules.scopes(call), proof=proof))
            except _Refused as refused:
                context.abort(refused.code, refused.details)

        return _judging(handler, judge)


def _credential(call: grpc.HandlerCallDetails) -> tuple[str, str]:
    """The one token of a call, and how it comes."""
    credentials = [
        (name, value) for name, value in call.invocation_metadata or () if name in ("authorization", "x-api-key")
    ]
    if not credentials:
        raise _Refused(grpc.StatusCode.UNAUTHENTICATED, "an access token is needed")
    if len(credentials) > 1:
        raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, "the call has more than one credential")
    ((name, value),) = credentials
    text = _text(value)
    if name == "x-api-key":
        if not text.startswith(_KEYS):
            raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, "x-api-key takes a reference token")
        return name, text
    scheme, space, token = text.partition(" ")
    if scheme.lower() not in ("bearer", "dpop") or not space or not token:
        raise _Refused(grpc.StatusCode.UNAUTHENTICATED, "an access token is needed, as Bearer or DPoP")
    return scheme.lower(), token


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _admit(verdict: Verdict) -> None:
    if isinstance(verdict, Allowed):
        _current.set(verdict)
        return
    raise _Refused(_code(verdict), f"{verdict.reason}: {verdict.description}")


def _code(verdict: Denied) -> grpc.StatusCode:
    if verdict.temporary:
        return grpc.StatusCode.UNAVAILABLE
    if verdict.reason is Reason.INSUFFICIENT_SCOPE:
        return grpc.StatusCode.PERMISSION_DENIED
    return grpc.StatusCode.UNAUTHENTICATED


def _refusing_async(refused: _Refused) -> Callable[[Any, Any], Awaitable[Any]]:
    async def refuse(_: Any, context: Any) -> Any:
        await context.abort(refused.code, refused.details)

    return refuse


def _judging(handler: Any, judge: Callable[[Any], None]) -> Any:
    """A handler of the same kind that judges first, in the context of the call, as its own work."""
    behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

    def answer(request: Any, context: Any) -> Any:
        judge(context)
        return behaviour(request, context)

    def answers(request: Any, context: Any) -> Any:
        judge(context)
        yield from behaviour(request, context)

    return _like(handler, answers if handler.response_streaming else answer)


def _like(handler: Any, answer: Callable[[Any, Any], Any]) -> Any:
    """A handler of the same kind with another answer; None where there is no such method: that is unimplemented."""
    if handler is None:
        return None
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(answer, handler.request_deserializer, handler.response_serializer)
