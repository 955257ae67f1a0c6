"""Every RPC is sent messages of every shape, and bytes that are none, by several callers, and has to stay itself.

However a message looks: the answer, or a status with its stable code; never one that says that something broke.

    STAGEDOOR_FUZZ_EXAMPLES=5000 STAGEDOOR_FUZZ_SEED=7 pytest tests/properties/test_public_rpc.py
"""

import os
import re
import tomllib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import pytest
import pytest_asyncio
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from infra.local.certificates import Authority
from infra.local.system import System
from protos.stagedoor.identity.v1 import identity_pb2
from protos.stagedoor.ledger.v1 import ledger_pb2
from protos.stagedoor.readmodels.v1 import readmodels_pb2
from protos.stagedoor.registry.v1 import installation_pb2, registry_pb2, system_pb2
from protos.stagedoor.tokens.v1 import tokens_pb2
from shared.rpc.status import DETAILS
from shared.rpc.tls import Tls
from stagedoor.validation.v1 import validation_pb2
from tests.support.system import running_system

EXAMPLES: Final = int(os.environ.get("STAGEDOOR_FUZZ_EXAMPLES", "20"))
SEED: Final = os.environ.get("STAGEDOOR_FUZZ_SEED")
SECONDS: Final = 20.0
MOST_ANSWERS: Final = 3
"""Of a stream; there may be no end to it."""
DEEPEST: Final = 3

SERVED: Final = (
    ("registry", registry_pb2),
    ("registry", system_pb2),
    ("registry", installation_pb2),
    ("identity", identity_pb2),
    ("token_issuer", tokens_pb2),
    ("token_issuer", validation_pb2),
    ("ledger", ledger_pb2),
    ("registry", readmodels_pb2),
)
METHODS: Final[tuple[tuple[str, MethodDescriptor], ...]] = tuple(
    (service, method)
    for service, module in SERVED
    for described in module.DESCRIPTOR.services_by_name.values()
    for method in described.methods
)
_WHOLE: Final = {
    *(FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64),
    *(FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64),
}
BROKEN: Final = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
ENDED: Final = {grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}
"""By this side."""

pytestmark = pytest.mark.timeout(300 if SEED is None else 24 * 3600)


@dataclass(frozen=True)
class Inside:
    """A running system by its gRPC."""

    system: System
    channels: dict[tuple[str, str], grpc.Channel]
    """By caller and service."""
    token: str


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def inside() -> AsyncIterator[Inside]:
    async with running_system() as system:
        authority = Authority(system.home.certificates)
        callers = {"operator": authority.operator(), "resource/stagehands": authority.resource("stagehands")}
        callers |= {f"service/{name}": authority.service(name) for name in ("identity", "console")}
        channels = {
            (caller, service): grpc.secure_channel(
                system.ports.grpc_address(service),
                Tls.read_files(authority.certificate, shown.certificate, shown.key).channel_credentials(),
                (("grpc.ssl_target_name_override", service),),
            )
            for caller, shown in callers.items()
            for service in {service for service, _ in SERVED}
        }
        profile = tomllib.loads((system.home.path / "profile.toml").read_text())
        yield Inside(system, channels, profile["access_token"])
        for channel in channels.values():
            channel.close()


def _texts(there: Inside) -> st.SearchStrategy[str]:
    known: tuple[str, ...] = (
        "freddie",
        "fan",
        "com.merchsync/service",
        "com.stagedoor/cli",
        f"{there.system.ports.origin}/api",
        "read",
    )
    known += ("confidential", "public", "native", "authorization_code", "http://localhost/callback", "display_name")
    known += ("openid", "stagedoor_pat_" + "0" * 49, there.token, "../x", "\0", "A" * 5000, "\u202e", "' OR 1=1 --", "")
    return st.one_of(st.sampled_from(known), st.text(st.characters(codec="utf-8"), max_size=30))


def _value(field: FieldDescriptor, texts: st.SearchStrategy[str], depth: int) -> st.SearchStrategy[Any]:
    kinds: dict[int, st.SearchStrategy[Any]] = {
        FieldDescriptor.CPPTYPE_STRING: texts if field.type == FieldDescriptor.TYPE_STRING else st.binary(max_size=64),
        FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
        FieldDescriptor.CPPTYPE_INT32: st.integers(-(1 << 31), (1 << 31) - 1),
        FieldDescriptor.CPPTYPE_INT64: st.integers(-(1 << 63), (1 << 63) - 1),
        FieldDescriptor.CPPTYPE_UINT32: st.integers(0, (1 << 32) - 1),
        FieldDescriptor.CPPTYPE_UINT64: st.integers(0, (1 << 64) - 1),
        FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
        FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
        FieldDescriptor.CPPTYPE_ENUM: st.integers(-1, 20),
    }
    if field.message_type is not None:
        return _messages(field.message_type, texts, depth + 1)
    found = kinds[field.cpp_type]
    # Most numbers that make sense are small.
    return st.one_of(st.integers(0, 3), found) if field.cpp_type in _WHOLE else found


@st.composite
def _messages(draw: st.DrawFn, described: Descriptor, texts: st.SearchStrategy[str], depth: int = 0) -> Message:
    message: Message = GetMessageClass(described)()
    for field in described.fields:
        if depth > DEEPEST or not draw(st.booleans()):
            continue
        if field.is_repeated:
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                continue
            values = draw(st.lists(_value(field, texts, depth), max_size=3))
            getattr(message, field.name).extend(values)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(draw(_value(field, texts, depth)))
        else:
            setattr(message, field.name, draw(_value(field, texts, depth)))
    return message


@st.composite
def _bytes(draw: st.DrawFn, method: MethodDescriptor, texts: st.SearchStrategy[str]) -> bytes:
    whole: bytes = draw(_messages(method.input_type, texts)).SerializeToString()
    match draw(st.integers(0, 7)):
        case 0:
            return draw(st.binary(max_size=100))
        case 1:
            return whole[: draw(st.integers(0, len(whole)))]
        case 2:
            return whole + draw(st.binary(max_size=20))
    return whole


def _metadata(there: Inside) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    signed_in = ("authorization", f"Bearer {there.token}")
    odd = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)
    return st.one_of(
        st.just((signed_in,)),
        st.just((signed_in,)),
        st.just(()),
        odd.map(lambda text: (("authorization", f"Bearer {text}"),)),
        odd.map(lambda text: (signed_in, ("idempotency-key", text), ("correlation-id", text))),
    )


def _ask(channel: grpc.Channel, method: MethodDescriptor, sent: bytes, metadata: Any) -> grpc.RpcError | None:
    """The error that it ends with, if it does."""
    name = f"/{method.containing_service.full_name}/{method.name}"
    try:
        if method.server_streaming and method.client_streaming:
            answers = channel.stream_stream(name, None, None)(iter([sent]), timeout=SECONDS, metadata=metadata)
        elif method.server_streaming:
            answers = channel.unary_stream(name, None, None)(sent, timeout=SECONDS, metadata=metadata)
        else:
            channel.unary_unary(name, None, None)(sent, timeout=SECONDS, metadata=metadata)
            return None
        for count, _ in enumerate(answers, 1):
            if count == MOST_ANSWERS:
                answers.cancel()  # type: ignore[no-untyped-call]
                return None
    except grpc.RpcError as error:
        return error
    return None


@pytest.mark.parametrize(("service", "method"), METHODS, ids=lambda one: getattr(one, "name", one))
def test_whatever_is_sent_it_stays_itself(inside: Inside, service: str, method: MethodDescriptor) -> None:
    callers = sorted({caller for caller, _ in inside.channels})
    texts = _texts(inside)

    @_settings
    @given(st.sampled_from(callers), _bytes(method, texts), _metadata(inside))
    def ask(caller: str, sent: bytes, metadata: tuple[tuple[str, str], ...]) -> None:
        error: Any = _ask(inside.channels[caller, service], method, sent, metadata)
        if error is None or error.code() in ENDED:
            return
        said = f"{error.code()} {error.details()}"
        assert error.code() not in BROKEN, said
        packed = dict(error.trailing_metadata() or ()).get(DETAILS)
        assert packed is not None, said
        info = ErrorInfo()
        assert Status.FromString(packed).details[0].Unpack(info)
        assert re.fullmatch(r"[a-z][a-z0-9_]+", info.reason), said

    ask()
    logs = "".join(path.read_text(errors="replace") for path in inside.system.home.logs.glob("*.log"))
    assert "rpc_failed" not in logs
    assert "Traceback" not in logs


def _settings(test: Callable[..., None]) -> Callable[..., None]:
    chosen = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=SEED is None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )(test)
    return seed(int(SEED))(chosen) if SEED is not None else chosen
