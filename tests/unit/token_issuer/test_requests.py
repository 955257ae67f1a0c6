"""The rules of an authorization request."""

from collections.abc import Mapping
from typing import Any

import pytest

from services.registry.events import ApplicationType, GrantType
from services.token_issuer.acr import PASSWORD
from services.token_issuer.authorization.answers import ResponseMode
from services.token_issuer.authorization.parameters import Parameters
from services.token_issuer.authorization.rules import (
    Destination,
    Surroundings,
    check,
    destination,
    login_hint,
    mode_to_answer_in,
    state_to_return,
    ui_locales,
)
from services.token_issuer.sealing import AuthorizationRequest
from services.token_issuer.views import Application
from shared.errors import Refusal
from tests.unit.token_issuer.world import (
    API,
    CALLBACK,
    HUB,
    MERCH,
    NOW,
    PLACES,
    RESOURCES,
    application,
    public,
    settings,
)

CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
RIGHT = {
    "client_id": HUB,
    "redirect_uri": CALLBACK,
    "response_type": "code",
    "scope": "openid read",
    "state": "xyz",
    "nonce": "n-0S6",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


def hint(token: str) -> Mapping[str, Any] | None:
    known = {"freddies": {"sub": "freddie", "aud": HUB}, "foreign": {"sub": "freddie", "aud": "com.mallory/app"}}
    return known.get(token)


AROUND = Surroundings(RESOURCES, PLACES, hint, NOW, 7)


def parameters(*more: tuple[str, str], without: str = "", **changes: str) -> Parameters:
    given = {name: value for name, value in {**RIGHT, **changes}.items() if name != without}
    return Parameters.of([*given.items(), *more])


def request(
    *more: tuple[str, str], whose: Application | None = None, without: str = "", **changes: str
) -> AuthorizationRequest:
    there = Destination(whose or application(), CALLBACK, given=True)
    return check(there, parameters(*more, without=without, **changes), AROUND)


def refused(*more: tuple[str, str], whose: Application | None = None, without: str = "", **changes: str) -> str:
    with pytest.raises(Refusal) as refusal:
        request(*more, whose=whose, without=without, **changes)
    assert refusal.value.message.isascii()
    return refusal.value.code


def test_a_right_request() -> None:
    assert request() == AuthorizationRequest(
        client_id=HUB,
        redirect_uri=CALLBACK,
        redirect_uri_given=True,
        scopes=("openid", "read"),
        audiences=(API, PLACES.userinfo),
        scopes_given=True,
        state="xyz",
        nonce="n-0S6",
        code_challenge=CHALLENGE,
        response_mode="query",
        prompt=(),
        max_age=None,
        expected_sub=None,
        begun_at=NOW,
        position=7,
    )


def test_unknown_parameters_are_ignored_and_empty_ones_left_out() -> None:
    extra: dict[str, Any] = {"utm_source": "mail", "display": "page", "acr_values": "high", "claims": "{}"}
    assert request(**extra) == request()
    assert request(max_age="", request="", prompt="") == request()


# Where the browser may be sent at all


@pytest.mark.parametrize("whose", [None, application(enabled=False)])
def test_an_unknown_or_disabled_application_is_never_redirected_to(whose: Application | None) -> None:
    with pytest.raises(Refusal) as refusal:
        destination(whose, parameters())
    assert refusal.value.code == "invalid_client"


def test_a_redirect_uri_that_is_not_registered() -> None:
    with pytest.raises(Refusal):
        destination(application(), parameters(redirect_uri=CALLBACK + "/x"))
    with pytest.raises(Refusal):
        destination(application(), parameters(("redirect_uri", CALLBACK)))


def test_a_redirect_uri_may_be_left_out_where_there_is_one_and_no_openid() -> None:
    there = destination(application(), parameters(without="redirect_uri", scope="read"))
    assert (there.redirect_uri, there.given) == (CALLBACK, False)
    with pytest.raises(Refusal):
        destination(application(), parameters(without="redirect_uri"))
    two = application(settings(redirect_uris=(CALLBACK, CALLBACK + "2")))
    with pytest.raises(Refusal):
        destination(two, parameters(without="redirect_uri", scope="read"))


# What goes back to the application


@pytest.mark.parametrize("name", [*sorted(set(RIGHT) - {"client_id", "redirect_uri"}), "prompt", "unheard_of"])
def test_nothing_is_given_twice(name: str) -> None:
    value = RIGHT.get(name, "login")
    assert refused((name, value), (name, value)) == "invalid_request"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": "none"}, "unsupported_response_type"),
        ({"response_mode": "query.jwt"}, "invalid_request"),
        ({"response_mode": "FORM_POST"}, "invalid_request"),
        ({"request": "eyJ"}, "request_not_supported"),
        ({"request_uri": "https://mallory.example/r"}, "request_uri_not_supported"),
        ({"scope": "openid erase"}, "invalid_scope"),
        ({"scope": 'openid "'}, "invalid_scope"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": "s256"}, "invalid_request"),
        ({"code_challenge": CHALLENGE + "="}, "invalid_request"),
        ({"code_challenge": CHALLENGE[:-1]}, "invalid_request"),
        ({"code_challenge": "+" + CHALLENGE[1:]}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "create"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "1.5"}, "invalid_request"),
        ({"max_age": "1e9"}, "invalid_request"),
        ({"max_age": "٣"}, "invalid_request"),
        ({"max_age": "9" * 10}, "invalid_request"),
        ({"nonce": "n" * 513}, "invalid_request"),
        ({"state": "s" * 2049}, "invalid_request"),
        ({"state": "s" * 5000}, "invalid_request"),
        ({"state": "a\nb"}, "invalid_request"),
        ({"nonce": "a\0b"}, "invalid_request"),
        ({"id_token_hint": "garbage"}, "invalid_request"),
        ({"id_token_hint": "foreign"}, "invalid_request"),
        ({"claims": "[]"}, "invalid_request"),
        ({"id_token_hint": "freddies", "claims": '{"id_token":{"sub":{"value":"brian"}}}'}, "invalid_request"),
        ({"claims": '{"id_token":{"acr":{"essential":true,"value":"phr"}}}'}, "unmet_authentication_requirements"),
        ({"registration": "{}"}, "registration_not_supported"),
        ({"resource": "https://unknown.example"}, "invalid_target"),
        ({"resource": MERCH}, "invalid_scope"),
    ],
)
def test_a_wrong_request(changes: dict[str, Any], code: str) -> None:
    assert refused(**changes) == code


def test_how_the_answer_is_to_travel() -> None:
    assert request(response_mode="fragment").response_mode == "fragment"
    assert request(response_mode="form_post").response_mode == "form_post"
    native = Destination(application(public(type=ApplicationType.NATIVE)), "com.example.app:/back", given=True)
    with pytest.raises(Refusal) as refusal:
        check(native, parameters(response_mode="form_post"), AROUND)
    assert refusal.value.code == "invalid_request"


@pytest.mark.parametrize(
    ("asked", "uri", "mode"),
    [
        ("", CALLBACK, ResponseMode.QUERY),
        ("fragment", CALLBACK, ResponseMode.FRAGMENT),
        ("form_post", CALLBACK, ResponseMode.FORM_POST),
        ("form_post", "com.example.app:/back", ResponseMode.QUERY),
        ("web_message", CALLBACK, ResponseMode.QUERY),
    ],
)
def test_errors_travel_as_was_asked_if_that_is_possible(asked: str, uri: str, mode: ResponseMode) -> None:
    there = Destination(application(), uri, given=True)
    assert mode_to_answer_in(there, parameters(response_mode=asked)) is mode
    assert mode_to_answer_in(there, parameters(("response_mode", "form_post"), ("response_mode", "fragment"))) is (
        ResponseMode.QUERY
    )


def test_claims_asked_for_one_by_one_are_scopes() -> None:
    asked = '{"userinfo":{"email":null,"given_name":{"essential":true},"shoe_size":null},"id_token":{"name":null}}'
    assert request(claims=asked).scopes == ("openid", "read", "claim:email", "claim:given_name")
    assert request(claims=asked).audiences == (API, PLACES.userinfo)
    assert request(claims=asked, scope="openid profile").scopes == ("openid", "profile", "claim:email")
    assert request(claims=asked, scope="read").scopes == ("read",)


def test_claims_can_say_who_it_has_to_be_and_what_the_sign_in_has_to_be_worth() -> None:
    assert request(claims='{"id_token":{"sub":{"value":"freddie"}}}').expected_sub == "freddie"
    both = request(id_token_hint="freddies", claims='{"userinfo":{"sub":{"values":["freddie"]}}}')
    assert both.expected_sub == "freddie"
    essential = f'{{"id_token":{{"acr":{{"essential":true,"values":["phr","{PASSWORD}"]}}}}}}'
    assert request(claims=essential).acr == (PASSWORD,)
    assert request(claims='{"id_token":{"acr":{"values":["phr"]}}}').acr == ()
    assert request(acr_values="phr phrh").acr == ()


def test_the_response_type_is_needed() -> None:
    assert refused(without="response_type") == "invalid_request"


def test_the_grant_is_needed() -> None:
    service = application(settings(grants=(GrantType.CLIENT_CREDENTIALS,)))
    assert refused(whose=service) == "unauthorized_client"


@pytest.mark.parametrize("kind", [ApplicationType.PUBLIC, ApplicationType.NATIVE])
def test_pkce_is_not_a_matter_of_choice_where_there_is_no_secret(kind: ApplicationType) -> None:
    lax = application(public(type=kind, require_pkce=False))
    assert refused(whose=lax, without="code_challenge") == "invalid_request"
    with pytest.raises(Refusal):
        check(Destination(lax, CALLBACK, given=True), parameters(code_challenge="", code_challenge_method=""), AROUND)


def test_pkce_is_the_default_and_a_confidential_application_may_turn_it_off() -> None:
    none: dict[str, Any] = {"code_challenge": "", "code_challenge_method": ""}
    assert refused(**none) == "invalid_request"
    lax = application(settings(require_pkce=False))
    assert request(whose=lax, **none).code_challenge is None
    assert request(whose=lax).code_challenge == CHALLENGE
    assert refused(whose=lax, code_challenge="") == "invalid_request"
    assert refused(whose=lax, code_challenge_method="plain") == "invalid_request"


def test_what_the_sign_in_page_has_to_know() -> None:
    asked = request(prompt="login consent login", max_age="0", id_token_hint="freddies")
    assert (asked.prompt, asked.max_age, asked.expected_sub) == (("login", "consent"), 0, "freddie")
    assert login_hint(parameters(login_hint="freddie")) == "freddie"
    assert login_hint(parameters(login_hint="f" * 257)) == ""
    assert ui_locales(parameters(ui_locales="de-AT de <script> en")) == ["de-AT", "de", "en"]


def test_several_resources_may_be_asked_for() -> None:
    both = application(settings(scopes=("read", "sell")))
    there = parameters(("resource", API), ("resource", MERCH), scope="read sell")
    assert check(Destination(both, CALLBACK, given=True), there, AROUND).audiences == (API, MERCH)


def test_the_state_comes_back_if_it_is_one() -> None:
    assert state_to_return(parameters()) == "xyz"
    assert state_to_return(parameters(("state", "abc"))) is None
    assert state_to_return(parameters(state="s" * 2049)) is None
    assert state_to_return(parameters(state="a\r\nb")) is None


def test_a_request_has_bounds() -> None:
    assert not parameters().oversized
    assert parameters(*((f"p{number}", "x") for number in range(60))).oversized
    assert parameters(*((f"p{number}", "x" * 4096) for number in range(6))).oversized
    assert Parameters.of([("client_id", HUB), ("client_id", HUB)]).trusted("client_id") is None
    assert Parameters.of([("client_id", "a\0b")]).trusted("client_id") is None
