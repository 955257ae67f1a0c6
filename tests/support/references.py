"""Reference tokens on a stage: an application that allows them, and ways to have one made."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from services.registry import events as registry
from services.registry.events import ApplicationSettings, ReferenceTokens
from services.token_issuer.events import ReferenceKind
from services.token_issuer.references.checks import Judgement
from services.token_issuer.references.issuing import Made, Maker, Wanted, issue
from shared.ids import new_command_id, new_id
from shared.log.append import Context
from tests.support.issuing import API, CONFIDENTIAL, HUB, Client, Stage

OPEN = CONFIDENTIAL.model_copy(update={"reference_tokens": ReferenceTokens.AUTHENTICATED_USERS})


def context(actor: str = "service:test") -> Context:
    """For what a test does itself."""
    return Context(actor, new_id(), new_command_id())


async def open_hub(stage: Stage, **changes: Any) -> Client:
    """BackstageHub, for which everybody may have tokens made, and the resources."""
    return await stage.register(OPEN.model_copy(update=changes), resources=True)


async def change(stage: Stage, settings: ApplicationSettings, **narrowed: bool) -> int:
    """The registry gives BackstageHub other settings."""
    return await stage.of_application(
        registry.ApplicationChanged(client_id=HUB, settings=settings, **{"narrowed": False, **narrowed})
    )


def wanted(stage: Stage, kind: ReferenceKind = ReferenceKind.PERSONAL, **changes: Any) -> Wanted:
    """A token for reading, for a month."""
    plain = Wanted(kind, HUB, ("read",), "the van's laptop", stage.clock() + timedelta(days=30))
    return replace(plain, **changes)


async def make(stage: Stage, sub: str, kind: ReferenceKind = ReferenceKind.PERSONAL, **changes: Any) -> Made:
    """Have a token made by this user."""
    return await issue(stage.issuer, wanted(stage, kind, **changes), Maker(sub), context(f"user:{sub}"))


async def judge(stage: Stage, token: str, audience: str | None = API, *scopes: str) -> Judgement:
    """What a resource would be told now."""
    head = await stage.issuer.log.head()
    return await stage.references.judge(token, audience=audience, scopes=scopes, min_position=head.position)
