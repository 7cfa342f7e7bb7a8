"""How calls get in: the port, its certificate, its limits, and who is let in. Put together once, the same on both lanes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from sidecar.config import Config
from sidecar.door.admission import Admission
from sidecar.door.certificates import Certificates
from sidecar.door.exposure import check_exposure
from sidecar.door.tokens import Role
from sidecar.errors import ConfigError
from sidecar.lanes.guard import Guarded, Refusal
from sidecar.lanes.options import options
from sidecar.lanes.roles import role_of
from sidecar.lanes.tls import credentials_of


@dataclass(frozen=True)
class Entrance:
    """What a lane needs to let calls in.

    Attributes:
        options: channel arguments of the server.
        credentials: of the port; None is plain text.
        admission: who is let in; None is everyone, and nothing is checked.
    """

    options: Sequence[tuple[str, Any]] = ()
    credentials: grpc.ServerCredentials | None = None
    admission: Admission | None = None

    def add_port(self, server: Any, listen: str) -> int:
        """Opens HOST:PORT on a server, gives the port that was chosen.

        Raises:
            ConfigError: the address cannot be had.
        """
        try:
            if self.credentials is None:
                return int(server.add_insecure_port(listen))
            return int(server.add_secure_port(listen, self.credentials))
        except RuntimeError:
            raise ConfigError(
                f"listen: cannot bind {listen!r}: give HOST:PORT with a free port and an address of this machine (port 0 "
                "lets the system choose)."
            ) from None

    def guarded(
        self, handlers: Sequence[grpc.GenericRpcHandler], role: Role | None, refusal: Refusal
    ) -> Sequence[grpc.GenericRpcHandler]:
        """Handlers of methods that need the role, behind the check if there is one; see Admission.keeper and Guarded."""
        if self.admission is None:
            return handlers
        admit = self.admission.keeper(role)
        return [Guarded(behind, admit, refusal) for behind in handlers]

    def add_method(self, server: Any, path: str, handler: Any, refusal: Refusal) -> None:
        """Has a server serve `/package.Service/Method`, for those who have the role that it needs."""
        _, service, method = path.split("/")
        handlers = [grpc.method_handlers_generic_handler(service, {method: handler})]
        server.add_generic_rpc_handlers(self.guarded(handlers, role_of(path), refusal))


def entrance_of(config: Config, *, shared: bool = False) -> Entrance:
    """The entrance that is configured; `shared`: other processes may listen on the same port.

    Raises:
        ConfigError: it would be open to strangers, or a certificate or the tokens are wrong.
    """
    check_exposure(config.listen, config.tls, config.tokens, insecure=config.insecure)
    return Entrance(
        options(config.max_message_bytes, config.limits, shared=shared),
        credentials_of(Certificates(config.tls)) if config.tls else None,
        Admission(config.tokens) if config.tokens else None,
    )
