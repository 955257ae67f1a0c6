"""What all tests share: the running system, and folders for systems of a test's own."""

from hypothesis import HealthCheck, settings

# Whether an example is right does not depend on how fast a machine is.
settings.register_profile("stagedoor", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stagedoor")

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.system",
    "tests.support.counting",
    "tests.support.facts",
    "tests.support.work",
]
