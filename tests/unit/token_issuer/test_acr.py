"""What a sign-in is worth, told from how it was proved."""

import pytest

from services.token_issuer.acr import MFA, PASSWORD, acr_of, met


@pytest.mark.parametrize(
    ("amr", "acr"),
    [
        (("pwd",), PASSWORD),
        (("pwd", "otp", "mfa"), MFA),
        (("pwd", "mfa"), MFA),
        (("pwd", "hwk", "user", "mfa"), MFA),
        (("hwk", "user", "mfa"), MFA),
        (("swk", "user", "mfa"), MFA),
        (("hwk", "user"), None),
        (("otp",), None),
        ((), None),
    ],
)
def test_a_sign_in_is_worth_what_was_proved(amr: tuple[str, ...], acr: str | None) -> None:
    assert acr_of(amr) == acr
    assert met(amr, (MFA,)) == (MFA if acr == MFA else None)
    assert met(amr, (PASSWORD,)) == (PASSWORD if acr else None)
