"""Names of applications that look like another's (Unicode TR 39), and names that some reader folds into it."""

import pytest

from services.registry.domain.trust import check_client_id
from services.token_issuer.authorization.begin import Refused
from shared.errors import Refusal
from tests.support.issuing import HUB, Stage, error

LOOKALIKES = [
    HUB.replace("a", "\u0430"),  # Cyrillic
    HUB.replace("/", "\u2215"),
    HUB.replace("/", "\uff0f"),
    HUB.replace(".", "\u3002"),
    HUB.replace("c", "\uff43"),
    HUB.replace("k", "\u212a"),  # the sign for kelvin, which folds to k
    HUB.upper(),
    HUB.title(),
    HUB + "\u200b",
    "\ufeff" + HUB,
    HUB + "\u0301",
    HUB + " ",
    HUB + "/",
    HUB + "/.",
    HUB + "/../app",
    HUB.replace("/", "//"),
    HUB.replace("/", "%2f"),
    "\u202e" + HUB[::-1],
]


def test_none_of_them_can_be_registered() -> None:
    check_client_id(HUB)
    for name in LOOKALIKES:
        with pytest.raises(Refusal):
            check_client_id(name)


async def test_none_of_them_is_taken_for_the_real_one(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    for name in (*LOOKALIKES, HUB + "."):
        assert isinstance(await stage.begin(hub, client_id=name), Refused), name
        form = {"grant_type": "client_credentials", "client_id": name, "client_secret": hub.secret or ""}
        assert error(await stage.http.post("/id/connect/token", data=form)) == "invalid_client", name
