"""What isn't delivered is said once, however many kinds of it there are and however often it comes and goes."""

from __future__ import annotations

import logging

import pytest

from asyncblock.telemetry.outage import Outage, deliver, quiet


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_one_warning_for_all_that_a_collector_doesnt_take(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    for _ in range(100):
        outage.failed("spans", "it is down")
        outage.failed("metrics", "it is down")
    [warning] = warnings_of(caplog)
    assert warning.startswith("spans can't be delivered to the collector: it is down.")


def test_a_collector_that_takes_every_other_batch_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    outage = Outage(clock)
    for _ in range(1000):
        outage.failed("spans", "503")
        clock.now += 5
        outage.went("spans")
        clock.now += 5
    assert len(warnings_of(caplog)) == 1


def test_after_a_calm_time_the_next_outage_is_warned_of_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncblock.telemetry")
    clock = Clock()
    outage = Outage(clock)
    outage.failed("spans", "503")
    outage.failed("metrics", "503")
    clock.now = 1000.0
    outage.went("spans")
    assert "again" not in caplog.text, "metrics have failed, and nobody knows whether they still do"
    outage.went("metrics")
    assert caplog.text.count("takes what it is sent again") == 1
    outage.went("spans")
    outage.failed("metrics", "404")
    assert len(warnings_of(caplog)) == 2


def test_what_exporters_say_is_the_reason_and_isnt_said_by_them(caplog: pytest.LogCaptureFixture) -> None:
    theirs = logging.getLogger("theirs")
    theirs.addFilter(quiet)

    def send() -> bool:
        theirs.error("code %d", 503)
        return False

    assert deliver(Outage(), "spans", send, True, False) is False
    [warning] = warnings_of(caplog)
    assert "code 503" in warning
    theirs.error("on a thread of another's")
    assert len(warnings_of(caplog)) == 2


def test_an_exporter_that_raises_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    def send() -> bool:
        raise OSError("no such certificate")

    assert deliver(Outage(), "spans", send, True, False) is False
    assert "OSError: no such certificate" in warnings_of(caplog)[0]
