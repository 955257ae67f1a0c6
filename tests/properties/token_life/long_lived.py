"""Reference tokens: made by people and administrators, taken back in each way there is, and asked about everywhere."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from services.identity.read_model import SessionRow
from shared.errors import Refusal
from tests.properties.token_life import model as life
from tests.properties.token_life.edge import Edge
from tests.properties.token_life.model import App, Token
from tests.properties.token_life.playing import PICK, SELDOM
from tests.properties.token_life.taking_back import TakingBack

WANTED = st.sampled_from([(), (), ("read",), ("update",), ("read", "update")])
LONGEST = timedelta(days=366)
LIVES = st.sampled_from([timedelta(seconds=61), timedelta(days=1), LONGEST])
TAKEN_BACK = st.sampled_from(
    ["owner", "owner", "administrator", "token", "its id", "finder", "application", "another application"]
)


class LongLived(TakingBack):
    """Personal access tokens, and those of services."""

    # Making

    def something_long_lived(self) -> None:
        app, row = next(iter(self.model.apps.values())), self.look_at(self.model.sessions[0])
        assert row is not None
        self.make_for(app, row, (), LONGEST)
        self.make_a_token_of_a_service(1, ("read",), LONGEST)

    @precondition(lambda self: self.model.sessions)
    @rule(app=PICK, session=PICK, wanted=WANTED, span=LIVES, stale=SELDOM, visit=PICK)
    def make_a_token_of_ones_own(
        self, app: int, session: int, wanted: Sequence[str], span: timedelta, stale: bool, visit: int
    ) -> None:
        """In a session; perhaps in one that was looked at before something happened to it."""
        row = self.row_of(session, visit, stale=stale)
        if row is not None:
            self.make_for(self.app_for_references(app), row, wanted, span)

    def app_for_references(self, which: int) -> App:
        """Mostly one that reference tokens are made for."""
        made_for = [app for app in self.model.apps.values() if app.references != "none"]
        return self.app(which) if which == 0 or not made_for else self.pick(made_for, which)

    def make_for(self, chosen: App, row: SessionRow, wanted: Sequence[str], span: timedelta) -> None:
        user = self.model.users[row.user.sub]
        may = self.model.session_holds(self.model.session(row.sid)) and self.model.references_for(chosen, user)
        making = self.world.references.make_own(row, chosen.client_id, wanted, self.model.now + span)
        self.made(chosen, user.sub, wanted, span, self.attempt(making), may=may)

    @rule(app=PICK, wanted=WANTED, span=LIVES)
    def make_a_token_of_a_service(self, app: int, wanted: Sequence[str], span: timedelta) -> None:
        """An administrator does, for an application."""
        chosen = self.app_for_references(app)
        account = None if chosen.account is None else self.model.users[chosen.account]
        may = chosen.references != "none" and (account is None or not account.stops.is_off(self.model.head))
        making = self.world.references.make(chosen.client_id, wanted, self.model.now + span)
        self.made(chosen, chosen.account or chosen.client_id, wanted, span, self.attempt(making), may=may)

    def made(self, app: App, sub: str, wanted: Sequence[str], span: timedelta, answer: Any, *, may: bool) -> None:
        own = self.model.own(app)
        scopes = frozenset(wanted) or own
        may = may and self.model.app_serves(app) and bool(scopes) and scopes <= own
        wrote = self.observe()
        if isinstance(answer, Refusal):
            # Whoever makes one hears of everything first, so there is no refusing out of ignorance.
            assert not may, answer
            assert wrote == 0
            return
        assert may, "a reference token was made that must not be"
        assert wrote == 1
        assert answer.position == self.model.head
        assert frozenset(answer.scopes) == scopes
        self.saw(f"a {answer.token[10:13]} was made")
        self.model.references.append(
            Token(
                text=answer.token,
                jti=answer.jti,
                kid="",
                client_id=app.client_id,
                sub=sub,
                position=answer.position,
                expires_at=self.model.now + span,
                scopes=scopes,
                epoch=self.model.epoch,
                reference=True,
            )
        )

    def row_of(self, session: int, visit: int, *, stale: bool) -> SessionRow | None:
        seen = [one.row for one in self.visits if one.row is not None]
        return self.pick(seen, visit) if stale and seen else self.look_at(self.pick(self.model.sessions, session))

    # Taking back

    @precondition(lambda self: self.model.references)
    @rule(which=PICK, by=TAKEN_BACK, other=PICK, session=PICK)
    def take_a_reference_token_back(self, which: int, by: str, other: int, session: int) -> None:
        token = self.pick(self.model.references, which)
        alive = self.model.now < token.expires_at
        match by:
            case "owner":
                done = self.taken_back_by_somebody(token, session)
            case "application" | "another application":
                done = self.taken_back_by_application(token, self.app(other) if by != "application" else None)
            case "administrator":
                done = self.attempt(self.world.references.revoke(token.jti)) is not None
            case "finder":
                done = self.attempt(self.world.references.report_leaked(token.text)) is not None
            case _:
                what = {"token": token.text} if by == "token" else {"jti": token.jti}
                done = not isinstance(self.attempt(self.world.revoke_by_administrator(**what)), Refusal)
                assert done
        assert self.observe() == int(done and alive and token.revoked is None)
        if done and alive and token.revoked is None:
            self.saw(f"a reference token was taken back by {by}")
            token.revoked = self.model.head

    def taken_back_by_somebody(self, token: Token, which: int) -> bool:
        """On their page, in a session that may be anybody's."""
        mine = [one for one in self.model.sessions if one.sub == token.sub and self.model.session_usable(one)]
        chosen = mine[-1] if mine else self.pick(self.model.sessions, which)
        row = self.look_at(chosen)
        if row is None:
            return False
        answer = self.attempt(self.world.references.revoke_own(row, token.jti))
        done = not isinstance(answer, Refusal)
        assert done == (token.sub == chosen.sub)
        return done

    def taken_back_by_application(self, token: Token, another: App | None) -> bool:
        app = self.model.apps[token.client_id] if another is None else another
        credentials, proved = self.credentials(app, 0)
        answer = self.do(self.world.revoke(credentials, token.text))
        mine = app.client_id == token.client_id
        proper = proved and self.model.app_serves(app)
        assert answer.status_code != 200 or (mine and (proper or not self.followed))
        assert answer.status_code == 200 or not (mine and proper and self.followed)
        return answer.status_code == 200

    # Asking

    @precondition(lambda self: self.model.references)
    @rule(which=PICK)
    def ask_about_a_reference_token(self, which: int) -> None:
        self.ask_issuer(self.pick(self.model.references, which))

    @rule()
    def uses_are_written(self) -> None:
        """Those of the tokens that were accepted since the last time; the first of a day is a fact."""
        self.do(self.world.references.write_uses())
        self.observe()

    def check_references(self) -> None:
        """At guards that ask the issuer where they do not know. Each question is answered as of the head."""
        tokens, position = self.everything(self.model.references), self.late.view.position
        for token, prompt, late in self.do(self.looked_up(tokens)):
            here = self.model.known(token)
            accepted = here is not None and self.model.token_accepted(here, self.model.head)
            if prompt:
                self.check_accepted(self.prompt, token, self.model.head)
            else:
                assert not accepted or self.prompt.refused_lately(token.text), f"refused: {token.jti}"
            if late:
                self.check_accepted(self.late, token, position)
            elif here is not None and self.late.view.epoch == self.model.epoch:
                assert (
                    self.model.now >= token.expires_at
                    or self.late.refused_lately(token.text)
                    or self.model.token_denied_since(here, position)
                ), f"refused, though nothing denies it: {token.jti}"

    async def looked_up(self, tokens: Sequence[Token]) -> list[tuple[Token, bool, bool]]:
        """Whether the prompt guard accepts each, and the late one."""
        return [
            (token, await self.prompt.looks_up(token.text), await self.late.looks_up(token.text)) for token in tokens
        ]

    def check_accepted(self, edge: Edge, token: Token, position: int) -> None:
        """It was accepted: by what the guard knows, or by the issuer's word, which is as of the head."""
        assert self.model.now < token.expires_at + life.LEEWAY
        there = self.branch_of(edge)
        known = there.known(token)
        by_itself = known is not None and edge.fresh and not there.token_denied(known, position)
        here = self.model.known(token)
        assert by_itself or (here is not None and not self.model.token_denied(here, self.model.head))

    def listed_as_they_are(self) -> None:
        """What administrators see of each; when everything was heard of."""
        states = self.do(self.world.references.states())
        for token in self.model.references:
            accepted = self.model.token_accepted(token, self.model.head)
            assert (states.pop(token.jti) == "active") == accepted, token
        assert not states, "tokens are listed that nobody has made"
