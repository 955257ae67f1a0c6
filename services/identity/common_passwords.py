"""Passwords that guessing begins with: the most frequent of those that have leaked, as zxcvbn lists them.

That package is here for its list alone. Importing it would keep all its dictionaries in memory, ten megabytes of
English words, names and film titles, so the list is read out of its file.
"""

import re
from functools import cache
from importlib.metadata import distribution
from typing import Final

from services.identity.domain.names import normalised, plausible_password

_FILE: Final = "zxcvbn/frequency_lists.py"
_LIST: Final = re.compile(r'^ *"passwords": "([^"]*)"', re.MULTILINE)


@cache
def most_frequent() -> frozenset[str]:
    """Those that have the length of a password, in the form in which names are compared: upper case or not."""
    found = _LIST.search(str(distribution("zxcvbn").locate_file(_FILE).read_text()))
    if found is None:
        raise ValueError(f"{_FILE} is written otherwise than it was")
    words = (normalised(word) for word in found.group(1).split(","))
    return frozenset(word for word in words if plausible_password(word))
