"""The registry as it runs, for the tests in this folder."""

from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture, as are the others)
from tests.support.registry import clock as clock  # noqa: PLC0414
from tests.support.registry import log as log  # noqa: PLC0414
from tests.support.registry import registry as registry  # noqa: PLC0414
