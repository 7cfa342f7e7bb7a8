import grpc
import pytest

from sidecar import errors
from sidecar.errors import RouterError
from sidecar.transport.transport import bound

ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RouterError)]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_a_status_that_grpc_knows(kind: type[RouterError]) -> None:
    error = kind.__new__(kind)
    status = grpc.StatusCode[error.status]
    assert status not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN)
    assert status.value[0] == error.code


def test_the_address_that_is_told_has_the_port_that_was_chosen() -> None:
    assert bound("127.0.0.1:0", 8470) == "127.0.0.1:8470"
    assert bound("[::1]:0", 8470) == "[::1]:8470"
