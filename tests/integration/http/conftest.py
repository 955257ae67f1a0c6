from tests.support.log_lines import log_lines as log_lines  # noqa: PLC0414  (a fixture)
