"""What applications do: exchange codes and refresh tokens for tokens, or ask for some of their own."""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Any

import httpx
import jwt
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.properties.token_life import model as life
from tests.properties.token_life.clients import DEVICE, EXCHANGE, Credentials, Form
from tests.properties.token_life.model import App, Grant, Session, Token
from tests.properties.token_life.playing import ASKED, ASKED_AGAIN, PASSWORD, PICK, PLACES, SECONDS, SELDOM
from tests.properties.token_life.signing_in import SigningIn
from tests.properties.token_life.world import API, USERINFO
from tests.support.issuing import VERIFIER


class Giving(SigningIn):
    """The token endpoint."""

    @initialize(account=st.booleans(), seconds=SECONDS)
    def a_stage(self, account: bool, seconds: int) -> None:
        """An application of each type, a service account, and somebody who is signed in."""
        self.add_user(None)
        self.register(
            ("read", "update"),
            ("refresh_token", "client_credentials", EXCHANGE),
            account=account,
            seconds=seconds,
            references="authenticated_users",
        )
        self.register(("read",), ("refresh_token",), confidential=False)
        self.add_user(PASSWORD)
        self.open_session(self.person(0), None)
        for app in self.model.apps.values():
            self.authorized(app, self.model.sessions[0], "openid read offline_access", ("right",))
        self.something_long_lived()
        self.something_exchanged()

    def something_long_lived(self) -> None:
        """Reference tokens, from the beginning on."""

    def something_exchanged(self) -> None:
        """The same for tokens that an application goes on with."""

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
            return Credentials(app.client_id, good.text, in_form=app.in_form), True
        if quality == 3 and good is not None:
            return Credentials(app.client_id, good.text, in_form=not app.in_form), False
        old = next((secret for secret in reversed(app.secrets) if not secret.good), None)
        if old is None or quality > 1:
            return Credentials(app.client_id, "sds_invented", in_form=app.in_form), False
        return Credentials(app.client_id, old.text, in_form=app.in_form), False

    @precondition(lambda self: self.model.grants)
    @rule(
        which=PICK,
        how=st.sampled_from(["right"] * 6 + ["verifier", "redirect", "client", "secret", "old secret", "other way"]),
        other=PICK,
        again=SELDOM,
        places=PLACES,
    )
    def redeem(self, which: int, how: str, other: int, again: bool, places: Sequence[str]) -> None:
        unused = [grant for grant in self.model.grants if not grant.tokens]
        grant = self.pick(self.model.grants if again or not unused else unused, which)
        app = self.model.apps[grant.client_id]
        client = self.app(other) if how == "client" else app
        self.redeemed(grant, self.credentials(client, QUALITY.get(how, 0)), client, how, places)

    def given(
        self, grant: Grant, asked: Sequence[str], places: Sequence[str], api: frozenset[str] | None = None
    ) -> tuple[frozenset[str], bool]:
        """The scopes of a token that is asked for so; and whether the question alone is a reason to refuse it.

        `api`: as if the API had these scopes.
        """
        left = self.model.remaining(grant.scopes, self.model.apps[grant.client_id], api)
        found = life.part(left, asked, places)
        return found, bool(left) and not found and not self.model.grant_denied(grant)

    def redemption(self, grant: Grant, client: App, how: str = "right") -> dict[str, Form]:
        if grant.by_device:
            return {"grant_type": DEVICE, "device_code": grant.code}
        return {
            "grant_type": "authorization_code",
            "code": grant.code,
            "redirect_uri": client.redirect_uri if how != "redirect" else "http://localhost:1/callback",
            "code_verifier": VERIFIER if how != "verifier" else VERIFIER[::-1],
        }

    def redeemed(
        self,
        grant: Grant,
        presented: tuple[Credentials, bool],
        client: App,
        how: str = "right",
        places: Sequence[str] = (),
    ) -> None:
        credentials, proved = presented
        form = {**self.redemption(grant, client, how), **targets(places)}
        given = {api: self.given(grant, (), places, api) for api in self.apis}
        now_given, misasked = given[self.model.api_scopes]
        authentic = proved and self.model.app_serves(client)
        with_proofs = grant.by_device or how not in ("verifier", "redirect")
        valid = authentic and client.client_id == grant.client_id and with_proofs
        again = bool(grant.tokens)
        could = valid and not again and self.model.now < grant.code_expires_at and not self.model.grant_denied(grant)
        allowed = [scopes for scopes, _ in given.values() if could and scopes]

        def ask() -> httpx.Response:
            return self.do(self.world.token(credentials, **form))

        answer = self.answered(ask(), could and bool(now_given), ask, possible=bool(allowed))
        if answer is None:
            wrote = self.observe()
            # A client that the issuer has not yet heard to be disabled may give itself away.
            ends = again and grant.ended is None and client.client_id == grant.client_id
            unheard = not self.followed and ends and (wrote == 1 or bool(places))
            assert wrote == int(ends and valid and not misasked) or unheard
            if wrote:
                self.saw("a code was used again")
                grant.ended = self.model.head
            return
        self.saw("a code was redeemed")
        self.took(answer, grant, client, allowed)
        refresh_token = answer.get("refresh_token")
        assert (refresh_token is not None) == ("offline_access" in grant.scopes)
        if refresh_token is not None:
            grant.refresh_tokens.append(refresh_token)

    def answered(
        self, answer: httpx.Response, may: bool, again: Callable[[], httpx.Response], *, possible: bool = False
    ) -> dict[str, Any] | None:
        """The body where tokens were given; None where they were refused, as they had to be.

        `possible`: they may be given by who has not heard of everything.
        """
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
        assert may or possible, "tokens were issued that must not be"
        return dict(answer.json())

    def took(self, answer: dict[str, Any], grant: Grant | None, app: App, allowed: Collection[frozenset[str]]) -> Token:
        """A new access token, which says what it should: one of the sets of scopes that are allowed."""
        assert self.observe() == 1
        token = self.read(answer["access_token"], grant, app)
        assert token.scopes in allowed, "not the scopes that are left of what was asked for"
        assert token.position == self.model.head
        self.model.tokens.append(token)
        if grant is not None:
            grant.tokens.append(token)
            grant.newest_scopes = token.scopes
        return token

    def read(self, text: str, grant: Grant | None, app: App) -> Token:
        claims = claims_of(text)
        scopes = frozenset(claims["scope"].split())
        if grant is None:
            assert claims["sub"] == (app.account or app.client_id)
            assert "sid" not in claims
            assert "gid" not in claims
        else:
            assert (claims["sub"], claims["sid"], claims["gid"]) == (grant.sub, grant.sid, grant.gid)
        assert claims["client_id"] == app.client_id
        assert (API in claims["aud"]) == bool(scopes & life.API_SCOPES)
        assert (USERINFO in claims["aud"]) == ("openid" in scopes)
        assert claims["epoch"] == self.model.epoch
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
            epoch=claims["epoch"],
            grant=grant,
        )

    @precondition(lambda self: any(grant.refresh_tokens for grant in self.model.grants))
    @rule(
        which=PICK,
        back=st.sampled_from([0, 0, 0, 0, 1, 1, 1, 2, 5]),
        wait=st.sampled_from([0, 0, 0, 10, 11, 45]),
        how=st.sampled_from(["right"] * 7 + ["client", "secret", "old secret", "other way", "made up"]),
        other=PICK,
        dead=SELDOM,
        asked=st.none() | ASKED_AGAIN,
        places=PLACES,
    )
    def refresh(
        self,
        which: int,
        back: int,
        wait: int,
        how: str,
        other: int,
        dead: bool,
        asked: Sequence[str] | None,
        places: Sequence[str],
    ) -> None:
        """`back` steps before the current refresh token; perhaps after some seconds, perhaps for less than before.

        `asked` None: for the same as the last time, as who repeats a request.
        """
        self.forward(timedelta(seconds=wait))
        grants = [grant for grant in self.model.grants if grant.refresh_tokens]
        alive = [grant for grant in grants if not self.model.grant_denied(grant)]
        used = [grant for grant in alive if len(grant.refresh_tokens) > back]
        grant = self.pick(grants if dead or not alive else used or alive, which)
        scopes, places = grant.newest_asked if asked is None else (tuple(asked), tuple(places))
        app = self.model.apps[grant.client_id]
        client = self.app(other) if how == "client" else app
        credentials, proved = self.credentials(client, QUALITY.get(how, 0))
        place = max(0, len(grant.refresh_tokens) - 1 - back)
        back = len(grant.refresh_tokens) - 1 - place
        presented = grant.refresh_tokens[place]
        if how == "made up":
            presented = presented[:-4] + ("AAAA" if not presented.endswith("AAAA") else "AAAE")
        mine = client.client_id == grant.client_id and how != "made up"
        authentic = proved and self.model.app_serves(client) and "refresh_token" in client.grants
        usable = mine and self.model.refreshable(grant)
        within = back == 1 and self.model.within_grace(grant)
        given = {api: self.given(grant, scopes, places, api) for api in self.apis}
        now_given, misasked = given[self.model.api_scopes]
        could = authentic and usable and (back == 0 or within) and not self.model.grant_denied(grant)
        allowed = [found for found, _ in given.values() if could and found]
        if within:  # the same again, or nothing
            allowed = [grant.newest_scopes] if could and now_given == grant.newest_scopes else []
        form: dict[str, Form] = {"grant_type": "refresh_token", "refresh_token": presented, **targets(places)}
        if scopes:
            form["scope"] = " ".join(scopes)

        def ask() -> httpx.Response:
            return self.do(self.world.token(credentials, **form))

        answer = self.answered(ask(), now_given in allowed, ask, possible=bool(allowed))
        if answer is None:
            wrote = self.observe()
            reuse = usable and back > 0 and not within
            unheard = not self.followed and reuse and (wrote == 1 or bool(scopes or places))
            assert wrote == int(reuse and authentic and not misasked) or unheard
            if wrote:
                self.saw("a refresh token was used again")
                grant.ended = self.model.head
            return
        self.saw("a refresh was repeated" if back else "a refresh token was rotated")
        if back == 0:
            if self.took(answer, grant, app, allowed).scopes != grant.scopes:
                self.saw("a refresh gave less than the grant")
            assert answer["refresh_token"] not in grant.refresh_tokens
            grant.refresh_tokens.append(answer["refresh_token"])
            grant.rotated_at = self.model.now
            grant.newest_asked = scopes, places
            return
        assert self.observe() == 0
        assert answer["refresh_token"] == grant.refresh_tokens[-1]
        claims = claims_of(answer["access_token"])
        assert (claims["jti"], claims["pos"]) == (grant.tokens[-1].jti, grant.tokens[-1].position)

    @rule(which=PICK, how=st.sampled_from([0, 0, 0, 0, 1, 2, 3]), asked=st.sampled_from(["", "", "", "read", "update"]))
    def client_credentials(self, which: int, how: int, asked: str) -> None:
        app = self.app(which)
        credentials, proved = self.credentials(app, how)
        account = None if app.account is None else self.model.users[app.account]
        own = {api: self.model.own(app, api) for api in self.apis}
        if asked:
            own = {api: scopes & {asked} for api, scopes in own.items()}
        could = (
            proved
            and app.confidential
            and self.model.app_serves(app)
            and "client_credentials" in app.grants
            and (account is None or not account.stops.is_off(self.model.head))
        )

        allowed = [scopes for scopes in own.values() if could and scopes]
        form = {"grant_type": "client_credentials", **({"scope": asked} if asked else {})}

        def ask() -> httpx.Response:
            return self.do(self.world.token(credentials, **form))

        answer = self.answered(ask(), own[self.model.api_scopes] in allowed, ask, possible=bool(allowed))
        if answer is None:
            assert self.observe() == 0
            return
        assert "refresh_token" not in answer
        self.took(answer, None, app, allowed)

    # What gives happens more often than what takes, or there would be little to take
    authorize_more = authorize
    refresh_more = refresh
    refresh_still_more = refresh
    go_on_more = SigningIn.go_on


QUALITY = {"old secret": 1, "secret": 2, "other way": 3}
"""Of credentials, by what is wrong with them."""


def targets(places: Sequence[str]) -> dict[str, Form]:
    """The parameter that names them (RFC 8707)."""
    return {"resource": [{"api": API, "userinfo": USERINFO}[place] for place in places]} if places else {}


def claims_of(token: str) -> dict[str, Any]:
    """What a token says; whether it is genuine is for the guards to find out."""
    return dict(jwt.decode(token, options={"verify_signature": False}))
