"""Opens the port of a grpc server, and puts its methods behind the check of tokens."""

from collections.abc import Sequence
from typing import Any

import grpc

from sidecar.door.tokens import Role
from sidecar.errors import ConfigError
from sidecar.lanes.roles import role_of
from sidecar.transport.grpcio.auth import Guarded, Refusal
from sidecar.transport.grpcio.options import options
from sidecar.transport.grpcio.tls import credentials_of
from sidecar.transport.transport import Access


class Listener:
    """How calls get into a grpc server.

    Args:
        access: what is configured.

    Attributes:
        options: channel arguments of the server.
    """

    def __init__(self, access: Access) -> None:
        self.options = options(access.max_message_bytes, access.limits, shared=access.shared)
        self._credentials = credentials_of(access.certificates) if access.certificates else None
        self._tokens = access.tokens

    def add_port(self, server: Any, listen: str) -> int:
        """Opens HOST:PORT on a server, gives the port that was chosen.

        Raises:
            ConfigError: the address cannot be had.
        """
        try:
            if self._credentials is None:
                return int(server.add_insecure_port(listen))
            return int(server.add_secure_port(listen, self._credentials))
        except RuntimeError:
            raise ConfigError(
                f"listen: cannot bind {listen!r}: give HOST:PORT with a free port and an address of this machine (port 0 "
                "lets the system choose)."
            ) from None

    def guarded(
        self, handlers: Sequence[grpc.GenericRpcHandler], role: Role | None, refusal: Refusal
    ) -> Sequence[grpc.GenericRpcHandler]:
        """Handlers of methods that need the role, behind the check if there is one; see Admission.keeper and Guarded."""
        if self._tokens is None:
            return handlers
        admit = self._tokens.keeper(role)
        return [Guarded(behind, admit, refusal) for behind in handlers]

    def add_method(self, server: Any, path: str, handler: Any, refusal: Refusal) -> None:
        """Has a server serve `/package.Service/Method`, for callers that have the role that it needs."""
        _, service, method = path.split("/")
        handlers = [grpc.method_handlers_generic_handler(service, {method: handler})]
        server.add_generic_rpc_handlers(self.guarded(handlers, role_of(path), refusal))
