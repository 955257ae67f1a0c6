"""What an application may be that is installed by a link."""

import json
from typing import Any

import pytest

from services.registry.client_metadata import changes_of
from services.registry.domain.application import Register, Trusted, Uninstall, decider
from services.registry.domain.installation import Installation, check_document, check_start, host_of
from services.registry.events import (
    ApplicationInstalled,
    ApplicationRegistered,
    ApplicationSettings,
    ApplicationUninstalled,
    AuthMethod,
    GrantType,
    ReferenceTokens,
)
from shared.errors import Refusal
from shared.log.event import Event
from tests.support.decider import given
from tests.support.documented import blocks
from tests.unit.registry.applications import FIRST, confidential, native, public

DOCUMENT = "https://setlist.example/stagedoor.json"
SETLIST = "example.setlist/app"
INSTALLATION = Installation(DOCUMENT, "ab" * 32)
KNOWN = frozenset({"read", "update", "sec"})


def signing(**changes: Any) -> ApplicationSettings:
    return confidential(
        auth_method=AuthMethod.PRIVATE_KEY_JWT,
        jwks_uri="https://setlist.example/keys",
        **{"scopes": ("read",), **changes},
    )


def install(
    settings: ApplicationSettings | None = None,
    client_id: str = SETLIST,
    document: str = DOCUMENT,
    *,
    demo: bool = False,
) -> Register:
    installation = Installation(document, "ab" * 32)
    return Register(client_id, settings or signing(), KNOWN, FIRST, demo=demo, installation=installation)


def installed(settings: ApplicationSettings | None = None) -> tuple[Event, ...]:
    return (
        ApplicationRegistered(client_id=SETLIST, settings=settings or signing()),
        ApplicationInstalled(client_id=SETLIST, document=DOCUMENT, document_digest="ab" * 32),
    )


@pytest.mark.parametrize("settings", [signing(), public(), native()], ids=["signing", "public", "native"])
def test_it_is_registered_and_the_log_says_from_where(settings: ApplicationSettings) -> None:
    given(decider).when(install(settings)).then(*installed(settings))


def test_its_state_knows_the_document() -> None:
    state = given(decider, *installed()).state
    assert isinstance(state, Trusted)
    assert state.installed is not None
    assert state.installed.document == DOCUMENT


def test_the_document_in_the_documentation_can_be_installed() -> None:
    (example,) = map(json.loads, blocks("json"))
    settings = ApplicationSettings(**changes_of(example, example["client_id"]))
    document = "https://apps.example.com/stagedoor.json"
    command = Register(example["client_id"], settings, KNOWN, FIRST, installation=Installation(document, "ab" * 32))
    assert given(decider).when(command).refusal is None
    check_start(example["initiate_login_uri"], document)


@pytest.mark.parametrize("method", [AuthMethod.CLIENT_SECRET_BASIC, AuthMethod.CLIENT_SECRET_POST])
def test_a_link_brings_no_secret(method: AuthMethod) -> None:
    given(decider).when(install(confidential(auth_method=method))).refused("invalid_client_metadata")


@pytest.mark.parametrize(
    "more",
    [
        {"first_party": True},
        {"service_account": "somebody"},
        {"reference_tokens": ReferenceTokens.AUTHENTICATED_USERS},
        {"require_pkce": False},
        {"scopes": ("read", "sec")},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_link_brings_nothing_that_rests_on_knowing_the_application(more: dict[str, Any]) -> None:
    given(decider).when(install(signing(**more))).refused("invalid_client_metadata")


def test_a_scope_that_no_resource_has_is_refused() -> None:
    given(decider).when(install(signing(scopes=("launch",)))).refused("invalid_scope")


@pytest.mark.parametrize(
    ("document", "client_id"),
    [
        ("https://setlist.example/any/path.json?v=2", "example.setlist/app"),
        ("https://setlist.example:443/x.json", "example.setlist/some/thing"),
        ("https://apps.setlist.co.uk/x", "uk.co.setlist.apps/one"),
        ("https://xn--bcher-kva.example/x", "example.xn--bcher-kva/app"),
    ],
)
def test_a_document_names_applications_after_its_host(document: str, client_id: str) -> None:
    assert given(decider).when(install(client_id=client_id, document=document)).refusal is None


@pytest.mark.parametrize(
    ("document", "client_id"),
    [
        (DOCUMENT, "com.backstagehub/app"),
        (DOCUMENT, "example/app"),
        (DOCUMENT, "example.setlist.www/app"),
        (DOCUMENT, "example.setlists/app"),
        (DOCUMENT, "example.setlist"),
        (DOCUMENT, "setlist.example/app"),
        ("https://www.setlist.example/x", SETLIST),
        ("https://setlist.example.evil.example/x", SETLIST),
        ("https://stagedoor.com/x", "com.stagedoor/cli2"),
        ("https://setlist.example/x", "example.setlist/../app"),
        ("https://setlist.example/x", "example.setlist/\u0430pp"),
    ],
)
def test_a_document_names_no_application_of_another_host(document: str, client_id: str) -> None:
    given(decider).when(install(client_id=client_id, document=document)).refused("invalid_client_metadata")


@pytest.mark.parametrize(
    "document",
    [
        "",
        "setlist.example/x",
        "http://setlist.example/x",
        "ftp://setlist.example/x",
        "javascript:alert(1)",
        "data:application/json,{}",
        "file:///etc/passwd",
        "https://setlist.example/x#y",
        "https://freddie@setlist.example/x",
        "https://setlist.example:8443/x",
        "https://setlist.example/../x",
        "https://SETLIST.example/x",
        "https://setl\u0456st.example/x",
        "https://localhost/x",
        "https://127.0.0.1/x",
        "https://127.1/x",
        "https://2130706433/x",
        "https://0x7f.0.0.1/x",
        "https://[::1]/x",
        "https://[2001:db8::1]/x",
        "https://intranet/x",
        "https://setlist.example./x",
        "https://" + "a" * 2048 + ".example/x",
    ],
)
def test_from_such_an_address_no_document_is_fetched(document: str) -> None:
    with pytest.raises(Refusal) as refusal:
        check_document(document, demo=False)
    assert refusal.value.code == "invalid_document_address"


def test_in_demo_mode_a_document_on_this_machine_chooses_any_name() -> None:
    for document in ("http://localhost:8480/x", "http://127.0.0.1:8480/x", "https://[::1]:8480/x"):
        assert (
            given(decider).when(install(client_id="com.backstagehub/two", document=document, demo=True)).refusal is None
        )
        given(decider).when(install(client_id="com.backstagehub/two", document=document)).refused(
            "invalid_document_address"
        )
    elsewhere = "https://localhost.setlist.example/x"
    given(decider).when(install(document=elsewhere, demo=True)).refused("invalid_client_metadata")


@pytest.mark.parametrize(
    "name",
    [
        "B\u0430ckstageHub",  # a Cyrillic a
        "Sp\u03bftlight Tours",  # a Greek omicron
        "The \U0001d402rew",  # mathematical bold
        "\uff22ackstageHub",  # fullwidth
        "evil\u202egnp.exe",
        "Set\u200blist",
        "Set\nlist",
        " Setlist",
        "",
        "S" * 101,
    ],
)
def test_a_name_looks_like_what_it_is(name: str) -> None:
    given(decider).when(install(signing(display_name=name))).refused("invalid_client_metadata")


@pytest.mark.parametrize(
    "name",
    [
        "BackstageHub",
        "\u041c\u043e\u0438 \u0442\u0443\u0440\u044b",
        "\u03a4\u03bf\u03c5\u03c1",
        "Tours & <Merch>",
        "ツアー Manager",
        "Café Zoë 2",
    ],
)
def test_names_in_any_one_script_are_names(name: str) -> None:
    assert given(decider).when(install(signing(display_name=name))).refusal is None


def test_a_name_that_was_used_is_never_used_again() -> None:
    taken = given(decider, *installed())
    taken.when(install()).refused("name_taken")
    gone = given(decider, *installed(), ApplicationUninstalled(client_id=SETLIST))
    gone.when(install()).refused("name_taken")
    taken.when(Uninstall(SETLIST)).then(ApplicationUninstalled(client_id=SETLIST))


def test_a_service_may_come_by_a_link() -> None:
    service = signing(grants=(GrantType.CLIENT_CREDENTIALS,), redirect_uris=())
    given(decider).when(install(service)).then(*installed(service))


@pytest.mark.parametrize(
    "start",
    [
        "javascript:alert(1)",
        "https://evil.example/begin",
        "https://www.setlist.example/begin",
        "http://setlist.example/begin",
        "//setlist.example/begin",
        "https://setlist.example@evil.example/begin",
        "https://setlist.example\\@evil.example/begin",
    ],
)
def test_nobody_is_led_on_to_somewhere_else(start: str) -> None:
    with pytest.raises(Refusal):
        check_start(start, DOCUMENT)
    check_start("https://setlist.example/begin?x=1", DOCUMENT)


def test_the_host_is_told_as_it_is_written() -> None:
    assert host_of("https://xn--bcher-kva.example/x") == "xn--bcher-kva.example"
