"""One article of merchandise: added by somebody, changed by the same, gone for good once it is removed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from services.resource.domain.rows import Author, check_text, invalid, not_found
from services.resource.events import MerchandiseAdded, MerchandiseChanged, MerchandiseRemoved
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event

HIGHEST_PRICE = 100_000_000
"""Cents."""
HIGHEST_STOCK = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Article:
    """What is said of an article."""

    title: str
    price_cents: int
    stock: int
    """How many there are to sell."""


# Commands


@dataclass(frozen=True, slots=True)
class Add:
    """Sell one more article."""

    merchandise_id: str
    author: Author
    article: Article


@dataclass(frozen=True, slots=True)
class Change:
    """Let it be as stated now."""

    merchandise_id: str
    author: Author
    article: Article


@dataclass(frozen=True, slots=True)
class Remove:
    """Sell it no longer."""

    merchandise_id: str
    author: Author


Command = Add | Change | Remove


# State


@dataclass(frozen=True, slots=True)
class State:
    """An article as it stands."""

    owner: str | None = None
    """None: nobody has added it."""
    article: Article | None = None
    """None: there is none, not yet or no longer."""


def decide(command: Command, state: State) -> Sequence[Event]:
    """What a command leads to. Asking for what already is so changes nothing."""
    if isinstance(command, Add):
        if state.owner is not None:
            raise Refusal(Kind.ALREADY_EXISTS, "already_exists", "there is such an article already")
        _check(command.article)
        return (MerchandiseAdded(merchandise_id=command.merchandise_id, **_said(command.author, command.article)),)
    if state.article is None or state.owner != command.author.sub:
        raise not_found("article")
    match command:
        case Change(merchandise_id=merchandise_id, author=author, article=article):
            _check(article)
            if article == state.article:
                return ()
            return (MerchandiseChanged(merchandise_id=merchandise_id, **_said(author, article)),)
        case Remove(merchandise_id=merchandise_id, author=author):
            return (MerchandiseRemoved(merchandise_id=merchandise_id, sub=author.sub, client_id=author.client_id),)
        case _:
            assert_never(command)


def evolve(state: State, event: Event) -> State:
    """How the article stands after an event."""
    match event:
        case MerchandiseAdded(sub=sub) | MerchandiseChanged(sub=sub):
            return State(sub, Article(event.title, event.price_cents, event.stock))
        case MerchandiseRemoved():
            return State(state.owner, None)
        case _:
            return state


decider: Decider[Command, State] = Decider("merchandise", State(), decide, evolve)


def _said(author: Author, article: Article) -> dict[str, Any]:
    return {
        "sub": author.sub,
        "client_id": author.client_id,
        "title": article.title,
        "price_cents": article.price_cents,
        "stock": article.stock,
    }


def _check(article: Article) -> None:
    check_text(article.title, "title")
    if not 0 <= article.price_cents <= HIGHEST_PRICE:
        raise invalid(f"price_cents has to be from 0 to {HIGHEST_PRICE}")
    if not 0 <= article.stock <= HIGHEST_STOCK:
        raise invalid(f"stock has to be from 0 to {HIGHEST_STOCK}")
