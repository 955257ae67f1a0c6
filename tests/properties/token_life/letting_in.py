"""Devices that ask, and people who let them in (RFC 8628)."""

from collections.abc import Sequence

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shared.errors import Refusal
from tests.properties.token_life import model as life
from tests.properties.token_life.clients import DEVICE, Form
from tests.properties.token_life.exchanging import Exchanging
from tests.properties.token_life.model import App, Session
from tests.properties.token_life.playing import ASKED, PICK
from tests.properties.token_life.signing_in import Device, Visit


class LettingIn(Exchanging):
    """What a device is given is a grant like any other, whose code the device has had from the beginning."""

    @precondition(lambda self: self.model.sessions)
    @rule(
        app=PICK,
        session=PICK,
        asked=ASKED,
        quality=st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2, 3]),
        at_once=st.sampled_from([(), ("right",), ("right",), ("right", "right"), None]),
    )
    def a_device_asks(self, app: int, session: int, asked: str, quality: int, at_once: Sequence[str] | None) -> None:
        """And somebody types its code; perhaps they let it in at once, perhaps later (`go_on`), or never."""
        visit = self.asked_by_device(self.app(app), self.pick(self.model.sessions, session), asked, quality)
        if visit is None or at_once is None:
            return
        self.seen(visit)
        if visit.row is not None and visit.agreed is None:
            self.agreed(visit)
        grant = self.issued(visit) if visit.row is not None and visit.agreed is not None else None
        if grant is not None:
            for how in at_once:
                self.redeemed(grant, self.credentials(visit.app, 0), visit.app, how)

    def asked_by_device(self, app: App, session: Session, asked: str, quality: int) -> Visit | None:
        credentials, proved = self.credentials(app, quality)
        may = proved and self.may_ask(app, asked)

        def ask() -> httpx.Response:
            return self.do(self.world.device(credentials, scope=asked))

        answer = self.answered(ask(), may, ask, possible=proved and self.model.app_serves(app))
        assert self.observe() == int(answer is not None)
        if answer is None:
            return None
        device = Device(answer["device_code"], self.model.head, self.model.now + life.DEVICE_LIFE)
        form: dict[str, Form] = {"grant_type": DEVICE, "device_code": device.code}
        pending = self.do(self.world.token(credentials, **form))
        assert pending.json()["error"] == "authorization_pending"
        assert self.observe() == 0, "asking has appended something"
        proceed = self.attempt(self.world.issuer_of_identity.begin_device(answer["user_code"]))
        if isinstance(proceed, Refusal):
            assert not (may and self.followed), proceed
            return None
        visit = Visit(app, session, proceed, self.model.now, device=device)
        self.visits.append(visit)
        self.saw("a device asked")
        return visit

    @precondition(lambda self: any(visit.device and not visit.device.let_in for visit in self.visits))
    @rule(which=PICK)
    def a_device_asks_once_more(self, which: int) -> None:
        """Before anybody has let it in: it gets nothing, and nothing is written."""
        waiting = [visit for visit in self.visits if visit.device is not None and not visit.device.let_in]
        visit = self.pick(waiting, which)
        assert visit.device is not None
        credentials, _ = self.credentials(visit.app, 0)
        form: dict[str, Form] = {"grant_type": DEVICE, "device_code": visit.device.code}
        assert self.do(self.world.token(credentials, **form)).status_code in (400, 401)
        assert self.observe() == 0
