"""The registry, put together: settings, wiring, serve."""

from pathlib import Path

from protos.stagedoor.readmodels.v1.readmodels_pb2_grpc import add_ReadModelsServicer_to_server
from protos.stagedoor.registry.v1.installation_pb2_grpc import add_InstallationServicer_to_server
from protos.stagedoor.registry.v1.registration_pb2_grpc import add_RegistrationServicer_to_server
from protos.stagedoor.registry.v1.registry_pb2_grpc import add_RegistryServicer_to_server
from protos.stagedoor.registry.v1.system_pb2_grpc import add_SystemApplicationsServicer_to_server
from services.registry import events, installation_rpc, registration_rpc, system_rpc
from services.registry.http import application
from services.registry.installing import SECONDS, Installing
from services.registry.projections import PROJECTIONS
from services.registry.registering import Registering
from services.registry.rpc import RULES, SERVICE, RegistryService
from services.registry.system import SystemRegistrations
from shared.clock import system_clock
from shared.errors import Refusal
from shared.http.attempts import Attempts, AttemptSettings
from shared.http.client_address import ClientAddresses
from shared.http.outgoing import Outgoing, Reach
from shared.http.serve import Check, Readiness, run, serve
from shared.keys import MasterKey
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.log.schema import Schema
from shared.management import Management
from shared.messaging.access import NatsAccess
from shared.rebuild import rpc as rebuilding
from shared.rpc.server import RpcServer
from shared.rpc.tls import Tls
from shared.settings import load, read_secret
from shared.telemetry import configure_logging
from shared.tracing import spans

_FETCHED_AT_ONCE = 4
"""Documents of applications that somebody is about to install."""


async def main() -> None:
    """Serve until told to stop."""
    settings = load(AttemptSettings)
    configure_logging("registry", settings.log_level)
    spans.begin("registry", settings.trace_ratio)
    master = MasterKey.read(settings.master_key_file)
    password = read_secret(settings.database_password_file, "the database password")
    tls = Tls.read(settings)
    management = Management.of(settings, NatsAccess.read(settings), tls)

    fetching = Outgoing(Reach(loopback=settings.demo), at_once=_FETCHED_AT_ONCE, seconds=SECONDS)
    log = await Log.open(settings.database, password, Catalogue.of(events))
    try:
        schema = await Schema.of(log, "registry", Path(__file__).with_name("migrations"))
        system = SystemRegistrations(log, master, settings.origin, settings.issuer)
        rules = {**RULES, **registration_rpc.RULES, **installation_rpc.RULES, **system_rpc.RULES, **rebuilding.RULES}
        rpc = RpcServer(settings.grpc_bind, tls, rules, management.authenticate)
        rpc.add(
            add_RegistryServicer_to_server,
            RegistryService(log, master, settings.issuer, system_clock, demo=settings.demo),
            SERVICE,
        )
        rpc.add(
            add_RegistrationServicer_to_server,
            registration_rpc.RegistrationService(log, master, system_clock),
            registration_rpc.SERVICE,
        )
        rpc.add(
            add_SystemApplicationsServicer_to_server,
            system_rpc.SystemApplicationsService(log, master, settings.origin, demo=settings.demo),
            system_rpc.SERVICE,
        )
        installing = Installing(log, master, fetching, demo=settings.demo)
        rpc.add(
            add_InstallationServicer_to_server,
            installation_rpc.InstallationService(log, master, installing, system_clock),
            installation_rpc.SERVICE,
        )
        registering = Registering(log, master, settings.issuer, system_clock, demo=settings.demo)
        attempts = Attempts(ClientAddresses(settings.proxies), settings.attempts)
        app = application(registering, attempts, settings.issuer)
        read_models = rebuilding.ReadModelsService(log, PROJECTIONS)
        rpc.add(add_ReadModelsServicer_to_server, read_models, rebuilding.SERVICE)

        async def ready() -> Readiness:
            return Readiness(
                {
                    "log": await _reachable(log),
                    "system": Check(ok=system.done, detail="" if system.done else "the system is not registered yet"),
                    "tokens": management.readiness(),
                    "read_models": await rebuilding.up_to_date(log, PROJECTIONS),
                }
            )

        await serve(settings, app, rpc, ready, [schema.run(), system.run(), management.run()])
    finally:
        await log.close()
        await fetching.close()


async def _reachable(log: Log) -> Check:
    try:
        head = await log.head()
    except Refusal as refusal:
        return Check(ok=False, detail=refusal.message)
    return Check(ok=True, detail=f"at position {head.position}")


if __name__ == "__main__":
    run(main())
