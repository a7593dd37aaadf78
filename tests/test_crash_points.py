"""Item 2: the mainframe dies by kill -9 at each named point, comes back, and everything goes on as if it hadn't."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from asyncblock.crashpoints import NAMES
from asyncblock.testing import crash_at

from .processes import free_port, start
from .test_recovery import COUNT, consumed, counting_flow, numbers


@pytest.mark.parametrize("point", sorted(NAMES))
async def test_a_mainframe_that_dies_at_a_named_point_loses_and_repeats_nothing(point: str, tmp_path: Path) -> None:
    nth = 1 if point == "before_reply" else 7  # the one reply here is that to ``start``
    flow, data, port = counting_flow(tmp_path / "f"), tmp_path / "data", str(free_port())
    serve = ("serve", "--data-dir", data, "--port", port)
    async with start(*serve, state=tmp_path, **crash_at(point, nth)) as first:
        await first.until_line("mainframe at", err=True)
        async with (
            start("executor", "--data-dir", data, "--package", flow.parent, state=tmp_path) as executor,
            start("submit", flow, "--data-dir", data, "--json", state=tmp_path) as submit,
        ):
            assert await first.wait() == -signal.SIGKILL
            async with start(*serve, state=tmp_path):
                assert await submit.wait() == 0, submit.err
                executor.kill(signal.SIGTERM)
                assert await executor.wait() == 0
    found = submit.events()
    assert numbers(found) == list(range(COUNT))
    assert consumed(found) == [10 * i for i in range(COUNT)]
    assert sum(event["type"] == "SessionFinished" for event in found) == 1
    assert (tmp_path / "ran").read_text() == "1"


def test_a_crash_point_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="there are after_commit"):
        crash_at("at_noon")
