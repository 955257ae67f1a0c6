"""The users of NATS in the example for Kubernetes are those of `infra/nats.conf`, with the same rights."""

import re
from typing import Any

import yaml

from tests.support.charts import EXAMPLES

_TOKEN = re.compile(r'#[^\n]*|"([^"]*)"|[{}\[\]:]|[^\s{}\[\]:,]+')


class _Reader:
    """Reads the part of NATS' configuration language that `nats.conf` uses: maps, lists, strings, bare words."""

    def __init__(self, text: str) -> None:
        tokens = [found for found in _TOKEN.finditer(text) if not found[0].startswith("#")]
        self._words = iter([(found[0], "") if found[1] is None else ("", found[1]) for found in tokens])

    def mapping(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for bare, quoted in self._words:
            if bare == "}":
                break
            following = next(self._words)
            found[bare or quoted] = self._value(*(next(self._words) if following[0] == ":" else following))
        return found

    def _listing(self) -> list[Any]:
        found = []
        for bare, quoted in self._words:
            if bare == "]":
                break
            found.append(self._value(bare, quoted))
        return found

    def _value(self, bare: str, quoted: str) -> Any:
        if bare == "{":
            return self.mapping()
        return self._listing() if bare == "[" else bare or quoted


def _plain(found: Any) -> Any:
    """As the chart writes it: `<< … >>` stands without quotes."""
    if isinstance(found, dict):
        return {name: _plain(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_plain(value) for value in found]
    match = re.fullmatch(r"<< (.*) >>", str(found))
    return match[1] if match else str(found)


def test_users_and_rights_are_the_same() -> None:
    ours = _Reader((EXAMPLES.parent.parent / "nats.conf").read_text()).mapping()
    ours.pop("include")
    example = yaml.safe_load((EXAMPLES / "nats.yaml").read_text())
    theirs = _plain(example["config"]["merge"])
    assert theirs == ours
    users = [user["user"] for user in theirs["accounts"]["STAGEDOOR"]["users"]]
    assert len(users) == 6
    assert set(example["container"]["env"]) == {f"{user.upper()}_PASSWORD" for user in users}


def test_nothing_is_said_in_the_clear() -> None:
    config = yaml.safe_load((EXAMPLES / "nats.yaml").read_text())["config"]
    assert config["nats"]["tls"]["merge"].items() >= {"verify": True, "handshake_first": True}.items()
    assert config["cluster"]["tls"]["merge"]["verify"] is True
    # Not the authority of the services: none of them can become a node.
    assert config["cluster"]["tls"]["secretName"] != config["nats"]["tls"]["secretName"]
    routes = list(yaml.safe_load_all((EXAMPLES / "nats-routes.yaml").read_text()))
    assert config["cluster"]["tls"]["secretName"] in [
        one["spec"]["secretName"] for one in routes if one["kind"] == "Certificate"
    ]
