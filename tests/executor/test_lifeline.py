"""Liveness: what blocks its loop or holds the interpreter's lock is told and keeps its lease; what is frozen is fenced."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

import asyncblock
from asyncblock import events
from asyncblock.server.settings import Settings

from ..flows import all_of, end_of, node, run_block, until, write_flow

QUICK = Settings(heartbeat=0.2, lease=1.0, cancel_grace=0.5)


def seconds_in(warning: str) -> float:
    found = re.search(r"for ([0-9.]+) s", warning)
    assert found is not None, warning
    return float(found[1])


async def test_a_block_that_blocks_its_loop_is_told_while_it_lasts_and_keeps_its_lease(tmp_path: Path) -> None:
    source = """
        import time

        async def main(inputs, ctx):
            time.sleep(2.5)
            return {"out": ctx.attempt}
        """
    found = await run_block(tmp_path / "f", source, workers=1, settings=QUICK)
    stalled = all_of(found, events.JobStalled)[0]
    [finished] = all_of(found, events.BlockFinished)
    assert finished.t - stalled.t > 1500
    assert stalled.where == f"main ({tmp_path / 'f' / 'n.py'}:5)"
    assert end_of(found).outputs == {"out": 1}
    [warning] = all_of(found, events.BlockWarning)
    assert 2.4 < seconds_in(warning.warning) < 4
    assert f"{tmp_path / 'f' / 'n.py'}:5" in warning.warning


async def test_code_in_c_that_holds_the_lock_is_told_with_file_and_line_while_it_lasts(tmp_path: Path) -> None:
    source = """
        import ctypes

        async def main(inputs, ctx):
            await ctx.flush()
            # PyDLL keeps the interpreter's lock: no thread of this process runs meanwhile.
            ctypes.PyDLL(None).usleep(2_500_000)
            # The watchdog's thread can only look now. Of a block that ends within milliseconds only its parent tells.
            ctypes.CDLL(None).usleep(100_000)
            return {"out": ctx.attempt}
        """
    found = await run_block(tmp_path / "f", source, workers=1)
    stalled = all_of(found, events.JobStalled)[0]
    [finished] = all_of(found, events.BlockFinished)
    assert stalled.where == f"main ({tmp_path / 'f' / 'n.py'}:7)"
    assert stalled.node_id == "n"
    assert finished.t - stalled.t > 500
    assert end_of(found).outputs == {"out": 1}
    [warning] = all_of(found, events.BlockWarning)
    assert 2.3 < seconds_in(warning.warning) < 5


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


@pytest.mark.parametrize(("dev", "warnings"), [("", 0), ("1", 1)])
async def test_dev_mode_lowers_the_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dev: str, warnings: int
) -> None:
    monkeypatch.setenv("ASYNCBLOCK_DEV", dev)
    source = "import time\n\nasync def main(inputs, ctx):\n    time.sleep(0.06)\n    await ctx.output(1, 'out')\n"
    found = await run_block(tmp_path, source)
    assert len(all_of(found, events.BlockWarning)) == warnings


async def test_a_block_given_lines_above_the_default_threshold_is_warned_about(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        "import time\n\nasync def main(inputs, ctx):\n    time.sleep(0.3)\n    await ctx.output(1, 'out')\n",
        workers=1,
    )
    [warning] = all_of(found, events.BlockWarning)
    assert f"main ({one_file(tmp_path)}:4)" in warning.warning


def one_file(directory: Path) -> Path:
    return directory / "n.py"
