from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.client import DEADLINE_EXCEEDED, OK
from benchmarks.flood import flood
from benchmarks.floor import METHOD, EmptyServices
from benchmarks.hpack import first_block, later_block, literal
from benchmarks.http2 import CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WORD, frame, message
from benchmarks.prompts import SALT
from benchmarks.stencil import Stencil, cancels
from benchmarks.tenants import FEW, FLOOD, mixed, segment_requests
from sidecar.config import Config
from sidecar.lanes.health import Health
from sidecar.lanes.lane import Call
from sidecar.transport.choose import transport_of

PAYLOADS = [b"a 0123456789abc one", b"b 0123456789abc two"]


class Deaf(EmptyServices):
    """Never answers."""

    def offer(self, call: Call) -> None:
        pass


@pytest.fixture(params=[EmptyServices, Deaf])
def services(request: pytest.FixtureRequest) -> EmptyServices:
    made: EmptyServices = request.param(b"xyz")
    return made


@pytest.fixture
def address(services: EmptyServices) -> Iterator[str]:
    serving = transport_of(Config(transport="http2"), services, Health())
    yield serving.start("127.0.0.1:0")
    serving.drain(0.0)


def whole(block: bytes, stream: int, timeout: str, payload: bytes) -> bytes:
    block += literal("grpc-timeout", timeout)
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, message(payload))


def test_the_bytes_of_calls_are_those_of_one_call_after_the_other() -> None:
    stencil = Stencil("/a.B/C", "h:1", PAYLOADS)
    made = stencil.later(np.array([1, 0x2FF]), np.array([3, 259]), np.array([50, 12345]))
    half = len(made) // 2
    for part, number, stream, timeout in ((made[:half], 1, 3, "00000050m"), (made[half:], 0x2FF, 259, "00012345m")):
        match = SALT.search(part)
        assert match is not None
        salt = match.group()
        assert salt.endswith(b"%05x" % number)
        payload = PAYLOADS[1].replace(b"0123456789abc", salt)
        assert part == whole(later_block(), stream, timeout, payload)


def test_many_calls_are_made_as_few_are() -> None:
    stencil = Stencil("/a.B/C", "h:1", PAYLOADS)
    numbers = np.arange(40) * 77_777
    streams, timeouts = np.arange(40) * 2 + 3, np.arange(40) * 31
    parts = [
        stencil.later(*(each[place : place + 4] for each in (numbers, streams, timeouts))) for place in range(0, 40, 4)
    ]
    assert stencil.later(numbers, streams, timeouts) == b"".join(parts)


def test_calls_are_cancelled_by_one_frame_each() -> None:
    expected = b"".join(frame(RST_STREAM, 0, stream, WORD.pack(CANCEL)) for stream in (1, 70_001))
    assert cancels(np.array([1, 70_001])) == expected


def test_the_first_call_of_a_connection_has_whole_headers() -> None:
    made = Stencil("/a.B/C", "h:1", PAYLOADS).first(0, 1, 0)
    salt = SALT.search(made)
    assert salt is not None
    assert made == whole(
        first_block("/a.B/C", "h:1"), 1, "00000001m", PAYLOADS[0].replace(b"0123456789abc", salt.group())
    )


def test_calls_have_the_payloads_that_were_chosen() -> None:
    stencil = Stencil("/a.B/C", "h:1", PAYLOADS, np.array([1, 1, 0]))
    ones = np.array([1, 1, 1])
    made = stencil.later(np.arange(3), ones, ones)
    assert [made.count(payload[-3:]) for payload in PAYLOADS] == [1, 2]


@pytest.mark.parametrize(
    "payloads", [[b"no salt"], [*PAYLOADS, b"longer 0123456789abc three"], [b"0123456789abc x", b"x 0123456789abc"]]
)
def test_payloads_that_do_not_fit_are_told(payloads: list[bytes]) -> None:
    with pytest.raises(ValueError, match="one length"):
        Stencil("/a.B/C", "h:1", payloads)


@pytest.mark.parametrize("services", [EmptyServices], indirect=True)
def test_each_call_of_a_flood_is_answered_once_on_its_connection(address: str) -> None:
    schedule = np.linspace(0.0, 0.1, 3000)
    over = np.arange(3000) % 3
    run, reconnects = flood(address, METHOD, schedule, PAYLOADS, over, deadline_s=20.0, spin_s=0.0)
    assert (run.status == OK).all()
    assert set(run.bodies) == {b"xyz"}
    assert reconnects == 0
    assert (run.sent >= run.scheduled).all()
    assert run.written is not None
    assert (run.done >= run.written).all()


@pytest.mark.parametrize("services", [Deaf], indirect=True)
def test_calls_are_given_up_at_their_deadline_whether_in_line_or_begun(address: str) -> None:
    # The server allows 1,024 streams on a connection: the other calls stay in line and are never written.
    schedule = np.zeros(1500)
    run, _ = flood(address, METHOD, schedule, PAYLOADS, np.zeros(1500, np.int64), deadline_s=0.3, spin_s=0.0)
    assert (run.status == DEADLINE_EXCEEDED).all()
    assert run.written is not None
    assert int(np.isnan(run.written).sum()) <= 1500 - 1024
    assert (run.done - run.sent >= 0.3).all()
    assert (run.done - run.sent).max() < 10.0


def test_both_segments_keep_their_places_in_one_schedule() -> None:
    both = mixed(np.array([0.1, 0.5]), np.array([0.0, 0.2, 0.3, 0.6]))
    assert both.due.tolist() == [0.0, 0.1, 0.2, 0.3, 0.5, 0.6]
    assert both.is_few.tolist() == [False, True, False, False, True, False]
    apart = both.over(3, apart=True)
    assert apart[both.is_few].tolist() == [0, 0]
    assert set(apart[~both.is_few].tolist()) == {1, 2}
    assert both.over(3, apart=False).tolist() == [0, 1, 2, 0, 1, 2]


def test_requests_of_both_segments_are_equally_long() -> None:
    lengths = {len(payload) for name in (FEW, FLOOD) for payload in segment_requests(200, 20, 1, name)}
    assert len(lengths) == 1
