from tests.support.log_lines import log_lines as log_lines  # noqa: PLC0414  (a fixture)
from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture)
from tests.support.parties import strangers as strangers  # noqa: PLC0414  (a fixture)
