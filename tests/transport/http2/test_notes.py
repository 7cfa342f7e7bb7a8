import logging

import pytest

from sidecar.transport.http2.notes import QUIET_S, Notes


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_connection_is_counted_but_the_log_gets_a_line_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    notes = Notes(clock)
    for _ in range(1000):
        notes.note("flood: PING")
    notes.note("no HTTP/2")
    assert notes.counts == {"flood: PING": 1000, "no HTTP/2": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "a connection was closed: flood: PING",
        "a connection was closed: no HTTP/2",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_reason_that_goes_on_is_told_again_with_how_often_it_came(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    notes = Notes(clock)
    for _ in range(5):
        notes.note("no HTTP/2")
    clock.now = QUIET_S + 1.0
    notes.note("no HTTP/2")
    assert caplog.records[-1].getMessage() == "a connection was closed: no HTTP/2 (5 since the line before)"
    assert len(caplog.records) == 2
