"""Tokens that a process has seen, by the SHA-256 of their text: the text itself is not kept."""

from collections import OrderedDict

from stagedoor.token import AccessToken


class Memory:
    """A bounded number of tokens; those that were not asked about for longest are forgotten first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[bytes, AccessToken] = OrderedDict()
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
                known.popitem(last=False)
            except KeyError:
                return  # another thread has been faster

    def keep(self, digest: bytes) -> None:
        """It was asked about."""
        try:
            self._known.move_to_end(digest)
        except KeyError:
            return  # another thread has just forgotten it

    def forget(self, digest: bytes) -> None:
        """As if it had never been seen."""
        self._known.pop(digest, None)

    def clear(self) -> None:
        """Forget all of them."""
        self._known.clear()
