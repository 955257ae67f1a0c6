"""Client authentication: one proof, of the registered kind, and one error for everything else."""

from base64 import b64encode
from datetime import timedelta

import pytest

from services.registry.events import AuthMethod
from services.token_issuer.clients import Presented, authenticate, presented
from services.token_issuer.views import Application, Secret
from shared.errors import Refusal
from shared.http.forms import Params, single
from shared.ids import digest
from tests.unit.token_issuer.world import HUB, NOW, SECRET, application, public, settings


def form(**values: str) -> Params:
    return single(values.items())


def basic(name: str, secret: str, scheme: str = "Basic") -> str:
    return f"{scheme} " + b64encode(f"{name}:{secret}".encode()).decode()


def code(authorization: list[str], **values: str) -> str:
    with pytest.raises(Refusal) as refused:
        presented(authorization, form(**values))
    return refused.value.code


@pytest.mark.parametrize("name", [HUB, HUB.replace("/", "%2F"), HUB.replace("/", "%2f")])
def test_basic_is_form_decoded(name: str) -> None:
    assert presented([basic(name, "a%2Bb+c")], form()) == Presented(HUB, AuthMethod.CLIENT_SECRET_BASIC, "a+b c")


def test_post_and_none() -> None:
    assert presented([], form(client_id=HUB, client_secret=SECRET)) == Presented(
        HUB, AuthMethod.CLIENT_SECRET_POST, SECRET
    )
    assert presented([], form(client_id=HUB)) == Presented(HUB, AuthMethod.NONE)


def test_basic_may_repeat_the_client_id() -> None:
    assert presented([basic(HUB, SECRET, "bAsIc")], form(client_id=HUB)).client_id == HUB


def test_two_proofs_are_refused() -> None:
    header = basic(HUB, SECRET)
    assert code([header], client_id=HUB, client_secret=SECRET) == "invalid_request"
    assert code([header], client_secret=SECRET) == "invalid_request"
    assert code([header, header]) == "invalid_request"
    assert code([header], client_id="com.mallory/app") == "invalid_request"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer abc",
        "Basic",
        "Basic !!!",
        "Basic " + b64encode(b"no colon").decode(),
        "Basic " + b64encode(b"\xff\xfe:x").decode(),
        "Basic " + b64encode(b"%ff:x").decode(),
        "Basic " + b64encode(b":secret").decode(),
        "Basic " + b64encode(b"a\0b:secret").decode(),
        basic(HUB, "x" * 513),
    ],
)
def test_broken_credentials_are_no_credentials(header: str) -> None:
    assert code([header]) == "invalid_client"


def test_no_credentials() -> None:
    assert code([]) == "invalid_client"
    assert code([], client_secret=SECRET) == "invalid_client"
    assert code([], client_id=HUB, client_assertion="x") == "invalid_client"


def refused(whom: Application | None, who: Presented) -> bool:
    with pytest.raises(Refusal) as refusal:
        authenticate(whom, who, NOW)
    assert refusal.value.message == "client authentication failed"
    return refusal.value.code == "invalid_client"


BASIC = Presented(HUB, AuthMethod.CLIENT_SECRET_BASIC, SECRET)


def test_the_right_secret_in_the_right_way() -> None:
    assert authenticate(application(), BASIC, NOW) == application()


def test_any_of_several_live_secrets_serves() -> None:
    both = Application(
        HUB, settings(), enabled=True, secrets=(Secret(digest("old"), None), Secret(digest(SECRET), None))
    )
    assert authenticate(both, BASIC, NOW) is both


def test_everything_else_is_the_same_error() -> None:
    other_way = application(settings(auth_method=AuthMethod.CLIENT_SECRET_POST))
    expired = Application(HUB, settings(), enabled=True, secrets=(Secret(digest(SECRET), NOW),))
    without = Application(HUB, settings(), enabled=True)
    assert refused(None, BASIC)
    assert refused(None, Presented(HUB, AuthMethod.NONE))
    assert refused(application(enabled=False), BASIC)
    assert refused(application(secret="other"), BASIC)
    assert refused(other_way, BASIC)
    assert refused(expired, BASIC)
    assert refused(without, BASIC)
    assert refused(without, Presented(HUB, AuthMethod.CLIENT_SECRET_BASIC, ""))
    assert refused(application(), Presented(HUB, AuthMethod.NONE))
    assert refused(application(public()), BASIC)


def test_a_secret_serves_until_it_expires() -> None:
    dying = Application(HUB, settings(), enabled=True, secrets=(Secret(digest(SECRET), NOW + timedelta(seconds=1)),))
    assert authenticate(dying, BASIC, NOW) is dying


def test_a_public_application_says_its_name() -> None:
    assert authenticate(application(public()), Presented(HUB, AuthMethod.NONE), NOW).client_id == HUB
    misconfigured = application(settings(auth_method=AuthMethod.NONE))
    assert refused(misconfigured, Presented(HUB, AuthMethod.NONE))
