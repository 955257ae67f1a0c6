"""What a person may do in and with, for the page of the identity service on which they see it and stop it."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.registry.events import ApplicationSettings
from services.token_issuer.domain.reference_token import MOST_ALIVE
from services.token_issuer.issuer import Issuer
from services.token_issuer.references.issuing import Maker, access_of, check_maker, check_session
from services.token_issuer.references.tables import ListedReference
from services.token_issuer.scopes import DESCRIPTIONS, description
from services.token_issuer.views import Resource
from shared.errors import Refusal, Unavailable

Abilities = tuple[tuple[str, str], ...]
"""Scopes, each with what it lets an application do."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An application that may act for the person."""

    client_id: str
    settings: ApplicationSettings
    enabled: bool
    abilities: Abilities
    acting: bool
    """It has a grant, and did not merely get the person's consent."""


@dataclass(frozen=True, slots=True)
class Offer:
    """An application that the person can make tokens for."""

    client_id: str
    display_name: str
    abilities: Abilities


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it."""

    connections: tuple[Connection, ...]
    references: tuple[ListedReference, ...]
    names: Mapping[str, str]
    """What the applications of `references` are called."""
    offers: tuple[Offer, ...]


async def overview(issuer: Issuer, person: Maker, consented: Mapping[str, Sequence[str]], minimum: int) -> Overview:
    """What the person in this session sees.

    `consented` is what the identity service remembers that they allowed. Raises `Refusal` if the session is not open.
    """
    issuer.check_switch()
    await issuer.following.reach(minimum)
    now, tables = issuer.clock(), issuer.questions.references
    check_session(await issuer.questions.known("", sub=person.sub, sid=person.sid), person, now)
    acting = await tables.connected(person.sub, now)
    references = await tables.alive(person.sub, now, MOST_ALIVE)
    may = {client: {*consented.get(client, ()), *acting.get(client, ())} for client in (*consented, *acting)}
    of_references = {listed.reference.client_id for listed in references}
    applications = await tables.applications({*may, *of_references})
    resources = await tables.owners_of({scope for scopes in may.values() for scope in scopes})
    connections = tuple(
        Connection(
            client_id=found.client_id,
            settings=found.settings,
            enabled=found.enabled,
            abilities=_abilities(may[found.client_id], resources),
            acting=found.client_id in acting,
        )
        for found in sorted(applications, key=lambda found: found.settings.display_name.casefold())
        if found.client_id in may
    )
    return Overview(
        connections=connections,
        references=tuple(references),
        names={found.client_id: found.settings.display_name for found in applications},
        offers=await _offers(issuer, person),
    )


async def _offers(issuer: Issuer, person: Maker) -> tuple[Offer, ...]:
    """The applications that this person could have a token made for."""
    now, places = issuer.clock(), issuer.policy.places
    names = await issuer.questions.references.offering()
    asked = await asyncio.gather(
        *(issuer.questions.known(client_id, sub=person.sub, sid=person.sid) for client_id in names)
    )
    offers = []
    for known in asked:
        application = known.application
        if application is None or not application.enabled:
            continue
        try:
            user = check_maker(application, known, person, now)
            access = access_of(application, known.resources, user, places, ())
        except Unavailable:
            raise
        except Refusal:
            continue
        abilities = _abilities(access.scopes, known.resources)
        offers.append(Offer(application.client_id, application.settings.display_name, abilities))
    return tuple(sorted(offers, key=lambda offer: offer.display_name.casefold()))


def _abilities(scopes: Iterable[str], resources: Sequence[Resource]) -> Abilities:
    """In words, what the APIs are about before what the protocol is about."""
    ordered = sorted(scopes, key=lambda scope: (scope in DESCRIPTIONS, scope))
    return tuple((scope, description(scope, resources)) for scope in ordered)
