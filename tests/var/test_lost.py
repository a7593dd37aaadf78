"""A value that went with its process: an error of its own type, the node that must run again, and that it can."""

from __future__ import annotations

from pathlib import Path

import pytest

import asyncblock
from asyncblock import events
from asyncblock.errors import FlowFailed, ValueLost

from ..flow.packages import block, write
from ..flows import all_of

pytestmark = pytest.mark.timeout(60)

FLOW = """
nodes:
  - {node_id: make, task: self::make}
  - {node_id: take, task: self::take, inputs_from: [{handle: v, from_node: [{node_id: make, output_handle: v}]}]}
outputs_from: [{handle: y, from_node: [{node_id: take, output_handle: y}]}]
"""

DIES = """
import os, signal
from pathlib import Path

def main(inputs, ctx):
    try:
        Path(MARK).touch(exist_ok=False)
    except FileExistsError:
        return {"y": sum(inputs["v"])}
    os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_a_lost_value_names_the_node_that_must_run_again_and_a_retry_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCBLOCK_CACHE_DIR", str(tmp_path / "results"))
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: mine\n")
    path = write(root / "flows/f/flow.oo.yaml", FLOW)
    block(root, "make", "", "v:var", "def main(inputs, ctx):\n    return {'v': {1, 2}}\n")
    source = DIES.replace("MARK", repr(str(tmp_path / "died")))
    block(root, "take", "v:var", "y", source, "retries: {retries: 3, backoff: 0.01}\n")
    async with asyncblock.embedded(workers=1) as mainframe:
        session = await mainframe.start(path)
        with pytest.raises(ValueLost, match="Node make must run again: asyncblock retry") as caught:
            await session.outputs()
        lost = caught.value
        assert isinstance(lost, FlowFailed)
        assert "A block that says 'recompute: true' makes such values again by itself" in str(lost)
        assert (lost.node_id, lost.producer, lost.handle) == ("take", "make", "v")
        failed = all_of([event async for event in session], events.JobFailed)[-1]
        assert failed.lost is not None
        assert failed.lost.node_id == "make"
        retry = await mainframe.plan_retry(session.session_id)
        assert retry.again["make"].startswith("its output 'v' was in the memory of a process")
        assert await (await retry.start()).outputs() == {"y": 3}
