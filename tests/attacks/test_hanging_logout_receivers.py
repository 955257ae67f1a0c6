"""An application that takes logouts and never answers, or never stops: others are told all the same."""

import time

from services.token_issuer.backchannel import deliveries
from tests.support.backchannel import Backchannel, told
from tests.support.backchannel import backchannel as backchannel  # noqa: PLC0414  (a fixture)
from tests.support.receiver import receiving
from tests.support.work import eventually

SETLIST = "com.setlist/app"
HANGS = 60.0
"""Seconds; a delivery that waited for it would be seen."""


async def test_one_that_hangs_holds_up_itself(backchannel: Backchannel) -> None:
    async with receiving(answer=None) as hanging, receiving() as quick:
        hub, setlist = await backchannel.hub(hanging.uri), await backchannel.hub(quick.uri, SETLIST)
        people = [await backchannel.signed_in(hub) for _ in range(8)]
        backchannel.deliver(seconds=HANGS)
        for person in people:
            await backchannel.sign_out(person)
        await eventually(lambda: hanging.under_way > 0)
        begun = time.monotonic()
        other = await backchannel.signed_in(setlist)
        await backchannel.sign_out(other)
        await eventually(lambda: bool(quick.tokens), HANGS / 2)
        assert time.monotonic() - begun < HANGS / 2
        assert told(quick, backchannel, SETLIST) == [(other.sub, other.sid)]
        assert hanging.most_at_once <= deliveries._EACH


async def test_an_answer_without_end_is_left(backchannel: Backchannel) -> None:
    huge = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * (32 << 20)
    async with receiving(answer=huge) as receiver:
        freddie = await backchannel.signed_in(await backchannel.hub(receiver.uri))
        backchannel.deliver(seconds=HANGS)
        begun = time.monotonic()
        await backchannel.sign_out(freddie)
        await eventually(backchannel.settled, HANGS / 2)
        assert time.monotonic() - begun < HANGS / 2
        assert len(receiver.tokens) == 1


async def test_one_that_drips_is_cut_off(backchannel: Backchannel) -> None:
    """A byte now and then, so that no single read takes long."""
    async with receiving(answer=b"HTTP/1.1 200 OK\r\nX: ", drips=0.05) as receiver:
        freddie = await backchannel.signed_in(await backchannel.hub(receiver.uri))
        backchannel.deliver(seconds=1.0)
        await backchannel.sign_out(freddie)

        async def failed() -> bool:
            return [one.failure for one in await backchannel.left()] == ["timeout"]

        await eventually(failed)
