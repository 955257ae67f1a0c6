"""Token exchange: applications that the API names go on with tokens that were sent to it."""

from datetime import timedelta

import httpx
import jwt
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.properties.token_life import model as life
from tests.properties.token_life.clients import EXCHANGE, Form
from tests.properties.token_life.giving import Giving, claims_of
from tests.properties.token_life.model import App, Token
from tests.properties.token_life.playing import PICK, SELDOM
from tests.properties.token_life.world import API


class Exchanging(Giving):
    """The token endpoint, once more."""

    @precondition(lambda self: self.model.tokens)
    @rule(
        which=PICK,
        by=PICK,
        how=st.sampled_from([0, 0, 0, 0, 0, 0, 2]),
        asked=st.sampled_from(["", "", "", "read", "update", "read update", "openid"]),
        anything=SELDOM,
        wait=st.sampled_from([0, 0, 20, 40]),
    )
    def exchange(self, which: int, by: int, how: int, asked: str, anything: bool, wait: int) -> None:
        """Of a token that is good at the API at the moment, or of any that there ever was."""
        self.forward(timedelta(seconds=wait))
        good = [one for one in self.model.tokens if one.for_api and self.model.token_accepted(one, self.model.head)]
        able = [one for one in self.model.apps.values() if EXCHANGE in one.grants and not one.stops.is_off(self.head)]
        token = self.pick(self.everything(self.model.tokens) if anything or not good else good, which)
        self.exchanged(token, self.app(by) if anything or not able else self.pick(able, by), how, asked)

    def something_exchanged(self) -> None:
        """By whom it was issued to, which the API has named as well; and once more."""
        for token in [one for one in self.model.tokens if one.for_api]:
            app = next(one for one in self.model.apps.values() if EXCHANGE in one.grants)
            self.exchanged(token, app)
            if self.model.tokens[-1].derived_from:
                self.exchanged(self.model.tokens[-1], app)

    def exchanged(self, token: Token, app: App, how: int = 0, asked: str = "") -> None:
        credentials, proved = self.credentials(app, how)
        here = self.model.known(token)
        given = {api: self.model.exchanged(token, app, asked.split(), api) for api in self.apis}
        could = (
            proved
            and app.confidential
            and EXCHANGE in app.grants
            and self.model.app_serves(app)
            and here is not None
            and here.for_api
            and self.model.token_accepted(here, self.model.head)
            and self.model.now < here.expires_at
            and len(here.actors) < life.MOST_ACTORS
        )
        allowed = [scopes for scopes in given.values() if could and scopes]
        form: dict[str, Form] = {
            "grant_type": EXCHANGE,
            "subject_token": token.text,
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            **({"scope": asked} if asked else {}),
        }

        def ask() -> httpx.Response:
            return self.do(self.world.token(credentials, **form))

        answer = self.answered(ask(), given[self.model.api_scopes] in allowed, ask, possible=bool(allowed))
        if answer is None:
            assert self.observe() == 0
            return
        assert here is not None
        assert "refresh_token" not in answer
        assert self.observe() == 1
        made = self.read_exchanged(answer["access_token"], here, app)
        assert made.scopes in allowed, "not the scopes that token, application and API have in common"
        assert made.position == self.model.head
        self.model.tokens.append(made)
        self.saw(f"a token was exchanged, {len(made.actors)} act")

    exchange_more = exchange
    exchange_still_more = exchange

    @property
    def head(self) -> int:
        return self.model.head

    def read_exchanged(self, text: str, shown: Token, app: App) -> Token:
        claims, before = claims_of(text), claims_of(shown.text)
        actors = (app.client_id, *shown.actors)
        act, told = claims["act"], []
        while act is not None:
            told.append(act["client_id"])
            act = act.get("act")
        assert tuple(told) == actors
        assert claims["client_id"] == app.client_id
        assert claims["derived_from"] == [one.jti for one in (shown, *shown.derived_from)]
        for name in ("sub", "sid", "gid", "auth_time", "acr", "amr"):
            assert claims.get(name) == before.get(name), name
        assert claims["aud"] == [API]
        assert claims["epoch"] == self.model.epoch
        assert claims["exp"] == min(before["exp"], claims["iat"] + app.seconds)
        return Token(
            text=text,
            jti=claims["jti"],
            kid=jwt.get_unverified_header(text)["kid"],
            client_id=app.client_id,
            sub=claims["sub"],
            position=claims["pos"],
            expires_at=min(shown.expires_at, self.model.now + timedelta(seconds=app.seconds)),
            scopes=frozenset(claims["scope"].split()),
            epoch=claims["epoch"],
            grant=shown.grant,
            acts_for=shown.actors,
            derived_from=(shown, *shown.derived_from),
        )
