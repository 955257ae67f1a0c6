"""The tables of this service: what its facts make of them, and the questions asked of them.

`project` is pure and is used by the append and by a rebuild. Each question is one statement, so that what it
answers was true at one moment; a row's `position` tells up to where, which is what a fence needs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from services.identity.domain.user import attributes
from services.identity.events import (
    ConsentGiven,
    ConsentWithdrawn,
    PasskeyAdded,
    PasskeyRemoved,
    PasswordChanged,
    PasswordReset,
    PasswordSet,
    ProfileChanged,
    RecoveryCodesReplaced,
    RolesChanged,
    SecondFactorAdded,
    SecondFactorRemoved,
    SecondFactorReset,
    SessionEnded,
    SessionReauthenticated,
    SessionStarted,
    SessionSteppedUp,
    UserDisabled,
    UserEnabled,
    UserErased,
    UserKind,
    UserRegistered,
)
from shared.log.connections import Connections
from shared.log.event import Delete, Patch, Put, Recorded, RowChange, RowValue
from shared.questions import ask

USERS = "identity.users"
ERASED = "identity.erased_users"
VAULT = "identity.vault"
PERSONAL_KEYS = "identity.personal_keys"
PASSKEYS = "identity.passkeys"
PASSKEY_CREDENTIALS = "identity.passkey_credentials"
SESSIONS = "identity.sessions"
ACTIVITY = "identity.session_activity"
CONSENTS = "identity.consents"
UNINSTALLED = "identity.uninstalled_applications"
SIGNED_USERINFO = "identity.signed_userinfo"
INSTANCE = "identity.instance"

PASSWORD = "password"
TOTP = "totp"
RECOVERY_CODES = tuple(f"recovery_code_{number}" for number in range(10))
"""Kinds of rows in the vault."""
BOOTSTRAPPED = "bootstrapped"
DEMO = "demo"


def project(recorded: Recorded) -> Iterable[RowChange]:  # noqa: C901, PLR0912  (one case for each fact)
    """What the tables learn of a fact of this service."""
    event = recorded.event
    match event:
        case UserRegistered():
            user_name = event.user_name.reveal()
            if user_name is None:  # erased: nothing is left to look up
                return
            yield Put(
                USERS,
                {
                    "sub": event.sub,
                    "user_name": user_name,
                    "kind": event.kind.value,
                    "enabled": True,
                    "roles": [role.value for role in event.roles],
                    **attributes(event.profile),
                    "sessions_cut_off": 0,
                    "kept_session": None,
                    "totp_since": None,
                    "registered_at": recorded.recorded_at,
                    "updated_at": recorded.recorded_at,
                    "position": recorded.position,
                },
            )
        case ProfileChanged():
            yield _user(recorded, event.sub, **attributes(event.profile), updated_at=recorded.recorded_at)
        case RolesChanged():
            yield _user(recorded, event.sub, roles=[role.value for role in event.roles])
        case UserDisabled():
            yield _user(recorded, event.sub, enabled=False)
        case UserEnabled():
            yield _user(recorded, event.sub, enabled=True)
        case UserErased():
            yield Put(ERASED, {"sub": event.sub, "position": recorded.position})
            for table in (USERS, PASSKEYS, SESSIONS, CONSENTS):
                yield Delete(table, {"sub": event.sub})
        case PasswordSet() | RecoveryCodesReplaced():
            yield _user(recorded, event.sub)
        case PasswordReset():
            yield _user(recorded, event.sub, **_cut_off(recorded))
        case PasswordChanged():
            yield _user(recorded, event.sub, **_cut_off(recorded, event.kept_session))
        case SecondFactorAdded():
            since = recorded.recorded_at
            yield _user(recorded, event.sub, totp_since=since, **_cut_off(recorded, event.kept_session))
        case SecondFactorRemoved():
            yield _user(recorded, event.sub, totp_since=None, **_cut_off(recorded, event.kept_session))
        case SecondFactorReset():
            yield _user(recorded, event.sub, totp_since=None, **_cut_off(recorded))
            yield Delete(PASSKEYS, {"sub": event.sub})
        case PasskeyAdded() | PasskeyRemoved():
            yield from _passkey(recorded, event)
        case SessionStarted() | SessionReauthenticated() | SessionSteppedUp() | SessionEnded():
            yield _session(recorded, event)
        case ConsentGiven():
            for scope in event.scopes:
                yield Put(
                    CONSENTS,
                    {"sub": event.sub, "client_id": event.client_id, "scope": scope, "position": recorded.position},
                )
        case ConsentWithdrawn():
            yield Delete(CONSENTS, {"sub": event.sub, "client_id": event.client_id})
        case _:
            return


def _passkey(recorded: Recorded, event: PasskeyAdded | PasskeyRemoved) -> Iterable[RowChange]:
    yield _user(recorded, event.sub, **_cut_off(recorded, event.kept_session))
    if isinstance(event, PasskeyRemoved):
        yield Delete(PASSKEYS, {"passkey_id": event.passkey_id})
    elif (name := event.name.reveal()) is not None:  # else its user was erased
        yield Put(
            PASSKEYS,
            {
                "passkey_id": event.passkey_id,
                "sub": event.sub,
                "name": name,
                "backup_eligible": event.backup_eligible,
                "added_at": recorded.recorded_at,
            },
        )


def _user(recorded: Recorded, sub: str, **values: RowValue) -> RowChange:
    return Patch(USERS, {"sub": sub}, {**values, "position": recorded.position})


def _cut_off(recorded: Recorded, kept: str | None = None) -> dict[str, RowValue]:
    """The user's sessions of before are over, but perhaps for one."""
    return {"sessions_cut_off": recorded.position, "kept_session": kept}


def _session(
    recorded: Recorded, event: SessionStarted | SessionReauthenticated | SessionSteppedUp | SessionEnded
) -> RowChange:
    if isinstance(event, SessionEnded):
        return Delete(SESSIONS, {"sid": event.sid})
    if isinstance(event, SessionSteppedUp):
        return Patch(SESSIONS, {"sid": event.sid}, {"secret_digest": event.secret_digest, "amr": list(event.amr)})
    proved: dict[str, RowValue] = {
        "secret_digest": event.secret_digest,
        "auth_time": event.auth_time,
        "amr": list(event.amr),
        "auth_position": recorded.position,
    }
    if isinstance(event, SessionReauthenticated):
        return Patch(SESSIONS, {"sid": event.sid}, proved)
    return Put(
        SESSIONS,
        {
            "sid": event.sid,
            "sub": event.sub,
            **proved,
            "expires_at": event.expires_at,
            "user_agent": None if event.user_agent is None else event.user_agent.reveal(),
            "started_position": recorded.position,
        },
    )


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user as the tables have it."""

    sub: str
    user_name: str
    kind: UserKind
    enabled: bool
    roles: tuple[str, ...]
    given_name: str | None
    family_name: str | None
    display_name: str | None
    email: str | None
    email_verified: bool
    locale: str | None
    zoneinfo: str | None
    phone_number: str | None
    phone_number_verified: bool
    street_address: str | None
    locality: str | None
    region: str | None
    postal_code: str | None
    country: str | None
    registered_at: datetime
    updated_at: datetime
    position: int
    epoch: int
    """Of the log, when this was asked: what `position` is a position of."""
    totp_since: datetime | None
    """When codes of an application were set up (TOTP); None: there are none."""
    has_passkeys: bool

    @property
    def has_second_factor(self) -> bool:
        """Whether the password alone is not enough to sign in."""
        return self.totp_since is not None or self.has_passkeys

    def is_as_of(self, epoch: int, position: int) -> bool:
        """Whether nothing about the user has changed since they were at this position of that epoch."""
        return (self.epoch, self.position) == (epoch, position)

    @property
    def shown_name(self) -> str:
        """What a page calls this person."""
        whole = " ".join(part for part in (self.given_name, self.family_name) if part)
        return self.display_name or whole or self.user_name


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and what their sign-in is checked against, as of `user.position`."""

    user: UserRow
    password_hash: str | None
    wrapped_key: bytes | None
    """The key of their personal data, wrapped."""
    sealed_seed: bytes | None = None
    """Of their second factor. None where there is one: the vault has lost it, so no code is right."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session that holds: its user may sign in, it was not ended, and it has not run out."""

    sid: str
    user: UserRow
    auth_time: datetime
    auth_position: int
    amr: tuple[str, ...]
    expires_at: datetime
    seen_at: datetime
    user_agent: str | None
    consented: frozenset[str]
    """Scopes that the user has allowed the application that was asked about."""
    consent_position: int

    @property
    def position(self) -> int:
        """Up to here everything about the user and the session is in this row."""
        return max(self.user.position, self.auth_position)


USER_COLUMNS = """u.sub, u.user_name, u.kind, u.enabled, u.roles, u.given_name, u.family_name, u.display_name, u.email,
    u.email_verified, u.locale, u.zoneinfo, u.phone_number, u.phone_number_verified, u.street_address, u.locality,
    u.region, u.postal_code, u.country, u.registered_at, u.updated_at, u.position, u.totp_since,
    EXISTS (SELECT FROM identity.passkeys p WHERE p.sub = u.sub) AS has_passkeys,
    (SELECT h.epoch FROM log.head h) AS epoch"""
_HOLDS = """u.enabled AND u.kind <> 'service'
    AND (s.started_position > u.sessions_cut_off OR s.sid = u.kept_session)
    AND s.expires_at > $2 AND coalesce(a.seen_at, s.auth_time) > $3"""
_SESSION = f"""SELECT {USER_COLUMNS}, s.sid, s.auth_time, s.auth_position, s.amr, s.expires_at, s.user_agent,
    greatest(a.seen_at, s.auth_time) AS seen_at,
    c.scopes AS consented, coalesce(c.position, 0) AS consent_position
  FROM identity.sessions s
  JOIN identity.users u ON u.sub = s.sub
  LEFT JOIN identity.session_activity a ON a.sid = s.sid
  LEFT JOIN LATERAL (
    SELECT array_agg(c.scope) AS scopes, max(c.position) AS position FROM identity.consents c
     WHERE c.sub = s.sub AND c.client_id = $4
       AND NOT EXISTS (SELECT FROM identity.uninstalled_applications gone WHERE gone.client_id = c.client_id)
  ) c ON true
 WHERE {_HOLDS}"""  # noqa: S608  (put together from constants)


_NOT_ERASED = "NOT EXISTS (SELECT FROM identity.erased_users e WHERE e.sub = k.sub)"
"""SQL: a key `k` that came back with an old back-up is not used, not even until it is destroyed again."""


class Questions:
    """The questions that this service asks its tables. All raise `LogUnavailable` if the database does not answer."""

    def __init__(self, pool: Connections, *, idle: timedelta) -> None:
        self._pool = pool
        self._idle = idle

    async def credentials(self, user_name: str) -> Credentials | None:
        """The user of this (normalised) name with what their sign-in is checked against."""
        return await self._credentials("u.user_name = $1", user_name)

    async def credentials_of(self, sub: str) -> Credentials | None:
        """The same for a known user."""
        return await self._credentials("u.sub = $1", sub)

    async def session(self, secret_digest: str, now: datetime, client_id: str = "") -> SessionRow | None:
        """The session whose cookie this is, if it holds at `now`, and what its user allowed `client_id`."""
        rows = await self._ask(f"{_SESSION} AND s.secret_digest = $1", secret_digest, now, now - self._idle, client_id)
        return _session_row(rows[0]) if rows else None

    async def sessions_of(self, sub: str, now: datetime) -> list[SessionRow]:
        """A user's sessions that hold at `now`, the newest first."""
        rows = await self._ask(
            f"{_SESSION} AND s.sub = $1 ORDER BY s.auth_time DESC LIMIT 1000", sub, now, now - self._idle, ""
        )
        return [_session_row(row) for row in rows]

    async def consents_to(self, client_id: str) -> int:
        """How many users have allowed an application something."""
        counted = "SELECT count(DISTINCT c.sub) FROM identity.consents c WHERE c.client_id = $1"
        return int(await ask(self._pool.fetchval(counted, client_id)))

    async def consents_of(self, sub: str) -> dict[str, tuple[str, ...]]:
        """What a user has allowed, by application; those that are gone are left out."""
        rows = await self._ask(
            """SELECT c.client_id, array_agg(c.scope ORDER BY c.scope) AS scopes FROM identity.consents c
                WHERE c.sub = $1
                  AND NOT EXISTS (SELECT FROM identity.uninstalled_applications gone WHERE gone.client_id = c.client_id)
                GROUP BY c.client_id ORDER BY c.client_id LIMIT 1000""",
            sub,
        )
        return {row["client_id"]: tuple(row["scopes"]) for row in rows}

    async def user(self, sub: str) -> UserRow | None:
        """The user with this `sub`."""
        rows = await self._ask(f"SELECT {USER_COLUMNS} FROM identity.users u WHERE u.sub = $1", sub)  # noqa: S608
        return user_row(rows[0]) if rows else None

    async def user_for(self, sub: str, client_id: str) -> tuple[UserRow, bool] | None:
        """The user with this `sub`, and whether this application wants to be told signed."""
        rows = await self._ask(
            f"""SELECT {USER_COLUMNS}, s.client_id IS NOT NULL AS signed FROM identity.users u
                  LEFT JOIN identity.signed_userinfo s ON s.client_id = $2 WHERE u.sub = $1""",  # noqa: S608
            sub,
            client_id,
        )
        return (user_row(rows[0]), rows[0]["signed"]) if rows else None

    async def user_named(self, user_name: str) -> UserRow | None:
        """The user with this (normalised) name."""
        rows = await self._ask(f"SELECT {USER_COLUMNS} FROM identity.users u WHERE u.user_name = $1", user_name)  # noqa: S608
        return user_row(rows[0]) if rows else None

    async def users(self, after: str, limit: int) -> list[UserRow]:
        """Users in the order of their names, those whose name comes after `after`."""
        rows = await self._ask(
            f'SELECT {USER_COLUMNS} FROM identity.users u WHERE u.user_name COLLATE "C" > $1'  # noqa: S608
            ' ORDER BY u.user_name COLLATE "C" LIMIT $2',
            after,
            limit,
        )
        return [user_row(row) for row in rows]

    async def wrapped_keys(self, subs: Sequence[str]) -> dict[str, bytes]:
        """The wrapped keys of these users' personal data; none for those who have been erased."""
        rows = await self._ask(
            f"SELECT k.sub, k.wrapped FROM identity.personal_keys k WHERE k.sub = ANY($1::text[]) AND {_NOT_ERASED}",  # noqa: S608
            list(subs),
        )
        return {row["sub"]: row["wrapped"] for row in rows}

    async def erased(self, sub: str) -> int | None:
        """Where in the log this user was erased; None if they were not."""
        rows = await self._ask("SELECT position FROM identity.erased_users WHERE sub = $1", sub)
        return rows[0]["position"] if rows else None

    async def sids_of(self, sub: str) -> list[str]:
        """The sessions that there are rows of for this user, whether they hold or not."""
        return [row["sid"] for row in await self._ask("SELECT sid FROM identity.sessions WHERE sub = $1", sub)]

    async def destroy_again(self) -> int:
        """Delete keys, secrets and credentials of users who have been erased; answers how many there were.

        An erasure leaves none. There are some if a back-up of these tables from before it was restored.
        """
        rows = await self._ask(
            """WITH keys AS (
                 DELETE FROM identity.personal_keys k USING identity.erased_users e WHERE e.sub = k.sub RETURNING 1
               ), secrets AS (
                 DELETE FROM identity.vault v USING identity.erased_users e WHERE e.sub = v.sub RETURNING 1
               ), credentials AS (
                 DELETE FROM identity.passkey_credentials c USING identity.erased_users e
                  WHERE e.sub = c.sub RETURNING 1
               ) SELECT (SELECT count(*) FROM keys) + (SELECT count(*) FROM secrets)
                      + (SELECT count(*) FROM credentials) AS destroyed"""
        )
        return int(rows[0]["destroyed"])

    async def marked(self, mark: str) -> bool:
        """Whether this is true of the instance."""
        return bool(await self._ask("SELECT FROM identity.instance WHERE mark = $1", mark))

    async def seen(self, sid: str, now: datetime) -> None:
        """Note that a session was used, and take the chance to forget a few that have idled out."""
        await self._ask(
            """INSERT INTO identity.session_activity (sid, seen_at) VALUES ($1, $2)
               ON CONFLICT (sid) DO UPDATE SET seen_at = greatest(session_activity.seen_at, excluded.seen_at)""",
            sid,
            now,
        )
        # What is older belongs to sessions that have idled out; forgetting it does not bring them back.
        await self._ask(
            """DELETE FROM identity.session_activity WHERE sid IN (
                 SELECT sid FROM identity.session_activity WHERE seen_at < $1
                  ORDER BY seen_at LIMIT 50 FOR UPDATE SKIP LOCKED)""",
            now - self._idle,
        )

    async def recovery_codes(self, sub: str) -> dict[str, bytes]:
        """The keyed digests of the recovery codes that a user has left, by kind of row."""
        rows = await self._ask(
            "SELECT kind, value FROM identity.vault WHERE sub = $1 AND kind = ANY($2::text[])",
            sub,
            list(RECOVERY_CODES),
        )
        return {row["kind"]: row["value"] for row in rows}

    async def replace_hash(self, sub: str, old: str, new: str) -> None:
        """Keep the same password under another hash, unless it was changed meanwhile."""
        await self._ask(
            "UPDATE identity.vault SET value = $3 WHERE sub = $1 AND kind = 'password' AND value = $2",
            sub,
            old.encode(),
            new.encode(),
        )

    async def _credentials(self, condition: str, value: str) -> Credentials | None:
        rows = await self._ask(
            f"""SELECT {USER_COLUMNS}, p.value AS password_hash, t.value AS sealed_seed, k.wrapped AS wrapped_key
                  FROM identity.users u
                  LEFT JOIN identity.vault p ON p.sub = u.sub AND p.kind = '{PASSWORD}'
                  LEFT JOIN identity.vault t ON t.sub = u.sub AND t.kind = '{TOTP}' AND u.totp_since IS NOT NULL
                  LEFT JOIN identity.personal_keys k ON k.sub = u.sub
                 WHERE {condition}""",  # noqa: S608  (put together from constants)
            value,
        )
        if not rows:
            return None
        row, stored = rows[0], rows[0]["password_hash"]
        hashed = None if stored is None else stored.decode()
        return Credentials(user_row(row), hashed, row["wrapped_key"], row["sealed_seed"])

    async def _ask(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await ask(self._pool.fetch(statement, *arguments))
        return rows


def user_row(row: Any) -> UserRow:
    """The user in a row of `USER_COLUMNS`."""
    return UserRow(
        sub=row["sub"],
        user_name=row["user_name"],
        kind=UserKind(row["kind"]),
        enabled=row["enabled"],
        roles=tuple(row["roles"]),
        given_name=row["given_name"],
        family_name=row["family_name"],
        display_name=row["display_name"],
        email=row["email"],
        email_verified=row["email_verified"],
        locale=row["locale"],
        zoneinfo=row["zoneinfo"],
        phone_number=row["phone_number"],
        phone_number_verified=row["phone_number_verified"],
        street_address=row["street_address"],
        locality=row["locality"],
        region=row["region"],
        postal_code=row["postal_code"],
        country=row["country"],
        registered_at=row["registered_at"],
        updated_at=row["updated_at"],
        position=row["position"],
        epoch=row["epoch"],
        totp_since=row["totp_since"],
        has_passkeys=row["has_passkeys"],
    )


def _session_row(row: Any) -> SessionRow:
    return SessionRow(
        sid=row["sid"],
        user=user_row(row),
        auth_time=row["auth_time"],
        auth_position=row["auth_position"],
        amr=tuple(row["amr"]),
        expires_at=row["expires_at"],
        seen_at=row["seen_at"],
        user_agent=row["user_agent"],
        consented=frozenset(row["consented"] or ()),
        consent_position=row["consent_position"],
    )
