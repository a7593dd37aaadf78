"""What lists tasks and processes tells a job of its own: to end them all ends nothing of another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from ...flows import end_of, node, run_flow, write_flow

HEAD = """
import asyncio, multiprocessing, signal, threading
import gate

async def forever():
    await asyncio.Event().wait()

def children():
    return multiprocessing.active_children()
"""

BESIDE = """
async def main(inputs, ctx):
    task, child = asyncio.create_task(forever()), multiprocessing.Process(target=signal.pause)
    child.start()
    gate.begun.set()
    await gate.opened.wait()
    assert (child.is_alive(), task.done(), children()) == (True, False, [child])
    child.kill()
    child.join()
    return {"out": len(asyncio.all_tasks())}
"""

CLEANS_UP = """
async def main(inputs, ctx):
    await gate.begun.wait()
    task, child = asyncio.create_task(forever()), multiprocessing.Process(target=signal.pause)
    child.start()
    await asyncio.sleep(0)
    # Of a loop of its own a thread sees everything.
    assert await asyncio.to_thread(asyncio.run, listed()) == 2
    assert asyncio.tasks.all_tasks(asyncio.get_running_loop()) == asyncio.all_tasks()
    assert (asyncio.all_tasks() - {asyncio.current_task()}, children()) == ({task}, [child])
    for each in asyncio.all_tasks() - {asyncio.current_task()}:
        each.cancel()
    for each in multiprocessing.active_children():
        each.kill()
        each.join()
    await asyncio.wait([task])
    assert (task.cancelled(), child.exitcode, children()) == (True, -signal.SIGKILL, [])
    gate.opened.set()
    return {"out": len(asyncio.all_tasks())}

async def listed():
    own = asyncio.create_task(forever())
    return len(asyncio.all_tasks())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_job_that_ends_all_tasks_and_children_to_clean_up_ends_its_own(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCBLOCK_LOOP", loop)
    root = tmp_path / "f"
    root.mkdir()
    (root / "gate.py").write_text("import asyncio\nbegun, opened = asyncio.Event(), asyncio.Event()\n")
    names = {"beside": HEAD + BESIDE, "cleans": HEAD + CLEANS_UP}
    outputs = [{"handle": name, "from_node": [{"node_id": name, "output_handle": "out"}]} for name in names]
    nodes = [node(name, source, root) for name, source in names.items()]
    end = end_of(await run_flow(write_flow(root, nodes, outputs_from=outputs), workers=1))
    assert end.state == "succeeded", end
    assert end.outputs == {"beside": 2, "cleans": 1}
