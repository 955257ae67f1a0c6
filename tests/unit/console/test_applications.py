"""The form of an application: a setting that it did not know would be changed by whoever changes another one."""

from protos.stagedoor.registry.v1 import registry_pb2 as pb
from services.console.pages.applications import CHANGEABLE, TYPE
from services.console.pages.fields import read, shown
from services.registry import messages
from services.registry.events import AuthMethod, SecurityProfile
from shared.http.forms import single
from tests.support.client_certificates import self_signed


def test_it_has_every_setting() -> None:
    fields = pb.ApplicationSettings.DESCRIPTOR.fields_by_name
    assert {field.name for field in (TYPE, *CHANGEABLE)} == set(fields)


def test_what_was_not_touched_is_read_as_it_was_shown() -> None:
    settings = self_signed("own", security_profile=SecurityProfile.FAPI2)
    told = messages.settings_message(settings)
    assert told.auth_method == AuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH
    values = {field.name: field.of(told) for field in CHANGEABLE}
    sent: dict[str, str] = {}
    for field, page in zip(CHANGEABLE, shown(CHANGEABLE, values), strict=True):
        match field.shape:
            case "choices":
                sent |= {f"{field.name}:{option}": "yes" for option in page["options"] if option in page["value"]}
            case "flag":
                sent |= {field.name: "yes"} if page["value"] else {}
            case "choice":
                # A browser sends the first option where none is selected.
                chosen = page["value"] if page["value"] in page["options"] else page["options"][0]
                sent[field.name] = str(chosen)
            case _:
                sent[field.name] = str(page["value"])
    assert read(CHANGEABLE, single(sent.items())) == values
