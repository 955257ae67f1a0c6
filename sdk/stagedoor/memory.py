"""Tokens that a process has seen, by the SHA-256 of their text: the text itself is not kept."""

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice

from stagedoor.token import AccessToken
from stagedoor.verdict import Denied

_REFUSED_SECONDS = 2.0
_MOST_REFUSED = 10_000


class Memory:
    """A bounded number of tokens; those that were not asked about for longest are forgotten first, some at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._at_a_time = 1 + most // 16
        # In the order of when they were asked about. A plain dictionary: what remembers a token has to be brought into
        # the processor's caches, at a moment when they hold nothing but what verifying it took.
        self._known: dict[bytes, AccessToken] = {}
        self.find = self._known.get
        """The token of this digest. It counts as asked about only with `keep`: a warm check stays light."""

    def __len__(self) -> int:
        return len(self._known)

    def add(self, digest: bytes, token: AccessToken) -> None:
        """Remember it."""
        known = self._known
        known[digest] = token
        if len(known) > self._most:
            try:
                oldest = list(islice(known, self._at_a_time))
            except RuntimeError:
                return  # another thread is just adding one, and will see to it
            for each in oldest:
                known.pop(each, None)

    def keep(self, digest: bytes) -> None:
        """It was asked about."""
        token = self._known.pop(digest, None)
        if token is not None:
            self._known[digest] = token

    def forget(self, digest: bytes) -> None:
        """As if it had never been seen."""
        self._known.pop(digest, None)

    def clear(self) -> None:
        """Forget all of them."""
        self._known.clear()

    def prune(self, now: float) -> None:
        """Forget those that have expired by `now`, in seconds since 1970."""
        for digest, token in tuple(self._known.items()):
            if token.said.exp <= now:
                self.forget(digest)


class Refused:
    """Reference tokens that the issuer has refused just now, so that asking again and again costs nobody anything.

    For two seconds: a key that is enabled again, or that a slower replica did not know yet, is soon asked about anew.
    """

    def __init__(self, boot: Callable[[], float]) -> None:
        self._boot = boot
        self._refused: OrderedDict[tuple[bytes, str], tuple[float, Denied]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._refused)

    def find(self, digest: bytes, audience: str) -> Denied | None:
        """What was said of it for this audience, if that was just now."""
        found = self._refused.get((digest, audience))
        return found[1] if found is not None and self._boot() < found[0] else None

    def add(self, digest: bytes, audience: str, refused: Denied) -> None:
        """Remember it for a moment."""
        self._refused.pop((digest, audience), None)
        self._refused[digest, audience] = (self._boot() + _REFUSED_SECONDS, refused)
        if len(self._refused) > _MOST_REFUSED:
            self._refused.popitem(last=False)
