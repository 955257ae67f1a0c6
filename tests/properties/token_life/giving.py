"""What applications do: exchange codes and refresh tokens for tokens, or ask for some of their own."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import httpx
import jwt
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.properties.token_life import model as life
from tests.properties.token_life.model import App, Grant, Session, Token
from tests.properties.token_life.playing import ASKED, PASSWORD, PICK, SECONDS, SELDOM
from tests.properties.token_life.signing_in import SigningIn
from tests.properties.token_life.world import API, Credentials
from tests.support.issuing import VERIFIER


class Giving(SigningIn):
    """The token endpoint."""

    @initialize(account=st.booleans(), seconds=SECONDS)
    def a_stage(self, account: bool, seconds: int) -> None:
        """An application of each type, a service account, and somebody who is signed in."""
        self.add_user(None)
        self.register(("read", "update"), ("refresh_token", "client_credentials"), account=account, seconds=seconds)
        self.register(("read",), ("refresh_token",), confidential=False)
        self.add_user(PASSWORD)
        self.open_session(self.person(0), None)
        for app in self.model.apps.values():
            self.authorized(app, self.model.sessions[0], "openid read offline_access", ("right",))

    @precondition(lambda self: self.model.sessions)
    @rule(
        app=PICK,
        session=PICK,
        asked=ASKED,
        redeem=st.sampled_from([(), ("right",), ("right",), ("verifier", "right"), ("redirect", "right")]),
    )
    def authorize(self, app: int, session: int, asked: str, redeem: Sequence[str]) -> None:
        """The whole way at once, as a browser goes it; perhaps up to the tokens."""
        self.authorized(self.app(app), self.pick(self.model.sessions, session), asked, redeem)

    def authorized(self, app: App, session: Session, asked: str, redeem: Sequence[str]) -> None:
        visit = self.begin(app, session, asked)
        if visit is None:
            return
        self.seen(visit)
        if visit.row is None:
            return
        if visit.agreed is None:
            self.agreed(visit)
        grant = self.issued(visit) if visit.agreed is not None else None
        if grant is not None:
            for how in redeem:
                self.redeemed(grant, self.credentials(visit.app, 0), visit.app, how)

    # Codes and tokens

    def credentials(self, app: App, quality: int) -> tuple[Credentials, bool]:
        """What an application presents, and whether that proves it to be itself. From 1 on it is something bad."""
        if not app.confidential:
            return Credentials(app.client_id, None), True
        good = app.good_secret()
        if quality == 0 and good is not None:
            return Credentials(app.client_id, good.text), True
        old = next((secret for secret in reversed(app.secrets) if not secret.good), None)
        if old is None or quality > 1:
            return Credentials(app.client_id, "sds_invented"), False
        return Credentials(app.client_id, old.text), False

    @precondition(lambda self: self.model.grants)
    @rule(
        which=PICK,
        how=st.sampled_from(["right"] * 5 + ["verifier", "redirect", "client", "secret", "old secret"]),
        other=PICK,
        again=SELDOM,
    )
    def redeem(self, which: int, how: str, other: int, again: bool) -> None:
        unused = [grant for grant in self.model.grants if not grant.tokens]
        grant = self.pick(self.model.grants if again or not unused else unused, which)
        app = self.model.apps[grant.client_id]
        client = self.app(other) if how == "client" else app
        credentials = self.credentials(client, {"secret": 2, "old secret": 1}.get(how, 0))
        self.redeemed(grant, credentials, client, how)

    def redeemed(self, grant: Grant, presented: tuple[Credentials, bool], client: App, how: str = "right") -> None:
        credentials, proved = presented
        form = {
            "grant_type": "authorization_code",
            "code": grant.code,
            "redirect_uri": client.redirect_uri if how != "redirect" else "http://localhost:1/callback",
            "code_verifier": VERIFIER if how != "verifier" else VERIFIER[::-1],
        }
        authentic = proved and self.model.app_serves(client)
        valid = authentic and client.client_id == grant.client_id and how not in ("verifier", "redirect")
        again = bool(grant.tokens)
        may = valid and not again and self.model.now < grant.code_expires_at and not self.model.grant_denied(grant)

        def ask() -> httpx.Response:
            return self.do(self.world.token(credentials, **form))

        answer = self.answered(ask(), may, ask)
        if answer is None:
            wrote = self.observe()
            # A client that the issuer has not yet heard to be disabled may give itself away.
            ends = again and grant.ended is None and client.client_id == grant.client_id
            assert wrote == int(ends and valid) or (not self.followed and ends and wrote == 1)
            if wrote:
                self.saw("a code was used again")
                grant.ended = self.model.head
            return
        self.saw("a code was redeemed")
        self.took(answer, grant, client)
        refresh_token = answer.get("refresh_token")
        assert (refresh_token is not None) == ("offline_access" in grant.scopes)
        if refresh_token is not None:
            grant.refresh_tokens.append(refresh_token)

    def answered(self, answer: httpx.Response, may: bool, again: Callable[[], httpx.Response]) -> dict[str, Any] | None:
        """The body where tokens were given; None where they were refused, as they had to be."""
        if may and answer.status_code != 200:
            assert not self.followed, answer.text
            assert self.observe() == 0, "a refusal out of ignorance has changed something"
            self.all_follow()
            answer = again()
            assert answer.status_code == 200, answer.text
        self.saw(f"answered {answer.status_code}, lag: {not self.followed}")
        if answer.status_code != 200:
            assert answer.status_code in (400, 401, 503), answer.text
            return None
        assert may, "tokens were issued that must not be"
        return dict(answer.json())

    def took(self, answer: dict[str, Any], grant: Grant | None, app: App) -> Token:
        """A new access token, which says what it should."""
        assert self.observe() == 1
        token = self.read(answer["access_token"], grant, app)
        assert token.position == self.model.head
        self.model.tokens.append(token)
        if grant is not None:
            grant.tokens.append(token)
        return token

    def read(self, text: str, grant: Grant | None, app: App) -> Token:
        claims = claims_of(text)
        scopes = frozenset(claims["scope"].split())
        if grant is None:
            assert scopes == app.scopes
            assert claims["sub"] == (app.account or app.client_id)
            assert "sid" not in claims
            assert "gid" not in claims
        else:
            assert scopes == grant.scopes == self.model.remaining(grant.scopes, app)
            assert (claims["sub"], claims["sid"], claims["gid"]) == (grant.sub, grant.sid, grant.gid)
        assert claims["client_id"] == app.client_id
        assert (API in claims["aud"]) == bool(scopes & life.API_SCOPES)
        assert claims["exp"] - claims["iat"] == app.seconds
        return Token(
            text=text,
            jti=claims["jti"],
            kid=jwt.get_unverified_header(text)["kid"],
            client_id=app.client_id,
            sub=claims["sub"],
            position=claims["pos"],
            expires_at=self.model.now + timedelta(seconds=app.seconds),
            scopes=scopes,
            grant=grant,
        )

    @precondition(lambda self: any(grant.refresh_tokens for grant in self.model.grants))
    @rule(
        which=PICK,
        back=st.sampled_from([0, 0, 0, 0, 1, 1, 1, 2, 5]),
        wait=st.sampled_from([0, 0, 0, 10, 11, 45]),
        how=st.sampled_from(["right"] * 6 + ["client", "secret", "old secret", "made up"]),
        other=PICK,
        dead=SELDOM,
    )
    def refresh(self, which: int, back: int, wait: int, how: str, other: int, dead: bool) -> None:
        """`back` steps before the current refresh token; perhaps after some seconds."""
        self.forward(timedelta(seconds=wait))
        grants = [grant for grant in self.model.grants if grant.refresh_tokens]
        alive = [grant for grant in grants if not self.model.grant_denied(grant)]
        used = [grant for grant in alive if len(grant.refresh_tokens) > back]
        grant = self.pick(grants if dead or not alive else used or alive, which)
        app = self.model.apps[grant.client_id]
        client = self.app(other) if how == "client" else app
        credentials, proved = self.credentials(client, {"secret": 2, "old secret": 1}.get(how, 0))
        place = max(0, len(grant.refresh_tokens) - 1 - back)
        back = len(grant.refresh_tokens) - 1 - place
        presented = grant.refresh_tokens[place]
        if how == "made up":
            presented = presented[:-4] + ("AAAA" if not presented.endswith("AAAA") else "AAAE")
        mine = client.client_id == grant.client_id and how != "made up"
        authentic = proved and self.model.app_serves(client) and "refresh_token" in client.grants
        usable = mine and self.model.refreshable(grant)
        within = back == 1 and self.model.within_grace(grant)
        may = authentic and usable and (back == 0 or within) and not self.model.grant_denied(grant)

        def ask() -> httpx.Response:
            return self.do(self.world.token(credentials, grant_type="refresh_token", refresh_token=presented))

        answer = self.answered(ask(), may, ask)
        if answer is None:
            wrote = self.observe()
            reuse = usable and back > 0 and not within
            assert wrote == int(reuse and authentic) or (not self.followed and reuse and wrote == 1)
            if wrote:
                self.saw("a refresh token was used again")
                grant.ended = self.model.head
            return
        self.saw("a refresh was repeated" if back else "a refresh token was rotated")
        if back == 0:
            self.took(answer, grant, app)
            assert answer["refresh_token"] not in grant.refresh_tokens
            grant.refresh_tokens.append(answer["refresh_token"])
            grant.rotated_at = self.model.now
            return
        assert self.observe() == 0
        assert answer["refresh_token"] == grant.refresh_tokens[-1]
        claims = claims_of(answer["access_token"])
        assert (claims["jti"], claims["pos"]) == (grant.tokens[-1].jti, grant.tokens[-1].position)

    @rule(which=PICK, how=st.sampled_from([0, 0, 0, 1, 2]))
    def client_credentials(self, which: int, how: int) -> None:
        app = self.app(which)
        credentials, proved = self.credentials(app, how)
        account = None if app.account is None else self.model.users[app.account]
        may = (
            proved
            and app.confidential
            and self.model.app_serves(app)
            and "client_credentials" in app.grants
            and bool(app.scopes)
            and (account is None or not account.stops.is_off(self.model.head))
        )

        def ask() -> httpx.Response:
            return self.do(self.world.token(credentials, grant_type="client_credentials"))

        answer = self.answered(ask(), may, ask)
        if answer is None:
            assert self.observe() == 0
            return
        assert "refresh_token" not in answer
        self.took(answer, None, app)

    # What gives happens more often than what takes, or there would be little to take
    authorize_more = authorize
    refresh_more = refresh
    refresh_still_more = refresh
    go_on_more = SigningIn.go_on


def claims_of(token: str) -> dict[str, Any]:
    """What a token says; whether it is genuine is for the guards to find out."""
    return dict(jwt.decode(token, options={"verify_signature": False}))
