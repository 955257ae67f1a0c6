"""Finding out which applications there are."""

from base64 import b64encode

from tests.support.issuing import HUB, PUBLIC, SPA, Stage

TOKEN, INTROSPECT, REVOKE = "/id/connect/token", "/id/connect/introspect", "/id/connect/revocation"


async def test_nobody_learns_which_applications_there_are(stage: Stage) -> None:
    await stage.register(resources=True)
    await stage.register(PUBLIC, SPA)

    async def answer(client_id: str) -> tuple[int, str]:
        pair = "Basic " + b64encode(f"{client_id}:guess".encode()).decode()
        got = await stage.http.post(TOKEN, data={"grant_type": "client_credentials"}, headers={"Authorization": pair})
        return got.status_code, got.text

    assert len({await answer(client_id) for client_id in (HUB, SPA, "com.unknown/app")}) == 1
