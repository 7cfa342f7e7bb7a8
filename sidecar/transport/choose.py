"""The transports by name."""

from sidecar.config import Config
from sidecar.lanes.health import Health
from sidecar.lanes.lane import Services
from sidecar.transport.transport import Transport, access_of


def transport_of(config: Config, services: Services, health: Health, *, shared: bool = False) -> Transport:
    """The configured transport. Only the module of that one is imported: grpcio alone takes 25 MB and 0.2 s.

    Args:
        config: names it, and says how calls get in.
        services: what is served.
        health: what the health service tells.
        shared: True if other processes may listen on the same port.

    Raises:
        ConfigError: the port would be open to strangers, or a certificate or the tokens are wrong.
    """
    access = access_of(config, shared=shared)
    if config.transport == "http2":
        from sidecar.transport.http2.server import Http2Transport  # noqa: PLC0415

        return Http2Transport(services, access, health)
    from sidecar.transport.grpcio.server import GrpcioTransport  # noqa: PLC0415

    return GrpcioTransport(services, access, health)
