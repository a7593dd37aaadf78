"""``spawn: true``: each job has a process of its own, which leaves with it and is killed with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import events
from asyncblock.server.settings import Settings

from ..flows import all_of, node, until, write_flow
from ..processes import all_ended


def spawned(node_id: str, source: str, directory: Path, **fields: Any) -> dict[str, Any]:
    made = node(node_id, source, directory, **fields)
    made["task"]["executor"]["options"]["spawn"] = True
    return made


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


PID = "import os\n\nasync def main(inputs, ctx):\n    return {'out': os.getpid()}\n"


async def test_each_job_has_a_process_of_its_own_that_leaves_with_it(tmp_path: Path) -> None:
    place = tmp_path / "f"
    nodes = [spawned("one", PID, place), spawned("two", PID, place), node("plain", PID, place)]
    outputs = [
        {"handle": name, "from_node": [{"node_id": name, "output_handle": "out"}]} for name in ("one", "two", "plain")
    ]
    flow = write_flow(place, nodes, outputs_from=outputs)
    async with asyncblock.embedded(workers=1) as mainframe:
        pids = await (await mainframe.start(flow)).outputs()
        assert len({os.getpid(), *pids.values()}) == 4
        await all_ended([pids["one"], pids["two"]])
        assert exists(pids["plain"])


async def test_values_and_retries_work_as_anywhere(tmp_path: Path) -> None:
    flaky = """
        import os

        async def main(inputs, ctx):
            print("attempt", ctx.attempt)
            if ctx.attempt == 1:
                os._exit(7)
            return {"out": inputs["a"] + 1}
        """
    place = tmp_path / "f"
    made = spawned("flaky", flaky, place, inputs=[{"handle": "a", "value": 41}])
    made["task"]["retries"] = {"retries": 1, "backoff": 0.01}
    outputs = [{"handle": "out", "from_node": [{"node_id": "flaky", "output_handle": "out"}]}]
    flow = write_flow(place, [made], outputs_from=outputs)
    async with asyncblock.embedded(workers=1) as mainframe:
        session = await mainframe.start(flow)
        assert await session.outputs() == {"out": 42}
        found = [event async for event in session]
    [failed] = all_of(found, events.JobFailed)
    assert "exited with code 7" in failed.error


async def test_a_process_that_ignores_its_cancel_is_ended(tmp_path: Path) -> None:
    stuck = """
        import os
        import threading

        def main(inputs, ctx):
            print("pid", os.getpid())
            threading.Event().wait(3600)
        """
    place = tmp_path / "f"
    flow = write_flow(place, [spawned("stuck", stuck, place)])
    async with asyncblock.embedded(workers=1, settings=Settings(cancel_grace=0.2)) as mainframe:
        session = await mainframe.start(flow)
        line = await until(session, events.BlockLog, lambda event: event.log.startswith("pid"))
        pid = int(line.log.split()[1])
        await session.cancel("enough")
        assert (await session.wait()).state == "cancelled"
        await all_ended([pid])


async def test_an_executor_in_the_caller_s_process_cannot_and_says_so(tmp_path: Path) -> None:
    place = tmp_path / "f"
    flow = write_flow(place, [spawned("one", PID, place)])
    async with asyncblock.embedded(settings=Settings(no_executor_timeout=0.2)) as mainframe:
        session = await mainframe.start(flow)
        with pytest.raises(asyncblock.FlowFailed, match="spawn: true"):
            await session.outputs()


HOLDS = """
    import time

    async def main(inputs, ctx):
        await ctx.flush()
        def taken():
            began = time.monotonic()
            sum(range(1_000_000))
            return time.monotonic() - began
        each = min(taken() for _ in range(3))
        began = time.monotonic()
        sum(range(int(1_000_000 * 8.0 / each)))
        return {"out": ctx.attempt, "held": time.monotonic() - began}
    """


async def test_a_process_whose_interpreter_s_lock_is_held_is_spoken_for_and_keeps_its_lease(tmp_path: Path) -> None:
    """It is silent for longer than heartbeats and lease allow together; whoever started it sees that it works."""
    place = tmp_path / "f"
    names = ("out", "held")
    made = spawned("holds", HOLDS, place)
    made["task"]["outputs_def"] = [{"handle": name} for name in names]
    outputs = [{"handle": name, "from_node": [{"node_id": "holds", "output_handle": name}]} for name in names]
    flow = write_flow(place, [made], outputs_from=outputs)
    async with asyncblock.embedded(workers=1, settings=Settings(heartbeat=0.2, lease=2.5)) as mainframe:
        session = await mainframe.start(flow)
        given = await session.outputs()
        assert given["out"] == 1
        found = [event async for event in session]
    assert all_of(found, events.JobFailed) == []
    # Where the machine is busy the lines before the hold may stall, too.
    where = f"main ({place / 'holds.py'}:12)"
    [stalled, *_] = [each for each in all_of(found, events.JobStalled) if each.where == where]
    [finished] = all_of(found, events.BlockFinished)
    # Told while it lasts: a dump comes after 1.5 s at most, and about 8 s are held.
    assert finished.t - stalled.t > given["held"] * 1000 / 3
