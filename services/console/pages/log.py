"""The log: what happened last, why a token was accepted or not, and what happens now."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from json import dumps
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.console.pages import shown
from services.console.pages.site import Site, query
from services.console.sessions import SignedIn
from shared.errors import Refusal, Unavailable
from shared.http.errors import invalid_request
from shared.http.forms import Params

LISTS: Final = {
    "types": "Type",
    "sources": "Source",
    "client_ids": "Application (client_id)",
    "subs": "User (sub)",
    "sids": "Session (sid)",
    "gids": "Grant (gid)",
    "jtis": "Token (jti)",
    "actors": "Who did it",
    "streams": "Stream",
    "correlation_ids": "Course of events",
}
"""What the log is narrowed by, as `stagedoor audit replay` does."""
_SHOWN: Final = 100
_STRETCHES: Final = (2_000, 20_000)
"""Positions that are looked through for events that match: the second where the first has not enough of them."""
_ENOUGH: Final = 20
_HIGHEST: Final = 2**63 - 1
_EXPLAINING_SECONDS: Final = 20.0
_QUIET_SECONDS: Final = 10.0
"""After which a browser is told that there is nothing new, so that nobody takes the connection for dead."""
_FOLLOWING_SECONDS: Final = 45.0
"""After which a browser has to come again, which it does by itself: the door gives an answer a minute."""


class LogPages:
    """The pages."""

    def __init__(self, site: Site, most_followers: int) -> None:
        self._site = site
        self._ledger = site.calls.ledger
        self._most_followers = most_followers
        self._followers = 0

    async def page(self, request: Request, who: SignedIn) -> Response:
        """GET /log: the newest events that match, newest first."""
        asked = query(request)
        wanted = _filter(asked)
        until = _position(asked, "until")
        if until is None:
            until = (await self._site.calls.ask(who, self._ledger.GetHead, pb.GetHeadRequest())).position
        events, gaps, looked = await self._before(who, until, wanted)
        fields = {
            "lists": [(name, label, asked.get(name) or "") for name, label in LISTS.items()],
            "since": asked.get("since") or "",
            "before": asked.get("before") or "",
            "narrowed": wanted.ByteSize() > 0,
            "events": [shown.event(one) for one in events],
            "gaps": gaps,
            "from_position": looked + 1,
            "until": until,
            "older": self._site.pages.path("/log", **_again(asked), until=str(looked)) if looked else "",
            "newest": self._site.pages.path("/log", **_again(asked)),
            "live": self._site.pages.path("/log/live", **_again(asked)),
        }
        return self._site.render(request, who, "log.html", fields)

    async def explain(self, request: Request, who: SignedIn) -> Response:
        """GET /log/explain: whether a token was accepted at a moment, and which facts made it so."""
        asked = query(request)
        jti = (asked.get("jti") or "").strip()
        told = None
        if jti:
            position, at = _position(asked, "position"), _moment(asked, "time")
            moment = pb.Moment(position=position) if position is not None else pb.Moment(time=at) if at else None
            told = await self._explained(who, pb.ExplainRequest(jti=jti, moment=moment))
        fields = {
            "jti": jti,
            "position": asked.get("position") or "",
            "time": asked.get("time") or "",
            "told": told,
            "then": shown.field(told.then, "time") if told else "",
            "token": _token(told.token) if told and told.HasField("token") else [],
            "facts": [{"one": fact, "at": shown.when(fact.recorded_at)} for fact in told.facts] if told else [],
        }
        return self._site.render(request, who, "explain.html", fields)

    async def live(self, request: Request, who: SignedIn) -> Response:
        """GET /log/live: the page on which events appear as they happen."""
        asked = query(request)
        _filter(asked)
        head = await self._site.calls.ask(who, self._ledger.GetHead, pb.GetHeadRequest())
        fields = {
            "source": self._site.pages.path("/log/events", **_again(asked), after=str(head.position)),
            "back": self._site.pages.path("/log", **_again(asked)),
            "narrowed": [(LISTS[name], value) for name, value in _again(asked).items() if name in LISTS],
        }
        return self._site.render(request, who, "live.html", fields, script="live.js")

    async def events(self, request: Request, who: SignedIn) -> Response:
        """GET /log/events: the same for the script on it (HTML, server-sent events)."""
        if self._followers >= self._most_followers:
            raise Unavailable("too_many_followers", "too many browsers follow the log; try again")
        asked = query(request)
        last = request.headers.get("last-event-id")
        after = _number(last) if last else _position(asked, "after")
        wanted = pb.ReadRequest(after=after or 0, filter=_filter(asked), follow=True)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._following(who, wanted), media_type="text/event-stream", headers=headers)

    async def _following(self, who: SignedIn, wanted: pb.ReadRequest) -> AsyncIterator[str]:
        self._followers += 1
        until = time.monotonic() + _FOLLOWING_SECONDS
        try:
            yield "retry: 1000\n\n"
            answers = self._site.calls.stream(who, self._ledger.Read, wanted)
            async with aclosing(_or_quiet(answers, until)) as told:
                async for answer in told:
                    for line in _lines(answer):
                        yield line
        except Refusal as refusal:
            yield f"event: ended\ndata: {dumps(refusal.message)}\n\n"
        finally:
            self._followers -= 1

    async def _before(self, who: SignedIn, until: int, wanted: pb.Filter) -> tuple[list[pb.Event], list[Any], int]:
        """Events that match up to a position, newest first; what has left the log there; and how far was looked."""
        found: deque[pb.Event] = deque(maxlen=_SHOWN)
        gaps: list[Any] = []
        upper = until
        for stretch in _STRETCHES if wanted.ByteSize() else (_SHOWN,):
            after = max(0, until - stretch)
            part: deque[pb.Event] = deque(maxlen=_SHOWN)
            request = pb.ReadRequest(after=after, until=upper, filter=wanted)
            if upper > after:
                async with aclosing(self._site.calls.stream(who, self._ledger.Read, request)) as answers:
                    async for answer in answers:
                        part.extend(answer.events.events)
                        if answer.WhichOneof("message") == "pruned":
                            gaps.append(answer.pruned)
            found.extendleft(list(reversed(part))[: _SHOWN - len(found)])
            upper = after
            if len(found) >= _ENOUGH or not after:
                break
        looked = found[0].position - 1 if len(found) == _SHOWN else upper
        return list(reversed(found)), gaps, looked

    async def _explained(self, who: SignedIn, request: pb.ExplainRequest) -> Any:
        try:
            async with (
                asyncio.timeout(_EXPLAINING_SECONDS),
                aclosing(self._site.calls.stream(who, self._ledger.Explain, request)) as answers,
            ):
                async for answer in answers:
                    if answer.WhichOneof("message") == "explanation":
                        return answer.explanation
        except TimeoutError:
            pass
        raise Unavailable("not_explained", "that takes longer than a page can wait; ask by `stagedoor audit explain`")


async def _or_quiet(answers: AsyncGenerator[pb.ReadResponse], until: float) -> AsyncGenerator[pb.ReadResponse | None]:
    """Answers as they come, and None now and then while there are none; up to a moment of the monotonic clock."""
    coming: asyncio.Task[pb.ReadResponse | None] | None = None
    try:
        while (left := until - time.monotonic()) > 0:
            coming = coming or asyncio.create_task(anext(answers, None))
            done, _ = await asyncio.wait((coming,), timeout=min(left, _QUIET_SECONDS))
            if not done:
                yield None
                continue
            answer, coming = coming.result(), None
            if answer is None:
                return
            yield answer
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        await answers.aclose()


def _lines(answer: pb.ReadResponse | None) -> Iterator[str]:
    """What a browser is told: events, and how far the log has been looked at. Each goes as JSON, on one line."""
    if answer is None:
        yield ": nothing new\n\n"
        return
    if answer.WhichOneof("message") == "events":
        for one in answer.events.events:
            yield f"id: {one.position}\nevent: log\ndata: {dumps(shown.event(one))}\n\n"
    if answer.WhichOneof("message") == "complete_to":
        yield f"id: {answer.complete_to}\nevent: complete\ndata: {answer.complete_to}\n\n"


def _filter(asked: Params) -> pb.Filter:
    lists = {name: (asked.get(name) or "").split() for name in LISTS}
    narrowed = pb.Filter(**{name: values for name, values in lists.items() if values})  # type: ignore[arg-type]  # lists of text, each
    for name in ("since", "before"):
        if at := _moment(asked, name):
            getattr(narrowed, name).CopyFrom(at)
    return narrowed


def _again(asked: Params) -> dict[str, str]:
    """What the log is narrowed by, for links to more of the same."""
    return {name: value for name in (*LISTS, "since", "before") if (value := asked.get(name))}


def _position(asked: Params, name: str) -> int | None:
    text = (asked.get(name) or "").strip()
    return _number(text) if text else None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= _HIGHEST):
        raise invalid_request("a position of the log is a whole number")
    return int(text)


def _moment(asked: Params, name: str) -> Timestamp | None:
    """A time in UTC, as browsers and `stagedoor audit` write it; None where there is none."""
    text = (asked.get(name) or "").strip()
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        found = Timestamp()
        found.FromDatetime(at.astimezone(UTC) if at.tzinfo else at)
    except (ValueError, OverflowError):
        raise invalid_request("a time is written like 2026-07-13T18:41:00, in UTC") from None
    return found


def _token(token: pb.IssuedToken) -> list[tuple[str, list[str]]]:
    facts: Mapping[str, list[str]] = {
        "Kind": [token.kind],
        "Application": [token.client_id],
        "User": [token.sub],
        "Session": [token.sid],
        "Grant": [token.gid],
        "Scopes": list(token.scopes),
        "Audiences": list(token.audiences),
        "Issued": [shown.when(token.issued_at), f"position {token.position}"],
        "Ends": [shown.when(token.expires_at)],
        "Key": [token.kid],
        "Acts for": list(token.actors),
        "Exchanged for": list(token.derived_from),
    }
    return [(label, [word for word in words if word]) for label, words in facts.items() if any(words)]
