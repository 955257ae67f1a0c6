"""The gRPC server of a service."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from shared.rpc.caller import Rule
from shared.rpc.guard import STREAMS_EACH, Authenticate, Guard, Stopping
from shared.rpc.tls import Tls

Register = Callable[[Any, Any], None]
"""A generated `add_<Service>Servicer_to_server`."""

MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""The longest request that is read; longer ones are RESOURCE_EXHAUSTED before anything is parsed."""
UNARY_SECONDS: Final = 10.0
"""How long a call with one answer may take if the caller set no deadline."""
CALLS_AT_ONCE: Final = 4096
"""Calls under way, streams too; one more is RESOURCE_EXHAUSTED at once."""
_HEALTH: Final = "grpc.health.v1.Health"
_ANYBODY: Final = Rule(frozenset({"*"}))
"""Everybody with a certificate of the instance."""
_OPEN: Final = {
    f"/{_HEALTH}/Check": _ANYBODY,
    f"/{_HEALTH}/Watch": _ANYBODY,
    f"/{_HEALTH}/List": _ANYBODY,
    f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": _ANYBODY,
}
_OPTIONS: Final = (
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.absolute_max_metadata_size", 32 * 1024),
    ("grpc.max_concurrent_streams", 1024),
    ("grpc.server_handshake_timeout_ms", 5_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class RpcServer:
    """Serves gRPC with mutual TLS. Each method is answered only to the callers that its rule names.

    `rules` maps full method names (`/package.Service/Method`) to rules. A method without a rule is refused to
    everybody; a rule without a method is a mistake, and `start` raises `ValueError`. `authenticate` is needed if any
    rule asks for a person. `share_port` lets several processes listen on one port (SO_REUSEPORT).
    """

    def __init__(  # noqa: PLR0913  (what a server is made of, each independent of the others)
        self,
        bind: str,
        tls: Tls,
        rules: Mapping[str, Rule],
        authenticate: Authenticate | None = None,
        *,
        message_bytes: int = MESSAGE_BYTES,
        unary_seconds: float = UNARY_SECONDS,
        calls_at_once: int = CALLS_AT_ONCE,
        streams_each: int = STREAMS_EACH,
        share_port: bool = False,
    ) -> None:
        if authenticate is None and any(rule.role is not None for rule in rules.values()):
            raise ValueError("a rule asks for a person, and nobody is there to check the token")
        self._bind = bind
        self._tls = tls
        self._rules = _OPEN | {f"/{method.removeprefix('/')}": rule for method, rule in rules.items()}
        self._authenticate = authenticate
        self._message_bytes = message_bytes
        self._unary_seconds = unary_seconds
        self._calls_at_once = calls_at_once
        self._share_port = share_port
        self._added: list[tuple[Register, Any, str]] = []
        self._raw: set[str] = set()
        self._stopping = Stopping(streams_each)
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs leave it out
        self._server: grpc.aio.Server | None = None
        self.port = 0
        """Where it listens, once started."""

    def add(self, register: Register, servicer: object, service_name: str, *, raw: Collection[str] = ()) -> None:
        """Serve a service: its generated `add_…_to_server`, its servicer and its full name.

        The servicer's methods are those of grpc.aio; they raise `Refusal`, and methods with a stream of answers are
        asynchronous generators. The methods named in `raw` take and give bytes. To be called before `start`.
        """
        self._added.append((register, servicer, service_name))
        self._raw |= {f"/{service_name}/{method}" for method in raw}

    async def start(self) -> None:
        """Begin to answer; ends the process with one line if the address cannot be listened on."""
        server = grpc.aio.server(
            options=[
                *_OPTIONS,
                # Another program on the port is an error to hear of, not somebody to share it with, unless it is meant.
                ("grpc.so_reuseport", int(self._share_port)),
                ("grpc.max_receive_message_length", self._message_bytes),
            ],
            maximum_concurrent_rpcs=self._calls_at_once,
        )
        guarding = _Guarding(self._guard, self._raw)
        for register, servicer, _name in self._added:
            register(servicer, guarding)
        names = [name for _, _, name in self._added]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, guarding)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection.aio.ReflectionServicer([*names, _HEALTH, reflection.SERVICE_NAME]),  # type: ignore[attr-defined]  # as above
            guarding,
        )
        server.add_generic_rpc_handlers((guarding,))
        if missing := self._rules.keys() - guarding.methods.keys() - _OPEN.keys():
            raise ValueError(f"rules for methods that are not served: {', '.join(sorted(missing))}")
        try:
            self.port = server.add_secure_port(self._bind, self._tls.server_credentials())
        except RuntimeError:
            self.port = 0
        if self.port == 0:
            raise SystemExit(f"stagedoor: gRPC cannot listen on {self._bind}: is the address in use?")
        await server.start()
        self._server = server
        for name in names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace: float | None) -> None:
        """Answer nothing new, end the streams, give calls under way `grace` seconds (None: none at all)."""
        if self._server is None:
            return
        await self._health.enter_graceful_shutdown()
        stopped = self._server.stop(grace)
        self._stopping.begin()
        await stopped

    def _guard(self, method: str) -> Guard:
        return Guard(method, self._rules.get(method), self._authenticate, self._unary_seconds, self._stopping)


class _Guarding(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # which it takes in the stubs alone
    """What generated code registers at, and what gRPC looks methods up in: each with a guard around it.

    One for all services: gRPC asks the handlers that it has one after the other, for every call.
    """

    def __init__(self, guard: Callable[[str], Guard], raw: Collection[str]) -> None:
        self._guard = guard
        self._raw = raw
        self.methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, generic_rpc_handlers: object) -> None:
        """The older of the two ways that generated code registers in; it does both, and the other one serves."""

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None:
        """Register the methods of a service."""
        for name, handler in method_handlers.items():
            method = f"/{service_name}/{name}"
            self.methods[method] = self._guard(method).around(handler, raw=method in self._raw)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The method that is called, if there is one."""
        return self.methods.get(handler_call_details.method)
