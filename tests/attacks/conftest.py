"""What the attacks are made on."""

from tests.support.issuing import stage as stage  # noqa: PLC0414  (a fixture)
