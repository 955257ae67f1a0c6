"""The issuer on a real log, for all tests here."""

from tests.support.issuing import believing as believing  # noqa: PLC0414  (a fixture)
from tests.support.issuing import patience as patience  # noqa: PLC0414  (a fixture)
from tests.support.issuing import stage as stage  # noqa: PLC0414  (a fixture)
from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture)
