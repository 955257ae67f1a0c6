"""A `claims` parameter that costs more to read than to send, or that two readers would read differently."""

import json

import pytest

from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.authorization.parameters import LONGEST_VALUE
from services.token_issuer.claims import parse
from shared.errors import Refusal
from tests.support.issuing import Stage, query

BOMBS = {
    "lists": "[" * LONGEST_VALUE,
    "objects": '{"a":' * (LONGEST_VALUE // 5),
    "deep value": '{"userinfo":{"name":{"value":' + "[" * 1000 + "]" * 1000 + "}}}",
    "just too deep": '{"userinfo":{"name":{"value":{"a":{"b":{"c":{"d":1}}}}}}}',
    "a long number": '{"userinfo":{"sub":{"value":' + "9" * 3000 + "}}}",
    "many claims": json.dumps({"userinfo": {f"c{n}": None for n in range(300)}}),
    "a member twice": '{"userinfo":{"name":null},"userinfo":{"email":null}}',
    "a claim twice": '{"userinfo":{"name":null,"name":{"essential":true}}}',
    "a claim twice, spelled otherwise": '{"userinfo":{"name":null,"n\\u0061me":null}}',
    "essential twice": '{"userinfo":{"name":{"essential":true,"essential":false}}}',
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_it_is_refused(bomb: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse(BOMBS[bomb])
    assert refusal.value.code == "invalid_request"


async def test_the_application_is_told(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    for text in (BOMBS["lists"], BOMBS["a claim twice"], "{" + " " * LONGEST_VALUE + "}"):
        outcome = await stage.begin(hub, claims=text)
        assert isinstance(outcome, Redirect)
        assert query(outcome.uri)["error"] == "invalid_request"
        assert query(outcome.uri)["state"] == "xyz"
