"""A guard in a process of its own, made of nothing but the public SDK, which notes when it refuses what it allowed.

    python -m tests.benchmarks.guarding

It is asked as `tests.benchmarks.child` says. Times are those of CLOCK_MONOTONIC, one for all processes of a machine.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, cast

import uvloop
from grpc import aio

from stagedoor import Allowed, Denial, DenialView, Feed, Guard, HttpKeys, Snapshot
from stagedoor.grpc import GrpcFeed, GrpcOnline, credentials
from stagedoor.nats import NatsFeed
from stagedoor.verdict import Denied, Verdict
from tests.benchmarks.child import answers, questions
from tests.support.work import eventually

_LOOK_SECONDS = 0.05
"""How often it is looked whether a token is still allowed, also if nobody said anything."""
_NEXT = 8
"""Tokens that are looked at when a denial comes: they are taken back in the order in which they are watched."""
_AGAIN = 10
"""Tokens refused before that are looked at again each time."""
_READY_SECONDS = 60.0


class _Told:
    """The guard's view of denials, which says when something new has been told to it."""

    def __init__(self, view: DenialView, told: Callable[[int], None]) -> None:
        self._view = view
        self._told = told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def apply(self, denial: Denial) -> bool:
        whole = self._view.apply(denial)
        self._told(denial.position)
        return whole

    def replace(self, snapshot: Snapshot, sent_at: float | None = None) -> None:
        self._view.replace(snapshot, sent_at)
        self._told(0)


class _Overheard:
    """A feed that can be listened to."""

    def __init__(self, feed: Feed, told: Callable[[int], None]) -> None:
        self._feed = feed
        self._told = told

    async def run(self, view: DenialView) -> None:
        await self._feed.run(cast("DenialView", _Told(view, self._told)))

    async def ping(self) -> None:
        await self._feed.ping()


class Watcher:
    """The tokens that are watched, and what became of them."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        channel = aio.secure_channel(
            settings["grpc"],
            credentials(*(Path(settings[name]).read_bytes() for name in ("ca", "certificate", "key"))),
            options=(("grpc.ssl_target_name_override", "token_issuer"),),
        )
        feed: Feed = GrpcFeed(channel)
        if settings["feed"] == "nats":
            feed = NatsFeed(settings["nats"], inbox_prefix="_INBOX_resource_server")
        self.guard = Guard(
            issuer=settings["issuer"],
            audience=settings["audience"],
            keys=HttpKeys(f"{settings['issuer']}/connect/jwks"),
            feed=_Overheard(feed, self._told),
            online=GrpcOnline(channel),
            max_staleness=settings["max_staleness"],
        )
        self._watched: dict[str, str] = {}
        self._allowed_at: dict[str, float] = {}
        """When each of them was allowed last."""
        self._refused: dict[str, str] = {}
        self._again: list[str] = []
        self._found: dict[str, tuple[float, int, float, str]] = {}
        self._accepted: set[str] = set()
        self._checks = 0

    async def answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """One line."""
        match question["do"]:
            case "watch":
                return await self._watch(question["tokens"])
            case "report":
                return self._report()
            case "audit":
                return self._audit()
            case "forget":
                for kept in (self._watched, self._allowed_at, self._refused, self._again):
                    kept.clear()
                return self._report()
            case _:
                raise ValueError("there is no such question")

    async def look(self) -> None:
        """Look at what is watched, and at some of what was refused, for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._look(0, len(self._watched))
            # Where a snapshot came a reference token is to be looked up anew: only who asks learns what became of it.
            for name, token in [each for each in self._watched.items() if each[1].startswith("stagedoor_")]:
                verdict = await self.guard.validate(token)
                if name in self._watched:
                    self._note(name, verdict, 0)
            if not self._again:
                self._again = list(self._refused)
            for name in self._again[-_AGAIN:]:
                self._look_again(name)
            del self._again[-_AGAIN:]

    async def _watch(self, tokens: Mapping[str, str]) -> Mapping[str, Any]:
        """Have more tokens watched; answers those that are not allowed, and why."""
        refused: dict[str, str] = {}
        for name, token in tokens.items():
            verdict = await self.guard.validate(token)
            if isinstance(verdict, Allowed):
                self._watched[name] = token
                self._allowed_at[name] = monotonic()
            else:
                refused[name] = verdict.reason
        return {"refused": refused}

    def _told(self, position: int) -> None:
        """Something was said of what happened at a position (0: of everything)."""
        self._look(position, _NEXT if position else len(self._watched))

    def _look(self, position: int, most: int) -> None:
        for name, token in list(islice(self._watched.items(), most)):
            self._note(name, self._check(token), position)

    def _note(self, name: str, verdict: Verdict, position: int) -> None:
        if isinstance(verdict, Allowed):
            self._allowed_at[name] = monotonic()
        elif _for_good(verdict):
            self._found[name] = (monotonic(), position, self._allowed_at.pop(name), verdict.reason)
            self._refused[name] = self._watched.pop(name)

    def _look_again(self, name: str) -> None:
        if isinstance(self._check(self._refused[name]), Allowed):
            self._accepted.add(name)

    def _check(self, token: str) -> Verdict:
        self._checks += 1
        return self.guard.check(token)

    def _report(self) -> Mapping[str, Any]:
        """What was refused since the last report, what is still allowed, and what must not have been."""
        found, self._found = self._found, {}
        return {
            "refused": found,
            "allowed_at": dict(self._allowed_at),
            "accepted": sorted(self._accepted),
            "checks": self._checks,
            "ready": self.guard.ready(),
        }

    def _audit(self) -> Mapping[str, Any]:
        """The same, after looking at everything that was ever refused."""
        for name in self._refused:
            self._look_again(name)
        return {**self._report(), "audited": len(self._refused)}


def _for_good(verdict: Denied) -> bool:
    """Whether a refusal is of the token, and not of what the guard knows."""
    return not verdict.temporary and verdict.reason.startswith("denied_")


async def main() -> None:
    """Answer until the input ends."""
    logging.basicConfig(level=logging.ERROR)
    reader = await questions()
    watcher = Watcher(json.loads(await reader.readline()))
    async with watcher.guard:
        await eventually(watcher.guard.ready, _READY_SECONDS)
        looking = asyncio.create_task(watcher.look())
        await answers(reader, watcher.answer)
        looking.cancel()


if __name__ == "__main__":
    uvloop.run(main())
