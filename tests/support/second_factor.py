"""A telephone with an authenticator app on it, and what is done with it on the pages."""

import hashlib
import hmac
import re
import struct
from base64 import b32decode
from dataclasses import dataclass, field

from tests.support.browsing import Browser, Page
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in

PAGE = "/id/account/second-factor"
CODE = "/id/signin/second-factor"
STEP_UP = "/id/signin/step-up"
DEMAND = '{"id_token":{"acr":{"essential":true,"value":"urn:stagedoor:acr:mfa"}}}'
WISH = "urn:stagedoor:acr:mfa"


def code_of(seed: bytes, step: int) -> str:
    """The code of a step, computed as RFC 4226 section 5.3 says, and by nothing of the service's."""
    made = hmac.digest(seed, struct.pack(">Q", step), hashlib.sha1)
    at = made[-1] & 15
    return f"{(int.from_bytes(made[at : at + 4]) & 0x7FFFFFFF) % 10**6:06}"


@dataclass
class Telephone:
    """Shows codes, and beside it lies the paper with the recovery codes."""

    identity: Identity
    seed: bytes
    recovery_codes: list[str] = field(default_factory=list)

    def code(self, steps: int = 0) -> str:
        """What it shows now, or so many steps of 30 seconds later."""
        return code_of(self.seed, int(self.identity.clock().timestamp()) // 30 + steps)

    def wrong(self) -> str:
        """A code that is right at no time that counts."""
        right = {self.code(steps) for steps in (-1, 0, 1)}
        return next(f"{number:06}" for number in range(10) if f"{number:06}" not in right)

    def wait(self) -> str:
        """Until it shows another one; answers that."""
        self.identity.clock.forward(seconds=30)
        return self.code()


def in_form(page: Page, path: str) -> dict[str, str]:
    """The hidden fields of the form that leads there."""
    return dict(next(form.fields for form in page.forms if form.action == path))


async def send(browser: Browser, page: Page, path: str, **fields: str) -> Page:
    """Send that form of a page."""
    return await browser.send("POST", path, data={**in_form(page, path), **fields})


def shown_recovery_codes(page: Page) -> list[str]:
    """Those on the page."""
    return re.findall(r"\b(?:[a-z2-9]{4}-){3}[a-z2-9]{4}\b", page.response.text)


def seed_on(page: Page) -> bytes:
    """The key on the page, as it would be typed."""
    found = re.search(r'<output class="secret" id="seed">([A-Z2-7 ]+)</output>', page.response.text)
    assert found is not None, page.text
    return typed(found[1])


def typed(key: str) -> bytes:
    """The seed that a key is, which somebody types into an app."""
    return b32decode(key.replace(" ", ""))


async def set_up(identity: Identity, browser: Browser, secret: str = PASSWORD) -> Telephone:
    """Turn it on, in a browser that is signed in; the clock is then past the code that was used."""
    page = await browser.submit_once(await browser.get(PAGE), password=secret)
    telephone = Telephone(identity, seed_on(page))
    page = await browser.submit_once(page, code=telephone.code())
    telephone.recovery_codes = shown_recovery_codes(page)
    assert len(telephone.recovery_codes) == 10, page.text
    identity.clock.forward(seconds=60)
    return telephone


async def freddie_with(identity: Identity) -> tuple[Browser, Telephone]:
    """Freddie is registered, signed in by his password, and has allowed the application; then he sets it up."""
    await identity.register()
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    telephone = await set_up(identity, browser)
    identity.issuer.issued.clear()
    return browser, telephone


async def to_the_code(browser: Browser, secret: str = PASSWORD, **parameters: str) -> Page:
    """Type the password at a request of the application; answers the page after it."""
    page = await browser.get(authorization(browser.base, **parameters))
    return await browser.submit(page, user_name="freddie", password=secret, action="sign_in")
