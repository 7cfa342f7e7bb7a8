"""A share of the traffic for another bundle, the same requests every time."""

import hashlib

from sidecar.lanes.engine import Engine
from sidecar.wire import router_pb2 as pb

_SPACE = 1 << 64


class Canary:
    """Picks who decides a request.

    A session stays with one bundle; without a session, equal requests do (so a retry does). Which ones these are
    differs from canary to canary.

    Args:
        engine: of the bundle that is tried.
        share: of the traffic that it gets, in [0, 1].
    """

    def __init__(self, engine: Engine, share: float) -> None:
        self.engine = engine
        self.share = share
        self._below = round(share * _SPACE)
        self._salt = bytes.fromhex(engine.digest)[:16]

    def pick(self, request: pb.RouteRequest, stable: Engine) -> Engine:
        """The canary's engine for its share of the requests, else the stable one."""
        key = request.session_id.encode() if request.session_id else request.SerializeToString(deterministic=True)
        place = int.from_bytes(hashlib.blake2b(key, digest_size=8, salt=self._salt).digest())
        return self.engine if place < self._below else stable
