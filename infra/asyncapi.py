"""The AsyncAPI document of what goes over NATS, from the event classes: `docs/asyncapi.json`."""

import inspect
import json
from datetime import datetime
from typing import Any
from uuid import UUID

from faststream import FastStream
from faststream.nats import NatsBroker
from faststream.specification import AsyncAPI
from pydantic import BaseModel, create_model

from shared.denials import DenialKind, DenialRule
from shared.log.event import Catalogue, Event


class DenialMessage(BaseModel):
    """A denial, with its dense number."""

    number: int
    position: int
    epoch: int
    kind: DenialKind
    id: str
    rule: DenialRule
    except_id: str | None
    until: datetime | None
    recorded_at: datetime


class Heartbeat(BaseModel):
    """The head as it was read; sent after all denials up to it."""

    position: int
    number: int
    epoch: int
    read_at: datetime


def document(catalogue: Catalogue) -> str:
    """The document, as JSON."""
    broker = NatsBroker("nats://127.0.0.1:8422")
    for event in catalogue:
        broker.publisher(
            f"stagedoor.events.{event.stored_as}",
            schema=_body(event),
            title=event.stored_as,
            description=inspect.getdoc(event),
        )
    for kind in DenialKind:
        broker.publisher(
            f"stagedoor.denials.{kind.value}",
            schema=DenialMessage,
            title=f"denials.{kind.value}",
            description="Tokens that must not be accepted any more, or again.",
        )
    broker.publisher(
        "stagedoor.denials.heartbeat",
        schema=Heartbeat,
        title="denials.heartbeat",
        description=inspect.getdoc(Heartbeat),
    )
    about = AsyncAPI(
        title="Stagedoor",
        version="1",
        schema_version="3.0.0",
        description="Events are in the JetStream stream STAGEDOOR_EVENTS; the sequence of a message is its position in"
        " the log; where its course is traced there is a header `traceparent`. Denials are plain messages.",
    )
    found = json.loads(FastStream(broker, specification=about).schema.to_specification().to_json())
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def _body(event: type[Event]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        "position": (int, ...),
        "epoch": (int, ...),
        "stream": (str, ...),
        "version": (int, ...),
        "type": (str, ...),
        "data": (event, ...),
        "actor": (str, ...),
        "command_id": (UUID, ...),
        "correlation_id": (str, ...),
        "causation_id": (int | None, ...),
        "recorded_at": (datetime, ...),
    }
    body: type[BaseModel] = create_model(f"{event.__name__}Message", **fields)
    return body
