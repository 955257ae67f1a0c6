"""Refusals as gRPC statuses, and back: the code travels in `google.rpc.ErrorInfo`."""

from collections.abc import Iterable
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from shared.errors import Kind, Refusal, Unavailable

DOMAIN: Final = "stagedoor"
DETAILS: Final = "grpc-status-details-bin"
"""Trailing metadata in which gRPC carries a `google.rpc.Status`."""

CODES: Final = {
    Kind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Kind.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Kind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Kind.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Kind.PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Kind.CONFLICT: grpc.StatusCode.ABORTED,
    Kind.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}
_KINDS: Final = {code: kind for kind, code in CODES.items()}


def details(code: grpc.StatusCode, reason: str, message: str, correlation_id: str, retry_after: float | None) -> bytes:
    """The serialized `google.rpc.Status` that goes with an error."""
    status = Status(code=code.value[0], message=message)
    info = ErrorInfo(reason=reason, domain=DOMAIN)
    if correlation_id:
        info.metadata["correlation_id"] = correlation_id
    status.details.add().Pack(info)
    if retry_after is not None:
        retry = RetryInfo()
        retry.retry_delay.FromNanoseconds(int(retry_after * 1_000_000_000))
        status.details.add().Pack(retry)
    packed: bytes = status.SerializeToString()
    return packed


def refusal(code: grpc.StatusCode, text: str | None, trailing: Iterable[tuple[str, str | bytes]]) -> Refusal:
    """The typed refusal that an error of a peer stands for.

    A peer that failed, or went away, has decided nothing: that is `Unavailable`, whatever it said.
    """
    reason, retry_after = _read(trailing)
    message = text or "refused without a reason"
    kind = _KINDS.get(code)
    if kind is None or kind is Kind.UNAVAILABLE:
        return Unavailable(
            reason or (code.name.lower() if kind is None else "peer_unavailable"),
            message if reason else "a service that is needed did not answer",
            retry_after=1.0 if retry_after is None else retry_after,
        )
    return Refusal(kind, reason or code.name.lower(), message)


def _read(trailing: Iterable[tuple[str, str | bytes]]) -> tuple[str, float | None]:
    reason, retry_after = "", None
    for key, value in trailing:
        if key != DETAILS or not isinstance(value, bytes):
            continue
        try:
            packed: Iterable[AnyMessage] = Status.FromString(value).details
            for detail in packed:
                info, retry = ErrorInfo(), RetryInfo()
                if detail.Unpack(info) and info.domain == DOMAIN:
                    reason = info.reason
                elif detail.Unpack(retry):
                    retry_after = retry.retry_delay.ToNanoseconds() / 1_000_000_000
        except DecodeError:
            continue
    return reason, retry_after
