"""Who had access to what: everything that let somebody act, or an application act for somebody."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.ledger.looking_back import Histories
from services.ledger.past import Moment, Past
from services.ledger.reports.report import Row
from services.ledger.reports.standing import Ended, World
from services.registry.events import GrantType
from shared.history import IssuedToken, State
from shared.log.row import EventRow

_ACTIVE: Final = "active"


@dataclass(frozen=True, slots=True)
class Access:
    """Of everybody, or of one user, or by one application."""

    histories: Histories
    sub: str
    client_id: str

    columns = ("sub", "user_kind", "client_id", "means", "id", "scopes", "audiences", "since", "until", "state")

    @property
    def about(self) -> Mapping[str, str]:
        """As of `Report`."""
        return {"report": "access", "sub": self.sub, "client_id": self.client_id}

    async def rows(self, past: Past, moment: Moment) -> AsyncIterator[Row | int]:
        """By user, then by application."""
        world = World(self.histories)
        async for looked in world.read(past, moment):
            yield looked
        for row in await asyncio.to_thread(self._sorted, world, moment.at):
            yield row

    def _sorted(self, world: World, at: datetime) -> list[Row]:
        found = filter(self._wanted, _Telling(world, at).rows())
        return sorted(found, key=lambda row: (row["sub"], row["client_id"], row["means"], row["id"]))

    def _wanted(self, row: Row) -> bool:
        return self.sub in ("", row["sub"]) and self.client_id in ("", row["client_id"])


class _Telling:
    """Rows of what stands."""

    def __init__(self, world: World, at: datetime) -> None:
        self._world = world
        self._at = at
        self._ended: Ended = world.ended()
        self._applications = world.shown("application", at)
        self._users = world.shown("user", at)

    def rows(self) -> Iterator[Row]:
        """All of them."""
        yield from self._roles()
        yield from self._consents()
        yield from self._grants()
        yield from self._references()
        yield from self._own()
        yield from self._exchanging()

    def _roles(self) -> Iterator[Row]:
        for sub, (state, _) in self._users.items():
            if state["roles"]:
                since = self._world.roles_since[sub].recorded_at
                yield self._row(sub, "", "role", "", scopes=state["roles"], since=since)

    def _consents(self) -> Iterator[Row]:
        for consent_id, (state, first) in self._world.shown("consent", self._at).items():
            sub, _, client_id = consent_id.partition(".")
            if self._stands(sub, client_id):
                yield self._row(sub, client_id, "consent", "", scopes=state["scopes"], since=first.recorded_at)

    def _grants(self) -> Iterator[Row]:
        for gid, (state, first) in self._world.shown("grant", self._at).items():
            until = max(state["tokens_end_at"], state["refresh_expires_at"] or state["tokens_end_at"])
            if state["ended"] is None and until > self._at and not self._ended(_token(gid, state, first)):
                sub, client_id = state["sub"], state["client_id"]
                if self._stands(sub, client_id):
                    row = self._row(sub, client_id, "grant", gid, scopes=state["scopes"], since=state["opened_at"])
                    yield {**row, "audiences": state["audiences"], "until": until}

    def _references(self) -> Iterator[Row]:
        for jti, token in self._world.references.items():
            alive = token.expires_at > self._at and not self._ended(token)
            if alive and self._stands(token.sub, token.client_id):
                row = self._row(token.sub, token.client_id, token.kind, jti, scopes=token.scopes, since=token.issued_at)
                yield {**row, "audiences": token.audiences, "until": token.expires_at}

    def _own(self) -> Iterator[Row]:
        for client_id, (state, _) in self._applications.items():
            if GrantType.CLIENT_CREDENTIALS.value in state.get("grants", ()):
                sub = state["service_account"] or client_id
                if self._stands(sub, client_id):
                    yield self._row(sub, client_id, "client_credentials", "", scopes=state["scopes"], since=None)

    def _exchanging(self) -> Iterator[Row]:
        """Whoever sends such an application a token has it act for them: there is nobody to name before."""
        for client_id, (state, _) in self._applications.items():
            if GrantType.TOKEN_EXCHANGE.value in state.get("grants", ()) and self._stands("", client_id):
                yield self._row("", client_id, "token_exchange", "", scopes=state["scopes"], since=None)

    def _stands(self, sub: str, client_id: str) -> bool:
        """Whether both are still there, be it disabled."""
        things = self._world.histories.things
        return self._world.gone.isdisjoint((things["application"].stream(client_id), things["user"].stream(sub)))

    def _row(  # noqa: PLR0913  (the columns that all have)
        self, sub: str, client_id: str, means: str, its_id: str, *, scopes: object, since: datetime | None
    ) -> dict[str, object]:
        user, application = self._users.get(sub), self._applications.get(client_id)
        state = _ACTIVE
        if application is not None and not application[0].get("enabled", True):
            state = "application_disabled"
        if user is not None and not user[0]["enabled"]:
            state = "user_disabled"
        return {
            "sub": sub,
            "user_kind": "" if user is None else user[0]["kind"],
            "client_id": client_id,
            "means": means,
            "id": its_id,
            "scopes": scopes,
            "audiences": (),
            "since": since,
            "until": None,
            "state": state,
        }


def _token(gid: str, state: State, first: EventRow) -> IssuedToken:
    """A token that the grant gave as soon as it was opened: what stands against that, stands against the grant."""
    return IssuedToken(
        jti="",  # a token that was revoked leaves its grant as it is
        kind="access_token",
        client_id=state["client_id"],
        sub=state["sub"],
        sid=state["sid"],
        gid=gid,
        scopes=state["scopes"],
        audiences=state["audiences"],
        issued_at=state["opened_at"],
        expires_at=state["tokens_end_at"],
        position=first.position,
        epoch=first.epoch,
    )
