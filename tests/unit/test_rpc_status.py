"""Refusals travel as gRPC statuses and arrive as they were."""

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Kind, Unavailable
from shared.rpc.status import CODES, DETAILS, details, refusal


def test_every_kind_has_a_status_of_its_own() -> None:
    assert CODES.keys() == set(Kind)
    assert len(set(CODES.values())) == len(Kind)
    assert grpc.StatusCode.OK not in CODES.values()


@given(
    st.sampled_from([kind for kind in Kind if kind is not Kind.UNAVAILABLE]), st.text(min_size=1), st.text(min_size=1)
)
def test_there_and_back(kind: Kind, reason: str, message: str) -> None:
    packed = details(CODES[kind], reason, message, "an-id", None)
    arrived = refusal(CODES[kind], message, [("x", "y"), (DETAILS, packed)])
    assert (arrived.kind, arrived.code, arrived.message) == (kind, reason, message)


def test_unavailable_keeps_its_code_and_its_time() -> None:
    packed = details(grpc.StatusCode.UNAVAILABLE, "log_unavailable", "m", "", 0.25)
    arrived = refusal(grpc.StatusCode.UNAVAILABLE, "m", [(DETAILS, packed)])
    assert isinstance(arrived, Unavailable)
    assert (arrived.code, arrived.message, arrived.retry_after) == ("log_unavailable", "m", 0.25)


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.OUT_OF_RANGE,
    ],
)
def test_a_peer_that_failed_has_decided_nothing(code: grpc.StatusCode) -> None:
    arrived = refusal(code, "ipv4:127.0.0.1:9401: Connection refused", [])
    assert isinstance(arrived, Unavailable)
    assert "127.0.0.1" not in arrived.message


@pytest.mark.parametrize("value", ["text", b"\xff\xff not a status", b""])
def test_details_that_are_none_are_passed_over(value: str | bytes) -> None:
    arrived = refusal(grpc.StatusCode.NOT_FOUND, None, [(DETAILS, value)])
    assert (arrived.kind, arrived.code) == (Kind.NOT_FOUND, "not_found")


def test_details_of_another_domain_are_not_ours() -> None:
    packed = AnyMessage()
    packed.Pack(ErrorInfo(reason="theirs", domain="example.com"))
    status = Status(code=5, details=[packed])
    arrived = refusal(grpc.StatusCode.NOT_FOUND, "m", [(DETAILS, status.SerializeToString())])
    assert arrived.code == "not_found"
