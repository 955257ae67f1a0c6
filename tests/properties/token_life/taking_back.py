"""Taking tokens and grants back, and asking what is left of them."""

import asyncio
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shared.errors import Refusal
from tests.properties.token_life import model as life
from tests.properties.token_life.letting_in import LettingIn
from tests.properties.token_life.model import Token
from tests.properties.token_life.playing import PICK


class TakingBack(LettingIn):
    """Revocation, introspection, `Validate`."""

    # Taking back

    @precondition(lambda self: self.model.tokens)
    @rule(which=PICK, by=st.sampled_from(["client", "client", "administrator", "its id", "another client"]), other=PICK)
    def revoke_access_token(self, which: int, by: str, other: int) -> None:
        token = self.pick(self.model.tokens, which)
        alive = self.model.now < token.expires_at + life.LEEWAY
        client = self.app(other) if by == "another client" else self.model.apps[token.client_id]
        if by in ("administrator", "its id"):
            what = {"token": token.text} if by == "administrator" else {"jti": token.jti}
            answer: Any = self.attempt(self.world.revoke_by_administrator(**what))
            done = not isinstance(answer, Refusal)
            assert done or not alive or token.kid in self.model.compromised
        else:
            credentials, proved = self.credentials(client, 0)
            response = self.do(self.world.revoke(credentials, token.text))
            done = response.status_code == 200 and client.client_id == token.client_id
            if response.status_code == 200:
                # What a compromised key signed says nothing about whose it is.
                assert client.client_id == token.client_id or token.kid in self.model.compromised
                assert (proved and self.model.app_serves(client)) or not self.followed
            else:
                assert client.client_id != token.client_id or not (
                    proved and self.model.app_serves(client) and self.followed
                )
        wrote = self.observe()
        assert wrote == 0 or done
        if done and token.revoked is None and (alive or wrote):
            # Whatever the answer's author believes the time to be: what was acknowledged is refused from here on.
            token.revoked = self.model.head
            self.model.moments.add(self.model.head)
        # Of what a compromised key signed it was acknowledged before, and nothing had to be written.
        assert wrote == 0 or token.revoked == self.model.head or token.kid in self.model.compromised

    @precondition(lambda self: self.model.grants)
    @rule(which=PICK, back=PICK, by=st.sampled_from(["client", "administrator", "its id"]))
    def end_grant(self, which: int, back: int, by: str) -> None:
        """By one of its refresh tokens, or by its id."""
        grant = self.pick(self.model.grants, which)
        app, done = self.model.apps[grant.client_id], True
        if by == "its id" or not grant.refresh_tokens:
            self.do(self.world.end_grant(grant.gid))
        elif by == "administrator":
            self.do(self.world.revoke_by_administrator(token=self.pick(grant.refresh_tokens, back)))
        else:
            credentials, proved = self.credentials(app, 0)
            answer = self.do(self.world.revoke(credentials, self.pick(grant.refresh_tokens, back)))
            done = answer.status_code == 200
            assert done == (proved and self.model.app_serves(app)) or not self.followed
        assert self.observe() == int(done and grant.ended is None)
        if done and grant.ended is None:
            grant.ended = self.model.head

    @precondition(lambda self: self.model.tokens)
    @rule(which=PICK)
    def compromise_a_key(self, which: int) -> None:
        """Whatever it signed is over, and another key signs from now on."""
        kid = self.pick(self.model.tokens, which).kid
        answer: Any = self.attempt(self.world.compromise_key(kid))
        wrote = self.observe()
        if isinstance(answer, Refusal) or kid in self.model.compromised:
            assert wrote == 0
            return
        assert wrote > 0
        self.saw("a key was compromised")
        denials = [one for one in self.wire.denials if (one.kind, one.id, one.rule) == ("key", kid, "standing")]
        self.model.compromised[kid] = denials[-1].position

    # Asking

    @precondition(lambda self: self.model.tokens)
    @rule(which=PICK)
    def ask_about_an_access_token(self, which: int) -> None:
        self.ask_issuer(self.pick(self.model.tokens, which))

    def ask_issuer(self, *tokens: Token) -> None:
        """About all of them at once."""

        async def asked(token: Token) -> tuple[Any, Any]:
            verdict = await self.world.validate(token.text, self.model.head)
            return verdict, (await self.world.introspect(self.world.watch, token.text)).json()

        async def all_of() -> list[tuple[Any, Any]]:
            return await asyncio.gather(*map(asked, tokens))

        for token, (verdict, answer) in zip(tokens, self.do(all_of()), strict=True):
            here = self.model.known(token)
            accepted = here is not None and here.for_api and self.model.token_accepted(here, self.model.head)
            assert verdict.allowed == accepted, (verdict.reason, verdict.position, verdict.lag_ms, self.model.head)
            assert answer["active"] == accepted, answer
            self.saw(f"introspected {'a reference' if token.reference else 'an access'} token: {accepted}")
            if accepted:
                assert answer["jti"] == token.jti

    @precondition(lambda self: any(grant.refresh_tokens for grant in self.model.grants))
    @rule(which=PICK, back=PICK)
    def ask_about_a_refresh_token(self, which: int, back: int) -> None:
        grant = self.pick([grant for grant in self.model.grants if grant.refresh_tokens], which)
        app = self.model.apps[grant.client_id]
        presented = self.pick(grant.refresh_tokens, back)
        credentials, proved = self.credentials(app, 0)
        if not (proved and app.confidential and self.model.app_serves(app)):
            return
        answer = self.do(self.world.introspect(credentials, presented))
        if answer.status_code == 401:
            assert not self.followed
            return
        current = presented == grant.refresh_tokens[-1]
        left = self.model.remaining(grant.scopes, app)
        active = current and bool(left) and self.model.refreshable(grant) and not self.model.grant_denied(grant)
        self.saw(f"introspected a refresh token: {active}, lag: {not self.followed}")
        assert answer.json()["active"] == active
        assert not active or frozenset(answer.json()["scope"].split()) == left
