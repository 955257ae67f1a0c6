"""What all tests share: the running system, and folders for systems of a test's own."""

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.system",
    "tests.support.counting",
    "tests.support.facts",
    "tests.support.work",
]
