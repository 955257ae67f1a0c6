"""What people do at the identity server: sign in and out, change their password, agree, and get a code."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qs, urlsplit

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from protos.stagedoor.tokens.v1.tokens_pb2 import Proceed
from services.identity.events import SessionEndReason
from services.identity.issuer import Answer, NotTrusted, Redirect
from services.identity.read_model import SessionRow
from shared.errors import Refusal
from tests.properties.token_life import model as life
from tests.properties.token_life.administering import Administering
from tests.properties.token_life.model import App, Grant, Session, User
from tests.properties.token_life.playing import ASKED, PICK
from tests.properties.token_life.world import ORIGIN_OF_BROWSER, World
from tests.support.issuing import CHALLENGE


@dataclass
class Device:
    """One that asked, and shows its user code."""

    code: str
    born: int
    """Position of its request."""
    expires_at: datetime
    let_in: bool = False


@dataclass
class Visit:
    """A person at the identity server, sent there by an application."""

    app: App
    session: Session
    proceed: Proceed
    begun_at: datetime
    row: SessionRow | None = None
    """What identity has seen of the session; perhaps some time ago."""
    device: "Device | None" = None
    """The device that waits for it; None: the browser does."""
    agreed: int | None = None
    """Position up to which it is known that the person agrees; None: they have not said so."""

    @property
    def scopes(self) -> tuple[str, ...]:
        return tuple(scope.name for scope in self.proceed.scopes)


class SigningIn(Administering):
    """From the password to the code."""

    def __init__(self, runner: asyncio.Runner, world: World) -> None:
        super().__init__(runner, world)
        self.visits: list[Visit] = []

    @precondition(lambda self: self.model.sessions)
    @rule(which=PICK, right=st.integers(0, 3), visit=PICK, stale=st.booleans())
    def change_password(self, which: int, right: int, visit: int, stale: bool) -> None:
        """In a session; perhaps in one that was looked at before something happened to it."""
        seen = [visit.row for visit in self.visits if visit.row is not None]
        if stale and seen:
            row: SessionRow | None = self.pick(seen, visit)
        else:
            row = self.look_at(self.pick(self.model.sessions, which))
        if row is None:
            return
        session, user = self.model.session(row.sid), self.model.users[row.user.sub]
        wanted = self.new_password(user)
        answer = self.attempt(
            self.world.identity.accounts.change_password(
                row, (right and user.password) or "wrong", wanted, ORIGIN_OF_BROWSER, self.world.context()
            )
        )
        may = bool(right) and not self.model.session_over(session) and not user.stops.is_off(self.model.head)
        if isinstance(answer, Refusal):
            assert not may or self.touched_since(session, row), answer
            assert self.observe() == 0
            return
        assert may
        assert self.changed()
        user.password = wanted
        user.changes.append((self.model.head, session.sid))

    # Sessions

    @rule(which=PICK, right=st.integers(0, 4), again=st.none() | PICK)
    def sign_in(self, which: int, right: int, again: int | None) -> None:
        user = self.person(which)
        if not right:
            answer = self.attempt(self.world.sign_in(user.name, "not-the-password"))
            assert isinstance(answer, Refusal)
            assert self.observe() == 0
            return
        self.open_session(
            user, None if again is None or not self.model.sessions else self.pick(self.model.sessions, again)
        )

    def open_session(self, user: User, current: Session | None) -> None:
        """With the cookie of a session that the browser has, if it has one."""
        secret = None if current is None else current.secret
        answer = self.attempt(self.world.sign_in(user.name, user.password or "", secret))
        if user.stops.is_off(self.model.head):
            assert isinstance(answer, Refusal)
            assert self.observe() == 0
            return
        assert isinstance(answer, str), answer
        assert self.changed()
        row = self.do(self.world.identity.sessions.current(answer))
        assert row is not None
        now = self.model.now
        if current is not None and self.model.session_usable(current) and current.sub == user.sub:
            assert row.sid == current.sid
            assert self.do(self.world.identity.sessions.current(current.secret)) is None
            current.secret, current.seen_at = answer, now
            return
        if current is not None and self.model.session_usable(current):
            self.note_seen(current)
        session = Session(row.sid, user.sub, answer, self.model.head, now + life.SESSION_LIFE, now)
        self.model.sessions.append(session)

    def touched_since(self, session: Session, row: SessionRow) -> bool:
        """Whether who looked so has to look again: also where that was in another epoch."""
        return row.user.epoch != self.model.epoch or self.model.touched_since(session, row.position)

    def note_seen(self, session: Session) -> None:
        if self.model.now - session.seen_at >= life.SEEN_EVERY:
            session.seen_at = self.model.now

    def look_at(self, session: Session, client_id: str = "") -> SessionRow | None:
        """What identity sees of a session now: it is there exactly as long as it should be."""
        row = self.do(self.world.identity.sessions.current(session.secret, client_id))
        assert (row is not None) == self.model.session_usable(session)
        if row is not None:
            assert row.sid == session.sid
            self.note_seen(session)
        return row

    @precondition(lambda self: self.model.sessions)
    @rule(which=PICK, reason=st.sampled_from(list(SessionEndReason)))
    def end_session(self, which: int, reason: SessionEndReason) -> None:
        session = self.pick(self.model.sessions, which)
        self.do(self.world.identity.sessions.end(session.sid, reason, self.world.context()))
        assert self.changed() == (session.ended is None)
        if session.ended is None:
            session.ended = self.model.head

    @rule(which=PICK, app=PICK)
    def withdraw_consent(self, which: int, app: int) -> None:
        user, stopped = self.person(which), self.app(app)
        self.do(self.world.identity.consents.withdraw(user.sub, stopped.client_id, self.world.context()))
        assert self.changed()
        self.model.withdrawn.setdefault((user.sub, stopped.client_id), []).append(self.model.head)
        self.consented.pop((user.sub, stopped.client_id), None)

    # From the application to the code

    @precondition(lambda self: self.model.sessions)
    @rule(app=PICK, session=PICK, asked=ASKED)
    def begin_visit(self, app: int, session: int, asked: str) -> None:
        self.begin(self.app(app), self.pick(self.model.sessions, session), asked)

    def begin(self, app: App, session: Session, asked: str) -> Visit | None:
        parameters = {
            "client_id": app.client_id,
            "redirect_uri": app.redirect_uri,
            "response_type": "code",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **({"scope": asked} if asked else {}),
        }

        def start() -> Proceed | Answer | Refusal:
            return self.attempt(self.world.issuer_of_identity.begin(list(parameters.items())))

        may = self.may_ask(app, asked)
        outcome = start()
        if may and not isinstance(outcome, Proceed):
            assert not self.followed, outcome
            self.all_follow()
            outcome = start()
            assert isinstance(outcome, Proceed), outcome
        if not isinstance(outcome, Proceed):
            assert isinstance(outcome, Redirect | NotTrusted), outcome
            return None
        assert may or not self.followed
        visit = Visit(app, session, outcome, self.model.now)
        self.visits.append(visit)
        return visit

    def may_ask(self, app: App, asked: str) -> bool:
        """Whether what an application asks for can be had by anybody."""
        wanted = asked.split() or sorted(self.model.own(app))
        return (
            self.model.app_serves(app)
            and all(scope in self.model.own(app) for scope in wanted if scope not in life.PROTOCOL_SCOPES)
            and any(scope != "offline_access" for scope in wanted)
        )

    @precondition(lambda self: self.visits)
    @rule(which=PICK, look_again=st.booleans())
    def go_on(self, which: int, look_again: bool) -> None:
        """One more step: identity looks, the person agrees, the issuer gives a code. Much may happen in between."""
        visit = self.pick(self.visits, which)
        if visit.row is None or (visit.agreed is None and look_again):
            self.seen(visit)
        elif visit.agreed is None:
            self.agreed(visit)
        else:
            self.issued(visit)

    def seen(self, visit: Visit) -> None:
        """Identity looks at the session, and at what was allowed before."""
        row = self.look_at(visit.session, visit.app.client_id)
        if row is None:
            return
        visit.row = row
        known = self.consented.get((visit.session.sub, visit.app.client_id), set())
        assert row.consented == (frozenset() if visit.app.gone and self.followed else known) or visit.app.gone
        visit.agreed = self.model.head if row.consented >= set(visit.scopes) else None

    def agreed(self, visit: Visit) -> None:
        assert visit.row is not None
        key = (visit.session.sub, visit.app.client_id)
        new = set(visit.scopes) - self.consented.get(key, set())
        user = self.model.users[visit.session.sub]
        answer = self.attempt(
            self.world.identity.consents.give(visit.row, visit.app.client_id, visit.scopes, self.world.context())
        )
        if isinstance(answer, Refusal):
            assert self.touched_since(visit.session, visit.row), answer
            assert self.observe() == 0
            return
        assert self.changed() == bool(new)
        if new:
            assert not self.model.session_over(visit.session)
            assert not user.stops.is_off(self.model.head)
        self.consented.setdefault(key, set()).update(visit.scopes)
        visit.agreed = answer or self.model.head

    def waits(self, app: App, device: Device) -> bool:
        """Whether it can still be let in: not again, not too late, and not after a cut-off of its application."""
        cut_off = any(device.born <= position for position in app.stops.cut_offs)
        return not device.let_in and self.model.now < device.expires_at and not cut_off

    def issued(self, visit: Visit) -> Grant | None:
        assert visit.row is not None
        row, agreed = visit.row, visit.agreed or 0
        allowed = [self.model.remaining(visit.scopes, visit.app, api) for api in self.apis]
        withdrawn = self.model.withdrawn.get((visit.session.sub, visit.app.client_id), [])
        device = visit.device
        could = (
            (device is None or self.waits(visit.app, device))
            and self.model.session_holds(visit.session)
            and self.model.app_serves(visit.app)
            and self.model.now < visit.begun_at + life.REQUEST_LIFE
            and not any(position > agreed for position in withdrawn)
        )
        may = could and bool(self.model.remaining(visit.scopes, visit.app))

        def issue() -> str | None:
            position = agreed if visit.row is not None and not row.consented >= set(visit.scopes) else 0
            issuer = self.world.issuer_of_identity
            answer: Answer | Refusal | None
            if device is not None:
                answer = self.attempt(issuer.allow_device(visit.proceed, row, position))
            else:
                answer = self.attempt(issuer.issue_code(visit.proceed, row, position))
            if isinstance(answer, Refusal):
                note(f"refused: {answer.code}: {answer.message}")
                return None
            if device is not None:
                return device.code
            assert isinstance(answer, Redirect), answer
            found = parse_qs(urlsplit(answer.to).query)
            return found["code"][0] if "code" in found else None

        code = issue()
        if code is None:
            assert self.observe() == 0
            if not may:
                return None
            assert not self.followed
            self.all_follow()
            code = issue()
            assert code is not None
        assert could, "a code was issued that must not be"
        assert any(allowed), "a code was issued for nothing"
        assert self.observe() == 1
        gid = code[len("sdc_") :].partition(".")[0]
        scopes = allowed[0] if len(set(allowed)) == 1 else self.do(self.world.scopes_of_grant(gid))
        assert scopes in allowed
        grant = Grant(
            gid=gid,
            client_id=visit.app.client_id,
            sub=visit.session.sub,
            sid=visit.session.sid,
            born=self.model.head,
            scopes=scopes,
            code=code,
            code_expires_at=self.model.now + life.CODE_LIFE if device is None else device.expires_at,
            refresh_expires_at=self.model.now + visit.app.refresh_life if "offline_access" in scopes else None,
            by_device=device is not None,
        )
        if device is not None:
            device.let_in = True
            self.saw("a device was let in")
        self.model.grants.append(grant)
        return grant
