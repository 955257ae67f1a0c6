"""Points in time as people write them, in the zone that the person has set."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from services.identity.read_model import UserRow


@dataclass(frozen=True, slots=True)
class Shown:
    """A point in time on a page."""

    text: str
    iso: str
    """RFC 3339, for programs that read the page."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Writes points in time for one person."""

    zone: tzinfo
    name: str

    @classmethod
    def of(cls, user: UserRow) -> "Moments":
        """In the user's zone; in UTC where they have set none, or none that is known here."""
        if user.zoneinfo:
            with suppress(KeyError, ValueError, OSError):  # unknown, malformed, or a folder of the zone files
                return cls(ZoneInfo(user.zoneinfo), user.zoneinfo)
        return cls(UTC, "UTC")

    def read(self, stamp: Timestamp) -> datetime:
        """The moment in a message."""
        return stamp.ToDatetime(UTC)

    def day(self, moment: datetime) -> Shown:
        """Such as “13 July 1985”."""
        local = moment.astimezone(self.zone)
        return Shown(f"{local.day} {local:%B %Y}", local.isoformat(timespec="seconds"))

    def minute(self, moment: datetime) -> Shown:
        """Such as “13 July 1985, 18:41”."""
        local = moment.astimezone(self.zone)
        return Shown(f"{local.day} {local:%B %Y, %H:%M}", local.isoformat(timespec="seconds"))
