"""What goes from page to page through the browser: sealed, so that nothing is kept here and nothing can be changed.

The issuer's own sealed request travels inside; what is around it is what the pages need to know of it again.
"""

import json
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from protos.stagedoor.tokens.v1.tokens_pb2 import Logout, Proceed
from services.identity.domain.interaction import Demands
from services.identity.own_second_factor import SettingUp
from services.identity.passkeys import Ceremony, Purpose
from services.identity.relying_party import WAIT_SECONDS
from services.identity.sessions import PasswordProved
from services.identity.totp import Seed
from shared.clock import Clock
from shared.errors import Kind, Refusal
from shared.ids import digest, same
from shared.keys import MasterKey

LIMIT = 24 * 1024
"""Characters of a sealed text."""
BETWEEN_FACTORS = timedelta(minutes=10)
"""How long a password that was right waits for what has to come after it."""
CEREMONY = timedelta(seconds=WAIT_SECONDS)
"""How long a page that asks for a passkey waits for the answer."""


class PageExpired(Refusal):
    """The text was not sealed here, or too long ago."""

    def __init__(self) -> None:
        super().__init__(
            Kind.INVALID,
            "page_expired",
            "This page is too old, or incomplete. Go back to the application and begin again.",
        )


@dataclass(frozen=True, slots=True)
class PendingAuthorization:
    """An authorization request that is waiting for the person."""

    proceed: Proceed
    position: int
    """Where the log stood when the request came."""
    chosen_session: str = ""
    """The session that the person chose for it."""

    @property
    def of_device(self) -> bool:
        """Whether a device asked (RFC 8628), so that no browser goes back to anybody."""
        return bool(self.proceed.user_code)

    @property
    def demands(self) -> Demands:
        """What it asks of the pages."""
        asked = self.proceed
        return Demands(
            position=self.position,
            scopes=tuple(scope.name for scope in asked.scopes),
            prompt=frozenset(asked.prompt),
            max_age=timedelta(seconds=min(asked.max_age, 10**9)) if asked.HasField("max_age") else None,
            expected_sub=asked.expected_sub,
            skip_consent=asked.skip_consent,
            chosen_session=self.chosen_session,
            second_factor_wished=asked.second_factor_wished,
            second_factor_demanded=asked.second_factor_demanded,
        )

    def choosing(self, sid: str) -> "PendingAuthorization":
        """The same, with the person's choice of a session."""
        return replace(self, chosen_session=sid)


@dataclass(frozen=True, slots=True)
class Installed:
    """An application that was just installed."""

    client_id: str
    display_name: str
    initiate_login_uri: str
    """Where the person may go on; empty: nowhere."""


class Seals:
    """Seals and opens."""

    def __init__(self, master: MasterKey, clock: Clock, lifetime: timedelta) -> None:
        self._aead = AESGCM(master.derive("pending-requests"))
        self._clock = clock
        self._lifetime = lifetime

    def seal(self, pending: PendingAuthorization) -> str:
        """The text for the next page."""
        about: dict[str, str | int] = {"position": pending.position, "chosen": pending.chosen_session}
        return self._seal("authorization", about, pending.proceed.SerializeToString())

    def open(self, text: str | None) -> PendingAuthorization:
        """What the page before sealed. Raises `PageExpired`."""
        about, message = self._open("authorization", text)
        try:
            return PendingAuthorization(Proceed.FromString(message), int(about["position"]), str(about["chosen"]))
        except (DecodeError, KeyError, ValueError):
            raise PageExpired from None

    def seal_logout(self, logout: Logout) -> str:
        """The text for the page that asks."""
        return self._seal("logout", {}, logout.SerializeToString())

    def open_logout(self, text: str | None) -> Logout:
        """What the page before sealed. Raises `PageExpired`."""
        _, message = self._open("logout", text)
        try:
            return Logout.FromString(message)
        except DecodeError:
            raise PageExpired from None

    def seal_proved(self, proved: PasswordProved, browser: str) -> str:
        """For the second page of a sign-in, in the browser whose secret this is."""
        about: dict[str, str | int] = {"sub": proved.sub, "epoch": proved.epoch, "position": proved.position}
        return self._seal("password-proved", {**about, "browser": digest(browser)}, b"")

    def open_proved(self, text: str | None, browser: str) -> PasswordProved:
        """That a password was right, in this browser, a moment ago. Raises `PageExpired`."""
        about, _ = self._open("password-proved", text, BETWEEN_FACTORS)
        if not browser or not same(str(about["browser"]), digest(browser)):
            raise PageExpired
        return PasswordProved(str(about["sub"]), int(about["epoch"]), int(about["position"]))

    def seal_setting_up(self, begun: SettingUp) -> str:
        """For the page that shows a seed, and asks for the first code of it."""
        about: dict[str, str | int] = {"sub": begun.sub, "epoch": begun.epoch, "position": begun.position}
        return self._seal("setting-up", {**about, "sid": begun.sid}, begun.seed.raw)

    def open_setting_up(self, text: str | None) -> SettingUp:
        """What the page before sealed. Raises `PageExpired`."""
        about, seed = self._open("setting-up", text, BETWEEN_FACTORS)
        known = int(about["epoch"]), int(about["position"])
        return SettingUp(str(about["sub"]), str(about["sid"]), *known, Seed(seed))

    def seal_ceremony(self, ceremony: Ceremony, browser: str) -> str:
        """For the page that asks for a passkey, in the browser whose secret this is."""
        about: dict[str, str | int] = {"about": ceremony.about, "name": ceremony.name, "browser": digest(browser)}
        at = ceremony.begun_at
        return self._seal(f"passkey-{ceremony.purpose}", about, ceremony.challenge, at)

    def open_ceremony(self, text: str | None, purpose: Purpose, browser: str) -> Ceremony:
        """What this browser was asked for that purpose, a moment ago. Raises `PageExpired`."""
        about, challenge = self._open(f"passkey-{purpose}", text, CEREMONY)
        if not browser or not same(str(about["browser"]), digest(browser)):
            raise PageExpired
        begun_at = datetime.fromtimestamp(int(about["at"]), UTC)
        return Ceremony(purpose, str(about["about"]), begun_at, challenge, str(about["name"]))

    def seal_installed(self, installed: Installed) -> str:
        """For the page that tells of it."""
        return self._seal("installed", asdict(installed), b"")

    def open_installed(self, text: str | None) -> Installed:
        """What was just installed. Raises `PageExpired`."""
        about, _ = self._open("installed", text)
        return Installed(*(str(about[part.name]) for part in fields(Installed)))

    def _seal(self, kind: str, about: Mapping[str, str | int], message: bytes, at: datetime | None = None) -> str:
        head = json.dumps({**about, "at": int((at or self._clock()).timestamp())}).encode()
        nonce = urandom(12)
        sealed = self._aead.encrypt(nonce, zlib.compress(head + b"\n" + message), kind.encode())
        return urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def _open(
        self, kind: str, text: str | None, lifetime: timedelta | None = None
    ) -> tuple[dict[str, str | int], bytes]:
        if not text or len(text) > LIMIT or not text.isascii():
            raise PageExpired
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            head, _, message = zlib.decompress(self._aead.decrypt(raw[:12], raw[12:], kind.encode())).partition(b"\n")
            about: dict[str, str | int] = json.loads(head)
        except (InvalidTag, ValueError, zlib.error):
            raise PageExpired from None
        if self._age(about) > (lifetime or self._lifetime):
            raise PageExpired
        return about, message

    def _age(self, about: dict[str, str | int]) -> timedelta:
        now: datetime = self._clock()
        return now - datetime.fromtimestamp(int(about["at"]), now.tzinfo)
