"""The page that asks for what comes after the password: a passkey, a code, or a recovery code in their place."""

from dataclasses import dataclass

from starlette.responses import Response

from services.identity.pages.pending import PageExpired, PendingAuthorization
from services.identity.pages.site import Site
from services.identity.passkeys import Answered, Purpose, WrongPasskey
from services.identity.read_model import UserRow
from services.identity.throttle import Throttled
from shared.errors import Refusal, Unavailable
from shared.http.forms import Params

PASSKEY, CODE, RECOVERY = "passkey", "code", "recovery"
"""`by`: what the person chose to prove it with."""
_WORDS = {
    PASSKEY: "Use a passkey",
    CODE: "Use a code of your app",
    RECOVERY: "Use a recovery code instead",
}
AWAY = "Signing in does not work at this moment. Please try again shortly."


def ways(site: Site, user: UserRow) -> list[str]:
    """What this user can prove it with, the best first."""
    passkey = [PASSKEY] if user.has_passkeys and site.passkeys.offered else []
    code = [CODE] if user.totp_since is not None else []
    return [*passkey, *code, RECOVERY]


@dataclass(frozen=True, slots=True)
class Asking:
    """What the page is about."""

    site: Site
    path: str
    purpose: Purpose
    form: str
    """What the token of the form is for ..."""
    browser: str
    """... the secret that it is bound to ..."""
    about: str
    """... and what it belongs to."""
    user: UserRow
    whose: str
    """The user or the session that a passkey is asked for."""
    sealed: str
    pending: PendingAuthorization | None
    then: str = ""

    async def shown(self, by: str | None, refusal: Refusal | None = None) -> Response:
        """The page, with what was wrong; a code is never sent back."""
        possible = ways(self.site, self.user)
        by = by if by in possible else possible[0]
        status, headers = told(refusal)
        alert = AWAY if isinstance(refusal, Unavailable) else "" if refusal is None else refusal.message
        others = [(self._path(other), _WORDS[other]) for other in possible if other != by]
        anew = self.site.pages.path("/signin", request=self.sealed, then=self.then)
        fields = {
            "application": "" if self.pending is None else self.pending.proceed.display_name,
            "device": self.pending is not None and self.pending.of_device,
            "alert": alert,
            "action": self.site.pages.path(self.path),
            "others": [*others, (anew, "Sign in as somebody else")],
        }
        targets = () if self.pending is None else (self.pending.proceed.redirect_origin,)
        if by == PASSKEY:
            fields |= await self._passkey()
            return self.site.pages.render(
                "passkey.html", fields, status=status, form_targets=targets, headers=headers, script="passkey.js"
            )
        fields |= {"wrong": status == 422, "recovery": by == RECOVERY, "hidden": self._hidden(by)}
        return self.site.pages.render("code.html", fields, status=status, form_targets=targets, headers=headers)

    async def _passkey(self) -> dict[str, object]:
        ceremony = self.site.passkeys.begin(self.purpose, self.whose)
        begun = self.site.seals.seal_ceremony(ceremony, self.browser)
        return {
            "heading": "Use your passkey",
            "called": "",
            "lead": "The one that you set up for this account. Your browser asks for it.",
            "ceremony": "get",
            "options": await self.site.passkeys.to_get(ceremony, self.user.sub),
            "button": "Go on",
            "hidden": {**self._hidden(PASSKEY), "begun": begun},
        }

    def _hidden(self, by: str) -> dict[str, str]:
        token = self.site.forms.token(self.form, self.browser, self.about)
        return {"request": self.sealed, "then": self.then, "by": by, "form": token}

    def _path(self, by: str) -> str:
        return self.site.pages.path(self.path, request=self.sealed, then=self.then, by=by)


def told(refusal: Refusal | None) -> tuple[int, dict[str, str]]:
    """The status of a page that is shown again, and its headers."""
    if isinstance(refusal, Throttled | Unavailable):
        status = 429 if isinstance(refusal, Throttled) else 503
        return status, {"Retry-After": str(max(1, round(refusal.retry_after)))}
    return (200 if refusal is None else 422), {}


def answered(site: Site, form: Params, purpose: Purpose, browser: str | None, whose: str = "") -> Answered:
    """What a form answers to the ceremony that its page began, in this browser and for this user or session.

    Raises `WrongPasskey` if there was none, or too long ago.
    """
    try:
        ceremony = site.seals.open_ceremony(form.get("begun"), purpose, browser or "")
    except PageExpired:
        raise WrongPasskey from None
    if ceremony.about != whose:
        raise WrongPasskey
    return Answered(ceremony, form.get("answer") or "")
