"""The facts of the resource service. Stored names are permanent; a changed meaning is a new name."""

from shared.log.event import Event, Retention


class TourAdded(Event, stored_as="resource.TourAdded"):
    """A user has one more tour date."""

    tour_id: str
    sub: str
    client_id: str
    """The application through which it was done."""
    title: str
    venue: str
    city: str
    date: str
    """ISO 8601 date."""


class TourChanged(Event, stored_as="resource.TourChanged"):
    """A tour date is now as stated."""

    tour_id: str
    sub: str
    client_id: str
    title: str
    venue: str
    city: str
    date: str


class TourRemoved(Event, stored_as="resource.TourRemoved"):
    """A tour date is gone."""

    tour_id: str
    sub: str
    client_id: str


class MerchandiseAdded(Event, stored_as="resource.MerchandiseAdded"):
    """A user sells one more article."""

    merchandise_id: str
    sub: str
    client_id: str
    title: str
    price_cents: int
    stock: int


class MerchandiseChanged(Event, stored_as="resource.MerchandiseChanged"):
    """An article is now as stated."""

    merchandise_id: str
    sub: str
    client_id: str
    title: str
    price_cents: int
    stock: int


class MerchandiseRemoved(Event, stored_as="resource.MerchandiseRemoved"):
    """An article is gone."""

    merchandise_id: str
    sub: str
    client_id: str


class DataRead(Event, stored_as="resource.DataRead"):
    """Somebody read rows of a user: one event for each request, not for each row."""

    retention = Retention.EXPIRING

    access_id: str
    sub: str
    client_id: str
    jti: str
    """The token that allowed it."""
    what: str
    """`tours`, `tour`, `merchandise` or `article`."""
    rows: int
