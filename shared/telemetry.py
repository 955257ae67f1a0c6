"""What a service says about itself while it runs: one JSON object a line on standard error, nothing secret in it.

Two nets hold secrets back: the value of every field whose name sounds like one, and everything inside a text that
looks like one. They are nets, not licences: whoever logs leaves secrets out in the first place.
"""

import asyncio
import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TextIO, cast

import structlog
from msgspec.json import encode
from structlog.typing import FilteringBoundLogger

from shared.ids import new_id
from shared.tracing import sampling

REDACTED: Final = "[redacted]"

correlation: ContextVar[str] = ContextVar("correlation", default="")
"""Id of the course of events that the present work belongs to; empty outside of any."""

_ID = re.compile(r"[A-Za-z0-9_-]{22}")

_SECRET_NAMES = (
    "token",
    "secret",
    "password",
    "passphrase",
    "authorization",
    "cookie",
    "assertion",
    "verifier",
    "credential",
    "private",
    "api_key",
    "apikey",
    "signature",
    "otp",
)
"""A field is withheld if its name contains one of these."""
_CODES = frozenset({"code", "authorization_code", "user_code", "device_code", "recovery_code", "key", "dpop"})
"""A field is withheld if this is its whole name; `status_code` and the like say nothing secret."""

_SECRET_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = (
    # RFC 7515 section 7.1, RFC 7516 section 7.1: compact forms; the header of each begins with {" in base64url.
    (re.compile(r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){2,4}"), REDACTED),
    (re.compile(r"\bsd[a-z]_[A-Za-z0-9_.-]{16,}"), REDACTED),
    (re.compile(r"stagedoor_[a-z]{3}_[0-9A-Za-z]{40,}"), REDACTED),
    (re.compile(r"\b(bearer|basic|dpop)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (
        re.compile(r"\b([a-z_]*(?:password|secret|token|code|assertion|verifier))=[^\s&\"']+", re.IGNORECASE),
        rf"\1={REDACTED}",
    ),
    (re.compile(r"(://[^\s:/@]*):[^\s@/]+@"), rf"\1:{REDACTED}@"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), REDACTED),
)
_SUSPICIOUS = re.compile(r"eyJ|sd[a-z]_|stagedoor_|=|://|-----|bearer|basic|dpop", re.IGNORECASE)
"""Every pattern above needs one of these; most texts have none, and looking for all patterns takes time."""
_DEEPEST = 6
_MOST_PATHS = 1024
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


def new_correlation() -> str:
    """The id of a new course of events."""
    return new_id()


def accept_correlation(value: str | None, *, trusted: bool = False) -> str:
    """The given id if it has the form of one (22 URL-safe characters), else a new one.

    What comes from outside ends up in logs and events, so anything else that somebody sends is not taken over. Nor is
    an id with which a course would be traced, unless whoever sends it is `trusted`: otherwise strangers could have
    each of their requests traced.
    """
    if value is None or not _ID.fullmatch(value) or (sampling.traced(value) and not trusted):
        return new_correlation()
    return value


def configure_logging(service: str, level: str) -> None:
    """Send everything that is logged, by libraries too, to standard error as JSON lines.

    `level` is one of debug, info, warning, error, critical; libraries are heard from warning on.
    """
    number = _LEVELS.get(level.lower())
    if number is None:
        raise SystemExit(f"stagedoor: setting STAGEDOOR_LOG_LEVEL: one of {', '.join(_LEVELS)} is needed")

    def about(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        if current := correlation.get():
            event["correlation_id"] = current
            if trace := sampling.traced(current):
                event["trace_id"] = sampling.trace_id_text(trace)
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        about,
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, _render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_StandardError,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(cast("TextIO", _StandardError()))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.PositionalArgumentsFormatter(),
                *shared,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, _render],
        )
    )
    _requests.begin(service, enabled=number <= _LEVELS["info"])
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))
    logging.captureWarnings(capture=True)


def logger(name: str) -> FilteringBoundLogger:
    """The logger of a module."""
    return cast("FilteringBoundLogger", structlog.get_logger(module=name))


def log_request(module: str, method: str, path: str, status: int, seconds: float) -> None:
    """The access log's line about a request: what `info("request", …)` would write, at a tenth of the cost.

    A service that answers thousands of requests a second writes as many of these. So the line is put together at
    once, and lines of the same turn of the event loop are written together.
    """
    _requests.log(module, method, path, status, seconds)


class _Requests:
    """The access log of this process; silent until logging is configured."""

    def __init__(self) -> None:
        self._service = ""
        self._enabled = False
        self._lines: list[str] = []
        self._second = 0
        self._until_second = ""
        self._paths: dict[str, str] = {}

    def begin(self, service: str, *, enabled: bool) -> None:
        self._service = service
        self._enabled = enabled

    def log(self, module: str, method: str, path: str, status: int, seconds: float) -> None:
        if not self._enabled:
            return
        current = correlation.get()
        self._lines.append(
            f'{{"module":"{module}","method":{_text(method)},"path":{self._path(path)},"status":{status},'
            f'"milliseconds":{round(seconds * 1000, 2)},"event":"request","level":"info",'
            f'"timestamp":"{self._now()}","service":"{self._service}"'
            f"{_correlated(current) if current else '}'}"
        )
        if len(self._lines) > 1:
            return
        try:
            asyncio.get_running_loop().call_soon(self._write)
        except RuntimeError:
            self._write()

    def _path(self, path: str) -> str:
        """As JSON. Most are for the same few, and looking for secrets takes time. One that held any is not kept."""
        text = self._paths.get(path)
        if text is None:
            shown = scrub(path)
            text = json.dumps(shown)
            if shown == path:
                if len(self._paths) >= _MOST_PATHS:
                    self._paths.clear()
                self._paths[path] = text
        return text

    def _now(self) -> str:
        """As RFC 3339 has it; all but the fraction is the same for a second."""
        second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._until_second = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._until_second}.{nanoseconds // 1000:06d}Z"

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()


def _correlated(current: str) -> str:
    trace = sampling.traced(current)
    traced = f',"trace_id":"{sampling.trace_id_text(trace)}"' if trace else ""
    return f',"correlation_id":"{current}"{traced}}}'


@lru_cache(maxsize=1024)
def _text(text: str) -> str:
    """As JSON; most requests say the same. What must not be written down has been taken out: it is not kept here."""
    return json.dumps(text)


_requests = _Requests()


def redact(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Withhold what must not be written down (a processor of structlog)."""
    for name, value in event.items():
        event[name] = REDACTED if _is_secret(name) else _clean(value, 0)
    return event


def scrub(text: str) -> str:
    """The text without what looks like a token, a secret or a password in it."""
    if not _SUSPICIOUS.search(text):
        return text
    for pattern, instead in _SECRET_TEXTS:
        text = pattern.sub(instead, text)
    return text


def course_of(failure: BaseException) -> str:
    """Where something unexpected went wrong: types and source lines, of its causes too, without any message.

    A message may quote what somebody sent; a source line cannot.
    """
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = failure
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = "".join(traceback.StackSummary.extract(traceback.walk_tb(current.__traceback__)).format())
        parts.append(f"{frames}{type(current).__module__}.{type(current).__qualname__}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\nwhile handling, or because of\n".join(parts)


@lru_cache(maxsize=1024)
def _is_secret(name: object) -> bool:
    lowered = str(name).lower().replace("-", "_")
    return lowered in _CODES or any(word in lowered for word in _SECRET_NAMES)


def _clean(value: object, depth: int) -> object:
    if isinstance(value, str):
        return scrub(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)) or depth >= _DEEPEST:
        return REDACTED
    if isinstance(value, Mapping):
        return {str(name): REDACTED if _is_secret(name) else _clean(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(inner, depth + 1) for inner in value]
    return scrub(str(value))


def _render(_: object, __: str, event: MutableMapping[str, Any]) -> str:
    text = encode(event).decode()
    # Other alphabets have line separators of their own, which some readers of logs split at.
    return text if text.isascii() else json.dumps(event, separators=(",", ":"))


class _StandardError:
    """Writes whole lines to whatever standard error is at that moment."""

    def __init__(self, *_: object) -> None:
        pass

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def msg(self, message: str) -> None:
        sys.stderr.write(message + "\n")
        sys.stderr.flush()

    debug = info = warning = error = critical = exception = log = fatal = failure = err = warn = msg
