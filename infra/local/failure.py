"""Why the local system cannot run."""


class SystemFailure(Exception):  # noqa: N818  (it is one line for a person, not a malfunction)
    """The system cannot start or go on; the message is one line for the person at the terminal."""
