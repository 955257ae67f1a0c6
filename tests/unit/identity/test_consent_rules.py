import pytest

from services.identity.domain.consent import CONSENT, GiveConsent, WithdrawConsent, consent_id
from services.identity.events import ConsentGiven, ConsentWithdrawn
from tests.support.decider import given

CLIENT = "com.backstagehub/app"


def give(*scopes: str, client_id: str = CLIENT) -> GiveConsent:
    return GiveConsent("sub", client_id, scopes)


def given_(*scopes: str) -> ConsentGiven:
    return ConsentGiven(sub="sub", client_id=CLIENT, scopes=scopes)


WITHDRAW = WithdrawConsent("sub", CLIENT)
WITHDRAWN = ConsentWithdrawn(sub="sub", client_id=CLIENT)


def test_only_what_is_new_is_written() -> None:
    given(CONSENT).when(give("read", "openid")).then(given_("openid", "read")).when(give("read")).then_nothing().when(
        give("read", "update")
    ).then(given_("update"))


def test_after_withdrawing_everything_has_to_be_asked_again() -> None:
    given(CONSENT, given_("read")).when(WITHDRAW).then(WITHDRAWN).when(give("read")).then(given_("read"))


def test_an_application_that_never_asked_can_be_stopped_too() -> None:
    given(CONSENT).when(WITHDRAW).then(WITHDRAWN)


@pytest.mark.parametrize("client_id", ["", "two words", "a\nb", "x" * 256, "é"])
def test_what_is_no_client_id(client_id: str) -> None:
    given(CONSENT).when(give("read", client_id=client_id)).refused("invalid_client_id")
    given(CONSENT).when(WithdrawConsent("sub", client_id)).refused("invalid_client_id")


@pytest.mark.parametrize("scope", ["", "two words", 'quo"te', "back\\slash", "é"])
def test_what_is_no_scope(scope: str) -> None:
    given(CONSENT).when(give(scope)).refused("invalid_scope")


def test_two_people_or_two_applications_never_share_a_consent() -> None:
    ids = {consent_id(sub, client) for sub in ("a", "b") for client in ("c.d/e", "d/e")}
    assert len(ids) == 4
