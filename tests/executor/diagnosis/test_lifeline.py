"""Liveness: what blocks its loop or holds the interpreter's lock is told and keeps its lease; what is frozen is fenced."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import asyncblock
from asyncblock import events
from asyncblock.executor.diagnosis.watchdog import THRESHOLD
from asyncblock.server.settings import Settings

from ...flows import all_of, end_of, node, one_block, run_block, started, until, write_flow

QUICK = Settings(heartbeat=0.2, lease=1.0, cancel_grace=0.5)


def seconds_in(warning: str) -> float:
    found = re.search(r"for ([0-9.]+) (m?)s", warning)
    assert found is not None, warning
    return float(found[1]) / (1000 if found[2] else 1)


async def until_where(session: asyncblock.Session, line: int) -> events.JobStalled:
    """Wait until a stall is told in that line of the block: while it lasts, for the block waits for that."""
    return await until(session, events.JobStalled, lambda stalled: stalled.where.endswith(f"n.py:{line})"))


def warning_of(found: Sequence[events.Event], line: int) -> str:
    """Return the warning that names a line of the block. On a busy machine others may be held up, too."""
    [words] = [each.warning for each in all_of(found, events.BlockWarning) if f"n.py:{line})" in each.warning]
    return words


async def test_a_block_that_blocks_its_loop_is_told_while_it_lasts_and_keeps_its_lease(tmp_path: Path) -> None:
    told = tmp_path / "told"
    source = f"""
        import pathlib
        import time

        async def main(inputs, ctx):
            told, began = pathlib.Path({str(told)!r}), time.monotonic()
            # For longer than a lease, and until it was told.
            while (lasted := time.monotonic() - began) < 2.5 or (lasted < 30 and not told.exists()): time.sleep(0.05)
            return {{"out": [ctx.attempt, lasted < 30, lasted]}}
        """
    began = time.monotonic()
    async with started(one_block(tmp_path / "f", source), workers=1, settings=QUICK) as session:
        stalled = await until_where(session, 8)
        told.touch()
        found = [event async for event in session]
    whole = time.monotonic() - began
    attempt, was_told, lasted = end_of(found).outputs["out"]
    assert (attempt, was_told) == (1, True)
    assert stalled.where == f"main ({tmp_path / 'f' / 'n.py'}:8)"
    assert lasted - 0.1 < seconds_in(warning_of(found, 8)) < whole


async def test_code_in_c_that_holds_the_lock_is_told_with_file_and_line_while_it_lasts(tmp_path: Path) -> None:
    gates = [tmp_path / "first", tmp_path / "second"]
    for gate in gates:
        os.mkfifo(gate)
    source = f"""
        import ctypes
        import os
        import time

        async def main(inputs, ctx):
            await ctx.flush()
            began = time.monotonic()
            # PyDLL keeps the interpreter's lock: no thread of this process runs until somebody opens the other end.
            ctypes.PyDLL(None).open({os.fsencode(gates[0])!r}, os.O_RDONLY)
            # Now its own watchdog can look. Of a block that ends within milliseconds only its parent tells.
            ctypes.CDLL(None).open({os.fsencode(gates[1])!r}, os.O_RDONLY)
            return {{"out": [ctx.attempt, time.monotonic() - began]}}
        """
    began = time.monotonic()
    async with started(one_block(tmp_path / "f", source), workers=1) as session, AsyncExitStack() as stack:
        for gate, line in zip(gates, (10, 12), strict=True):
            try:
                async with asyncio.timeout(30):
                    stalled = await until_where(session, line)
            finally:
                # Whoever comes later passes, too: a block that wasn't told of ends.
                stack.callback(os.close, os.open(gate, os.O_RDWR))
            assert (stalled.where, stalled.node_id) == (f"main ({tmp_path / 'f' / 'n.py'}:{line})", "n")
        found = [event async for event in session]
    whole = time.monotonic() - began
    attempt, lasted = end_of(found).outputs["out"]
    assert attempt == 1
    assert lasted - 0.1 < seconds_in(warning_of(found, 12)) < whole


async def test_a_process_that_works_with_the_lock_held_keeps_its_lease(tmp_path: Path) -> None:
    """It is silent for longer than heartbeats and lease allow together; its parent sees that it works."""
    source = """
        import time

        async def main(inputs, ctx):
            await ctx.flush()
            def taken():
                began = time.monotonic()
                sum(range(1_000_000))
                return time.monotonic() - began

            # The quickest of some: one that was interrupted would make the long one short.
            each = min(taken() for _ in range(10))
            sum(range(int(1_000_000 * 5.0 / each)))
            return {"out": ctx.attempt}
        """
    # Longer than between two dumps, and with three heartbeats shorter than the hold.
    settings = Settings(heartbeat=0.2, lease=2.5)
    found = await run_block(tmp_path / "f", source, workers=1, settings=settings)
    assert end_of(found).outputs == {"out": 1}
    assert all_of(found, events.JobFailed) == []
    # The calibration may stall, too, where the machine is busy.
    assert f"main ({tmp_path / 'f' / 'n.py'}:13)" in [each.where for each in all_of(found, events.JobStalled)]


async def test_a_frozen_process_loses_its_lease_and_is_fenced_when_it_wakes(tmp_path: Path) -> None:
    source = f"""
        import asyncio
        import os

        place = {str(tmp_path)!r}

        async def main(inputs, ctx):
            ctx.logger.info(f"attempt {{ctx.attempt}} in {{os.getpid()}}")
            await ctx.flush()
            if ctx.attempt == 2:
                while not os.path.exists(os.path.join(place, "fenced")):
                    await asyncio.sleep(0.02)
                return {{"out": 2}}
            try:
                for number in range(1_000_000):
                    await ctx.output(number, "out")
                    await asyncio.sleep(0.005)
            except asyncio.CancelledError as error:
                try:
                    await ctx.flush()
                except Exception as lost:
                    with open(os.path.join(place, "writing"), "w") as said:
                        said.write(f"{{error}}|{{type(lost).__name__}}")
                    os.rename(os.path.join(place, "writing"), os.path.join(place, "fenced"))
                raise
        """
    frozen = node("n", source, tmp_path / "f")
    frozen["task"]["retries"] = {"retries": 1, "backoff": 0.01}
    outputs = [{"handle": "out", "from_node": [{"node_id": "n", "output_handle": "out"}]}]
    flow = write_flow(tmp_path / "f", [frozen], outputs_from=outputs)
    async with asyncblock.embedded(workers=2, settings=QUICK) as mainframe:
        session = await mainframe.start(flow)
        began = await until(session, events.BlockLog)
        pid = int(began.log.split()[-1])
        os.kill(pid, signal.SIGSTOP)
        try:
            failed = await until(session, events.JobRetrying)
            assert "nothing was heard of its executor for 1 s" in failed.error
            await until(session, events.BlockLog, lambda event: event.attempt == 2)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert await session.outputs() == {"out": 2}
        found = [event async for event in session]
    reason, _, error = (tmp_path / "fenced").read_text().partition("|")
    assert reason.startswith("lease lost")
    assert error == "LeaseLost"
    late = all_of(found, events.LateRecords)
    assert all(event.attempt == 1 for event in late)
    assert [event.attempt for event in all_of(found, events.BlockFinished)] == [2]


@pytest.mark.parametrize("dev", ["", "1"])
async def test_dev_mode_lowers_the_threshold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dev: str) -> None:
    monkeypatch.setenv("ASYNCBLOCK_DEV", dev)
    source = "import time\n\nasync def main(inputs, ctx):\n    time.sleep(0.06)\n    await ctx.output(1, 'out')\n"
    found = await run_block(tmp_path, source)
    told = [seconds_in(each.warning) for each in all_of(found, events.BlockWarning) if "n.py:4)" in each.warning]
    if dev:
        assert told
    else:
        # On a busy machine it may have slept for longer than it wanted to.
        assert all(seconds >= THRESHOLD for seconds in told)


async def test_a_block_given_lines_above_the_default_threshold_is_warned_about(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        "import time\n\nasync def main(inputs, ctx):\n    time.sleep(0.3)\n    await ctx.output(1, 'out')\n",
        workers=1,
    )
    assert f"main ({tmp_path / 'n.py'}:4)" in warning_of(found, 4)
