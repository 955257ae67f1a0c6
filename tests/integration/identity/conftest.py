from tests.support.identity_service import _database, database, identity, settings  # noqa: F401  (fixtures)
from tests.support.parties import parties  # noqa: F401  (a fixture)
