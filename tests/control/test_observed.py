import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.config import Config
from sidecar.control import OBSERVER, SOCKET, frames
from sidecar.control.observed import Importing, Seen
from sidecar.control.process import Control
from sidecar.fleet.sources.tally import Tally
from sidecar.fleet.telemetry import Telemetry
from tests.waiting import PATIENCE_S, until

SEEN = Seen((Tally("small", "prometheus", "a:1", ok=3, failed=1),), {"small": Telemetry(running=2.0)})


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    """A control process that hears the observer at OBSERVER in tmp_path."""
    control, ready = Control(Config(), Path("/embedded")), asyncio.Event()
    task = asyncio.ensure_future(control.run(tmp_path / SOCKET, ready.set))
    await asyncio.wait_for(ready.wait(), PATIENCE_S)
    yield control
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_the_observer_tells_reaches_the_metrics_and_stays_when_it_ends(
    control: Control, tmp_path: Path
) -> None:
    _, writer = await asyncio.open_unix_connection(tmp_path / OBSERVER)
    writer.write(frames.encode(SEEN))
    await until(lambda: len(control.observed.seen.tallies) == 1)
    writer.close()
    await writer.wait_closed()
    await control.tick(0.0)
    (tally,) = control.metrics.seen.tallies
    assert (tally.ok, tally.failed) == (3, 1)
    assert control.metrics.seen.telemetry["small"].running == 2.0


async def test_one_that_speaks_another_language_is_hung_up_on_and_the_next_one_heard(
    control: Control, tmp_path: Path
) -> None:
    reader, writer = await asyncio.open_unix_connection(tmp_path / OBSERVER)
    writer.write(frames.encode("hello"))
    assert await reader.read() == b""
    writer.close()
    _, writer = await asyncio.open_unix_connection(tmp_path / OBSERVER)
    writer.write(frames.encode(SEEN))
    await until(lambda: len(control.observed.seen.tallies) == 1)
    writer.close()
    await writer.wait_closed()


async def test_what_the_importer_counted_goes_on_when_the_next_observer_begins_anew(
    control: Control, tmp_path: Path
) -> None:
    told = []
    for decisions, backlog in ((5, 70), (1, 10), (2, 20)):
        _, writer = await asyncio.open_unix_connection(tmp_path / OBSERVER)
        writer.write(frames.encode(Seen(importing=Importing(decisions, 0, 0, 0, 0, 0, backlog, away=False))))
        await until(lambda backlog=backlog: _backlog(control) == backlog)  # type: ignore[misc]
        assert control.observed.seen.importing is not None
        told.append(control.observed.seen.importing.decisions)
        writer.close()
        await writer.wait_closed()
    assert told == [5, 5, 7]


def _backlog(control: Control) -> int:
    importing = control.observed.seen.importing
    return -1 if importing is None else importing.backlog_bytes
