"""User names that look like another's, or that some reader folds into it."""

import pytest

from shared.errors import Refusal
from tests.support.identity_service import PASSWORD, Identity, sign_in

SAME = [
    "FREDDIE",
    "Freddie",
    "\uff46reddie",
    "\U0001d4ef\U0001d4fb\U0001d4ee\U0001d4ed\U0001d4ed\U0001d4f2\U0001d4ee",
    " freddie ",
]
"""Compatible or folded: the same name, so nobody else can have it."""
OTHERS = ["fr\u0435ddie", "fredd\u0456e", "fredd\u0131e", "freddie\u0301", "freddie."]
"""Others, however alike they look: they have no part in his account."""
UNSEEN = ["fred\u200bdie", "freddie\u200d", "\u202eeidderf", "fred\u00addie", "freddie\u0000", "fred die", "fred\tdie"]


async def test_the_same_name_is_taken_and_another_is_another(identity: Identity) -> None:
    await identity.register("freddie")
    for name in SAME:
        with pytest.raises(Refusal):
            await identity.register(name, "somebody-elses-password")
    for name in UNSEEN:
        with pytest.raises(Refusal):
            await identity.register(name, "somebody-elses-password")
    for number, name in enumerate(OTHERS):
        page = await sign_in(identity.browser(f"198.51.100.{number}"), name, PASSWORD)
        assert page.status == 422, name
    assert await identity.facts("SessionStarted") == []
    for name in SAME:
        assert (await sign_in(identity.browser(), name, PASSWORD)).status == 200, name
