"""Files that come in parts: there when they are whole, and gone when they aren't wanted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asyncblock.errors import Unavailable
from asyncblock.varvalues.depot import Depot

from . import ID, files


def test_what_comes_in_parts_is_there_when_it_is_whole_and_goes_with_its_session_before(
    depot: Depot, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 10
    arrival = depot.arrival(ID, len(data), 1 << 30)
    arrival.begin()
    for start in range(0, len(data), 1000):
        arrival.append(data[start : start + 1000])
    filed = arrival.finish()
    arrival.give_up()
    assert [path.read_bytes() for path in files(tmp_path)] == [data] and filed.length == len(data)
    filed.remove()
    # One whose process was killed in the middle is removed by whoever hears of the session's end.
    killed = depot.arrival(ID, len(data), 1 << 30)
    killed.begin()
    assert len(files(tmp_path)) == 1
    depot.end_sessions(["s"])
    assert files(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        killed.finish()
    killed.give_up()


def test_what_nobody_waits_for_any_more_takes_no_room_though_its_thread_comes_to_it_later(
    depot: Depot, tmp_path: Path
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    late, soon = (depot.arrival(ID, 1000, 1 << 30) for _ in range(2))
    late.give_up()
    with pytest.raises(Unavailable, match="isn't wanted any more"):
        late.begin()
    soon.begin()
    soon.give_up()
    with pytest.raises(Unavailable, match="isn't wanted any more"):
        soon.append(b"x")
    assert files(tmp_path) == [] and len(os.listdir("/proc/self/fd")) == before
