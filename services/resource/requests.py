"""What a request asks for, read strictly; and who asks, from the verdict on its token."""

import hashlib
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from uuid import UUID

from pydantic import ValidationError
from starlette.requests import Request

from services.resource.collection import Body
from services.resource.domain.rows import Author
from services.resource.read_model import START, After
from shared.encoding import strict_json
from shared.errors import Refusal
from shared.http.errors import invalid_request, unsupported_media_type
from shared.http.forms import read_query, single
from shared.ids import CommandId, new_command_id, new_id
from shared.log.append import Context
from shared.telemetry import correlation, new_correlation
from stagedoor import Allowed
from stagedoor.asgi import VERDICT

MOST_ROWS = 200
_USUAL_ROWS = 100
_JSON = re.compile(r'application/json(?:[ \t]*;[ \t]*charset="?utf-8"?)?', re.IGNORECASE)
_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_LIMIT = re.compile(r"[1-9][0-9]{0,2}")


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, and in which course of events."""

    verdict: Allowed
    author: Author
    context: Context
    new_row_id: str
    """Of the row that the request adds, if it adds one. The same again for a repeated request."""


def asked(request: Request) -> Asked:
    """Raises `Refusal` if the idempotency key is none.

    A header `Idempotency-Key` (a UUID) makes it safe to repeat a write whose answer was lost: within one address and
    for one user and application it names one command, which is carried out once.
    """
    verdict = request.scope[VERDICT]
    if not isinstance(verdict, Allowed):
        raise TypeError("the API stands behind the guard")
    # Of an exchange it is the last of the actors that a token which is nobody's but an application's began with.
    of_application = verdict.sub in (verdict.client_id, *verdict.actors[-1:])
    actor = f"client:{verdict.sub}" if of_application else f"user:{verdict.sub}"
    command_id, row_id = new_command_id(), new_id()
    key = _idempotency_key(request)
    if key is not None:
        parts = (verdict.client_id, verdict.sub, request.method, request.url.path, str(key))
        made = hashlib.sha256("\n".join(parts).encode()).digest()
        command_id = CommandId(UUID(bytes=made[:16]))
        row_id = urlsafe_b64encode(made[16:]).rstrip(b"=").decode()
    context = Context(actor=actor, correlation_id=correlation.get() or new_correlation(), command_id=command_id)
    return Asked(verdict, Author(verdict.sub, verdict.client_id), context, row_id)


def row_id(request: Request) -> str | None:
    """The id in the path; None where it cannot be one."""
    given = str(request.path_params["row_id"])
    return given if _ID.fullmatch(given) else None


async def read_body(request: Request, body: type[Body]) -> Body:
    """The JSON body; raises `Refusal` for another media type, and for anything but exactly these members."""
    types = request.headers.getlist("content-type")
    if len(types) != 1 or not _JSON.fullmatch(types[0].strip(" \t")):
        raise unsupported_media_type("the body has to be application/json, in UTF-8")
    raw = await request.body()
    try:
        value = strict_json(raw.decode("utf-8"))
    except ValueError:
        raise invalid_request("the body is not JSON") from None
    try:
        return body.model_validate(value)
    except ValidationError as wrong:
        first = wrong.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] and first["loc"][0] in body.model_fields else "the body"
        raise invalid_request(f"{name}: {first['msg']}") from None


def page_of(request: Request) -> tuple[After, int]:
    """Where the page begins that is asked for (`after`, from the answer before), and how many rows (`limit`)."""
    query = single(read_query(request), repeatable=())
    for name in query:
        if name not in ("after", "limit"):
            raise invalid_request("the list takes after and limit, and nothing else")
    limit, after = query.get("limit"), query.get("after")
    if limit is not None and not (_LIMIT.fullmatch(limit) and int(limit) <= MOST_ROWS):
        raise invalid_request(f"limit is a number from 1 to {MOST_ROWS}")
    return START if after is None else _after(after), _USUAL_ROWS if limit is None else int(limit)


def cursor(after: After) -> str:
    """The place in a list as text for `after`; its form is nobody's business."""
    return urlsafe_b64encode(json.dumps([after.key, after.row_id]).encode()).rstrip(b"=").decode()


def _after(text: str) -> After:
    try:
        key, last = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if not (isinstance(key, str) and isinstance(last, str)) or "\x00" in key + last:
            raise _no_cursor()
        # JSON can hold a lone surrogate, which no text of the database can.
        (key + last).encode()
    except (ValueError, TypeError, RecursionError):
        raise _no_cursor() from None
    return After(key, last)


def _no_cursor() -> Refusal:
    return invalid_request("after is not from an answer of this list")


def _idempotency_key(request: Request) -> UUID | None:
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    try:
        (text,) = given
        return UUID(text)
    except ValueError:
        raise invalid_request("Idempotency-Key is one UUID") from None
