"""The story, played against a system of its own: `make story`.

Each step is checked by what it shows from outside: pages, tokens, the API, the command line, the log. It ends with
exit status 0 only if all five promises held:

1. An app that is not registered as a trusted application gets nothing.
2. The person signs in at the identity server; the app never sees a password.
3. The token names the person, the app and the access, and carries no personal data.
4. The APIs check every token and allow only what it permits.
5. Every action is tied to an authenticated person or service, and can be replayed from the log.
"""

import asyncio
import json
import os
import shutil
import sys
import time
from base64 import urlsafe_b64decode
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, quote_plus, urljoin, urlsplit

import httpx

from infra.local.failure import SystemFailure
from infra.local.ports import tls_wanted
from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from tests.support.browsing import Page
from tests.support.command import CommandRefused, stagedoor
from tests.support.ports import free_ports
from tests.support.system import new_folder

CLIENT_ID = "com.backstagehub/story"
REDIRECT_URI = "http://localhost:8499/callback"
REFUSED_WITHIN_SECONDS = 20.0
TOLD_WITHIN_SECONDS = 20.0
FREDDIE = ("freddie", "a-kind-of-magic-1986")
BRIAN = ("brian", "red-special-1963")
FAN = ("fan", "radio-ga-ga-1984")
ACCESS_TOKEN_CLAIMS = {
    *("iss", "sub", "aud", "client_id", "scope", "iat", "nbf", "exp", "jti"),
    *("sid", "gid", "auth_time", "acr", "amr", "pos", "epoch"),
}
ID_TOKEN_CLAIMS = {"iss", "sub", "aud", "iat", "exp", "auth_time", "acr", "amr", "sid", "at_hash"}
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404


class Broken(Exception):  # noqa: N818  (a promise is broken, not the program)
    """Something did not hold."""


def holds(condition: object, what: str) -> None:
    """Go on only if it does."""
    if not condition:
        raise Broken(what)
    print(f"    ✓ {what}")


def step(text: str) -> None:
    """Announce a step."""
    print(f"\n{text}")


def claims(token: str) -> dict[str, Any]:
    """What a JWT says, unverified: the story looks, the API checks."""
    body = token.split(".")[1]
    found: dict[str, Any] = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


def _tokens(answer: dict[str, Any]) -> set[str]:
    """The tokens in an answer of the token endpoint."""
    return {str(value) for name, value in answer.items() if name in {"access_token", "refresh_token", "id_token"}}


def _redemption(flow: CodeFlow, code: str) -> dict[str, str]:
    """What is sent to exchange a code."""
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": flow.redirect_uri,
        "code_verifier": flow.verifier,
    }


class Story:
    """The players, and what they have by now."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.origin = system.ports.origin
        self.issuer = system.ports.issuer
        self.api = f"{self.origin}/api"
        self.trust = system.trust()
        self.http = httpx.AsyncClient(trust_env=False, timeout=30, verify=self.trust)
        self.client_secret = ""
        self.tokens: dict[str, Any] = {}
        self.password_went_to: set[str] = set()
        self.given: set[str] = set()
        """Every code and token that was handed out."""
        self.disabled_at = 0

    async def stagedoor(self, *arguments: str) -> list[dict[str, Any]]:
        """What Brian's command line answers."""
        return await stagedoor(self.system, *arguments)

    def flow(self, scope: str) -> CodeFlow:
        """An authorization request of BackstageHub's."""
        return CodeFlow(self.issuer, CLIENT_ID, REDIRECT_URI, scope)

    async def token_request(self, **parameters: str) -> httpx.Response:
        """What the token endpoint answers to BackstageHub."""
        return await self.http.post(
            f"{self.issuer}/connect/token",
            data=parameters,
            auth=httpx.BasicAuth(quote_plus(CLIENT_ID), self.client_secret or "never-registered"),
        )

    async def call(self, method: str, path: str, token: str | None, body: object = None) -> httpx.Response:
        """A call of the API."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.http.request(method, f"{self.api}{path}", headers=headers, json=body)

    async def sign_in(self, who: tuple[str, str], scope: str) -> dict[str, Any]:
        """Somebody signs in to BackstageHub; notes where the password goes."""

        async def note(request: httpx.Request) -> None:
            if quote_plus(who[1]).encode() in await request.aread() or who[1] in str(request.url):
                self.password_went_to.add(f"{request.url.scheme}://{request.url.netloc.decode()}")

        flow = self.flow(scope)
        async with Visitor(*who, self.trust) as visitor:
            visitor.browser.event_hooks["request"].append(note)
            came_back_at = await visitor.go(flow.address, until=REDIRECT_URI)
        holds(
            set(parse_qs(urlsplit(came_back_at).query)) == {"code", "state", "iss"},
            "the app gets a code, its state and the issuer's name, and nothing else",
        )
        code = flow.code(came_back_at)
        stolen = replace(flow, verifier="guessed-guessed-guessed-guessed-guessed-guessed")
        holds(
            (await self.token_request(**_redemption(stolen, code))).status_code == httpx.codes.BAD_REQUEST,
            "whoever catches the code cannot use it",
        )
        tokens = await flow.redeem(code, client_secret=self.client_secret, trust=self.trust)
        self.given |= {code, flow.verifier, *_tokens(tokens)}
        return tokens

    async def nobody_gets_anything(self) -> None:
        """Promise 1."""
        step("1. BackstageHub is not registered yet: it gets nothing.")
        page = await self.http.get(self.flow("openid read").address)
        holds(page.status_code == httpx.codes.BAD_REQUEST and "location" not in page.headers,
              "the sign-in page turns it away, without sending the browser anywhere")  # fmt: skip
        refused = await self.token_request(grant_type="client_credentials")
        holds(
            refused.status_code == UNAUTHORIZED and refused.json()["error"] == "invalid_client",
            "the token endpoint does not know it",
        )
        for token in (None, "eyJhbGciOiJub25lIn0.e30.", "made-up"):
            answer = await self.call("GET", "/tours", token)
            holds(
                answer.status_code == UNAUTHORIZED and answer.headers["www-authenticate"].startswith("Bearer"),
                f"the API refuses {'a call without a token' if token is None else 'an invented token'}",
            )

    async def brian_registers(self) -> None:
        """Brian registers the app."""
        step("2. Brian registers BackstageHub as a trusted application.")
        (registered,) = await self.stagedoor(
            "apps", "register", CLIENT_ID, "--name", "BackstageHub", "--type", "confidential",
            "--redirect-uri", REDIRECT_URI, "--scope", "read", "--scope", "update",
            "--grant", "authorization_code", "--grant", "refresh_token",
        )  # fmt: skip
        self.client_secret = registered["client_secret"]
        holds(self.client_secret, "it has a secret, shown this once")
        (shown,) = await self.stagedoor("apps", "show", CLIENT_ID)
        holds(self.client_secret not in json.dumps(shown), "which nobody can look up again")
        elsewhere = CodeFlow(self.issuer, CLIENT_ID, "http://localhost:8499.example.org/callback", "openid read")
        page = await self.http.get(elsewhere.address)
        holds(
            page.status_code == httpx.codes.BAD_REQUEST and "location" not in page.headers,
            "nobody is sent to an address that was not registered",
        )
        guessed = await self.http.post(
            f"{self.issuer}/connect/token",
            data={"grant_type": "refresh_token", "refresh_token": "guessed"},
            auth=httpx.BasicAuth(quote_plus(CLIENT_ID), "guessed"),
        )
        holds(
            guessed.status_code == UNAUTHORIZED and guessed.json()["error"] == "invalid_client",
            "whoever has its name but not its secret gets nothing",
        )

    async def freddie_signs_in(self) -> None:
        """Promises 2 and 3."""
        step("3. Freddie signs in to BackstageHub, and allows what it asks for.")
        self.tokens = await self.sign_in(FREDDIE, "openid profile offline_access read update")
        holds(self.password_went_to == {self.origin}, "his password went to the identity server and to nobody else")

        step("4. The token names Freddie, the app and the access.")
        said = claims(self.tokens["access_token"])
        users = {user["name"]: user["sub"] for user in self.system.demo["users"]}
        holds(said["sub"] == users["freddie"], "it names Freddie, by a random id")
        holds(said["client_id"] == CLIENT_ID, "it names the app")
        holds({"read", "update"} <= set(said["scope"].split()) and f"{self.api}" in said["aud"], "it names the access")
        holds(set(said) == ACCESS_TOKEN_CLAIMS, "it says nothing else: no personal data")
        holds(set(claims(self.tokens["id_token"])) == ID_TOKEN_CLAIMS, "nor does the ID token")
        info = await self.http.get(
            f"{self.issuer}/connect/userinfo", headers={"Authorization": f"Bearer {self.tokens['access_token']}"}
        )
        holds("Freddie" in info.text, "the app learns his name from userinfo, which he allowed")

    async def the_api_allows_what_is_permitted(self) -> None:
        """Promise 4."""
        step("5. BackstageHub calls the API, which allows what the token permits and no more.")
        token = self.tokens["access_token"]
        tour = {"title": "The Magic Tour", "venue": "Wembley Stadium", "city": "London", "date": "1986-07-12"}
        added = await self.call("POST", "/tours", token, tour)
        holds(added.status_code == httpx.codes.CREATED, "it adds a tour date")
        listed = await self.call("GET", "/tours", token)
        holds("Wembley Stadium" in listed.text, "it reads Freddie's tours")
        reading = await self.sign_in(FREDDIE, "openid read")
        answer = await self.call("POST", "/tours", reading["access_token"], tour)
        holds(
            answer.status_code == FORBIDDEN and "insufficient_scope" in answer.headers["www-authenticate"],
            "a token that may only read cannot change anything",
        )
        head, body, signature = token.split(".")
        forged = f"{head}.{body}.{signature[:-2]}{'AA' if signature[-2:] != 'AA' else 'BB'}"
        holds((await self.call("GET", "/tours", forged)).status_code == UNAUTHORIZED, "a forged signature is refused")
        holds(
            (await self.call("GET", "/tours", self.tokens["id_token"])).status_code == UNAUTHORIZED,
            "an ID token is no access token",
        )
        brian = await self.sign_in(BRIAN, "openid read")
        others = await self.call("GET", "/tours", brian["access_token"])
        holds(others.is_success and "Wembley" not in others.text, "Brian, signed in to the same app, sees none of them")
        guest = await self.sign_in(FAN, "openid read")
        holds(
            (await self.call("GET", "/tours", guest["access_token"])).status_code == UNAUTHORIZED,
            "a fan's token is not for this API",
        )

        flow = self.flow("openid read")
        async with Visitor(*FREDDIE, self.trust) as visitor:
            code = flow.code(await visitor.go(flow.address, until=REDIRECT_URI))
        once = await flow.redeem(code, client_secret=self.client_secret, trust=self.trust)
        twice = await self.token_request(**_redemption(flow, code))
        holds(twice.status_code == httpx.codes.BAD_REQUEST, "a code is good once")
        await self.refused(str(once["access_token"]), "and used twice, it ends what it gave")

    async def refused(self, token: str, what: str) -> httpx.Response:
        """Wait, not for long, until the API refuses a token that was good."""
        began = time.monotonic()
        while (answer := await self.call("GET", "/tours", token)).status_code != UNAUTHORIZED:
            if time.monotonic() - began > REFUSED_WITHIN_SECONDS:
                raise Broken(f"a token is still accepted after {REFUSED_WITHIN_SECONDS:.0f} s")
        elapsed = (time.monotonic() - began) * 1000
        holds("invalid_token" in answer.headers["www-authenticate"], f"{what} ({elapsed:.0f} ms)")
        return answer

    async def brian_stops_it(self) -> None:
        """The kill switch."""
        step("6. Brian disables BackstageHub: its next call is refused.")
        (disabled,) = await self.stagedoor("apps", "disable", CLIENT_ID, "--reason", "gone on tour")
        self.disabled_at = disabled["position"]
        await self.refused(self.tokens["access_token"], "the API refuses its token")
        refresh = await self.token_request(grant_type="refresh_token", refresh_token=self.tokens["refresh_token"])
        holds(refresh.is_client_error, f"it gets no new token ({refresh.json()['error']})")
        page = await self.http.get(self.flow("openid read").address)
        holds(page.is_client_error and "location" not in page.headers, "nobody can sign in to it")
        await self.stagedoor("apps", "enable", CLIENT_ID)
        enabled = time.monotonic()
        while True:
            resumed = await self.token_request(grant_type="refresh_token", refresh_token=self.tokens["refresh_token"])
            if resumed.is_success or time.monotonic() - enabled > REFUSED_WITHIN_SECONDS:
                break
            await asyncio.sleep(0.05)
        holds(not resumed.is_error, "enabled again, Freddie's grant resumes")
        self.tokens |= resumed.json()
        self.given |= _tokens(self.tokens)

    async def freddie_signs_out(self) -> None:
        """One button ends it everywhere."""
        step("7. Freddie signs out at the identity server: BackstageHub, which the system runs, is told.")
        hub = f"http://localhost:{self.system.ports.backstagehub}"
        async with (
            httpx.AsyncClient(base_url=hub, trust_env=False, timeout=30) as app,
            Visitor(*FREDDIE, self.trust) as visitor,
        ):
            login = (await app.get("/login")).headers["location"]
            await app.get(await visitor.go(login))
            holds("Freddie" in (await app.get("/")).text, "he is signed in to BackstageHub")
            page = Page(await visitor.browser.get(f"{self.issuer}/connect/endsession"))
            await visitor.browser.post(
                urljoin(page.url, page.form.action),
                data={**page.form.fields, "action": "sign_out"},
                headers={"Origin": self.origin},
            )
            began = time.monotonic()
            while "Sign in with Stagedoor" not in (await app.get("/")).text:
                if time.monotonic() - began > TOLD_WITHIN_SECONDS:
                    raise Broken(f"BackstageHub was not told within {TOLD_WITHIN_SECONDS:.0f} s")
                await asyncio.sleep(0.05)
            elapsed = (time.monotonic() - began) * 1000
            page = Page(await visitor.browser.get(f"{self.issuer}/account"))
            holds(
                page.headers.get("location", "").startswith(f"{self.issuer}/signin"),
                f"he has to sign in again, and BackstageHub shows him as a stranger ({elapsed:.0f} ms)",
            )

    async def the_log_tells(self) -> None:
        """Promise 5."""
        step("8. The log is replayed: every step is there, with who did it.")
        events = await self.stagedoor("audit", "replay")
        holds([event["position"] for event in events] == list(range(1, len(events) + 1)),
              f"{len(events)} events, in order and without a gap")  # fmt: skip
        kinds = ("user:", "client:", "service:")
        holds(
            all(event["actor"].startswith(kinds) for event in events), "each one names the person or service behind it"
        )
        users = {user["name"]: user["sub"] for user in self.system.demo["users"]}
        told = {
            ("registry.ApplicationRegistered", f"user:{users['brian']}"),
            ("identity.SessionStarted", f"user:{users['freddie']}"),
            ("identity.ConsentGiven", f"user:{users['freddie']}"),
            ("token_issuer.GrantOpened", f"user:{users['freddie']}"),
            ("resource.TourAdded", f"user:{users['freddie']}"),
            ("resource.DataRead", f"user:{users['freddie']}"),
            ("registry.ApplicationDisabled", f"user:{users['brian']}"),
            ("identity.SessionEnded", f"user:{users['freddie']}"),
        }
        missing = told - {(event["type"], event["actor"]) for event in events}
        holds(not missing, f"registered, signed in, allowed, issued, added, read, disabled, signed out{missing or ''}")
        line = events[claims(self.tokens["access_token"])["pos"] - 1]
        holds(
            line["type"] == "token_issuer.RefreshTokenRotated"
            and claims(self.tokens["access_token"])["jti"] in json.dumps(line),
            "the token leads to the line in the log that issued it",
        )
        holds(
            events[self.disabled_at - 1]["type"] == "registry.ApplicationDisabled",
            "and so does the answer that Brian got",
        )
        self._no_secret(json.dumps(events), "the log")
        logs = "".join(path.read_text(errors="replace") for path in self.system.home.logs.iterdir())
        self._no_secret(logs, "what the services wrote")

    def _no_secret(self, text: str, where: str) -> None:
        secrets = {FREDDIE[1], FAN[1], self.client_secret, *self.given}
        secrets |= {one["client_secret"] for one in self.system.demo["applications"] if "client_secret" in one}
        secrets |= {user["password"] for user in self.system.demo["users"]}
        holds(not any(secret in text for secret in secrets), f"no password, secret or token is in {where}")

    async def play(self) -> None:
        """From nothing to the log."""
        await self.nobody_gets_anything()
        await self.brian_registers()
        await self.freddie_signs_in()
        await self.the_api_allows_what_is_permitted()
        await self.brian_stops_it()
        await self.freddie_signs_out()
        await self.the_log_tells()


async def main() -> int:
    """Exit status: 0 only if everything held."""
    folder = new_folder()
    try:
        print("starting a system of its own …")
        async with System(folder, ports=free_ports(tls=tls_wanted()), durable=False, console=False) as system:
            await Story(system).play()
    except (Broken, CommandRefused, SystemFailure, httpx.HTTPError) as failure:
        print(f"    ✗ {failure}", file=sys.stderr)
        return 1
    finally:
        if not os.environ.get("STAGEDOOR_STORY_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
    print("\nAll five promises held.")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
