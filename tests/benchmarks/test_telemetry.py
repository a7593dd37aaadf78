"""What telemetry costs is measured of mainframes that have it as they are said to."""

from __future__ import annotations

import pytest

from benchmarks.rounds import Subject
from benchmarks.telemetry import KINDS


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_measured_and_is_what_it_is_called(kind: str) -> None:
    # It fails where the collector got what that kind doesn't send, or nothing of what it does.
    figures = Subject(kind, "benchmarks.telemetry:rate", {"kind": kind, "count": 20}).run()
    assert figures["rate"] > 0
