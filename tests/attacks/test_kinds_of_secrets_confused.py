"""A secret of one kind where another is asked for."""

from tests.support.issuing import Stage, error


async def test_one_kind_of_secret_is_not_another(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    sub = await stage.user()
    body = await stage.tokens(hub, sub)
    code = await stage.code(hub, sub)
    for text in (body["refresh_token"], body["access_token"], body["id_token"]):
        assert error(await stage.redeem(hub, text)) == "invalid_grant"
    for text in (code, body["access_token"], body["id_token"], code.replace("sdc_", "sdr_")):
        assert error(await stage.refresh(hub, text)) == "invalid_grant"
    swapped = body["refresh_token"].replace("sdr_", "sdc_")
    assert error(await stage.redeem(hub, swapped)) == "invalid_grant"
    assert (await stage.refresh(hub, body["refresh_token"])).status_code == 200
