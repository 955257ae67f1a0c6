"""The demo's applications, users and resource: who they are, before the system has given them anything."""

from dataclasses import dataclass

from infra.local.ports import Ports


@dataclass(frozen=True, slots=True)
class DemoUser:
    """Somebody who can sign in. The passwords are known to everybody, so a demo is on the loopback address only."""

    name: str
    password: str
    kind: str
    given_name: str
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DemoApplication:
    """An application that Brian registers."""

    client_id: str
    display_name: str
    type: str
    auth_method: str
    grants: tuple[str, ...]
    scopes: tuple[str, ...]
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    backchannel_logout_uri: str = ""
    reference_tokens: str = "none"

    @property
    def confidential(self) -> bool:
        """Whether it has a secret."""
        return self.type == "confidential"


ADMINISTRATOR = DemoUser("brian", "red-special-1963", "internal", "Brian", ("administrator",))
USERS = (
    DemoUser("freddie", "a-kind-of-magic-1986", "internal", "Freddie"),
    DemoUser("fan", "radio-ga-ga-1984", "community", "Fan"),
    DemoUser("auditor", "under-pressure-1981", "internal", "Auditor", ("auditor",)),
)
"""Whom Brian adds."""

BACKSTAGEHUB = "com.backstagehub/app"

SCOPES = (
    ("read", "see your tours and merchandise"),
    ("update", "change your tours and merchandise"),
)
"""What the API's resource offers; each description completes "This application will be able to …"."""


def applications(ports: Ports) -> tuple[DemoApplication, ...]:
    """The demo's applications; where they live depends on the ports."""
    return (
        DemoApplication(
            client_id=BACKSTAGEHUB,
            display_name="BackstageHub",
            type="confidential",
            auth_method="client_secret_basic",
            grants=(
                *("authorization_code", "refresh_token", "client_credentials"),
                "urn:ietf:params:oauth:grant-type:token-exchange",
                "urn:ietf:params:oauth:grant-type:device_code",
            ),
            scopes=("read", "update"),
            redirect_uris=(f"http://localhost:{ports.backstagehub}/callback",),
            post_logout_redirect_uris=(f"http://localhost:{ports.backstagehub}/signed-out",),
            backchannel_logout_uri=f"http://localhost:{ports.backstagehub}/backchannel-logout",
            reference_tokens="authenticated_users",
        ),
        DemoApplication(
            client_id="com.setlist/app",
            display_name="Setlist",
            type="confidential",
            auth_method="client_secret_basic",
            grants=("authorization_code", "refresh_token"),
            scopes=("read",),
            redirect_uris=(f"http://localhost:{ports.setlist}/callback",),
        ),
        DemoApplication(
            client_id="com.merchsync/service",
            display_name="MerchSync",
            type="confidential",
            auth_method="client_secret_basic",
            grants=("client_credentials",),
            scopes=("read",),
        ),
        DemoApplication(
            client_id="com.roadie/spa",
            display_name="Roadie",
            type="public",
            auth_method="none",
            grants=("authorization_code", "refresh_token"),
            scopes=("read",),
            redirect_uris=(f"http://localhost:{ports.spa}/callback",),
        ),
    )
