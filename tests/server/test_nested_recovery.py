"""Kill -9 in the middle of nested flows: a subflow in a subflow, a slotflow mapped over lists. It goes on from the
journal, what comes out is right, and what was done isn't done again."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ..flow.packages import block, write
from ..processes import Command, all_ended, free_port, start

LISTS = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
EXPECTED = [100 + 2 * x + 1 for row in LISTS for x in row]

NOTED = """
import asyncio
from pathlib import Path

async def main(inputs, ctx):
    x = inputs.get("x", 0)
    with open(Path(__file__).parents[3] / "ran", "a") as ran:
        ran.write(f"{ctx.node_id} {x} {ctx.attempt}\\n")
    %s
"""
WORK = 'await asyncio.sleep(0.04)\n    return {"y": inputs["base"] + 2 * x}'
PLUS = 'print("plus", x, flush=True)\n    await ctx.flush()\n    return {"y": x + 1}'
EACH = 'for item in inputs["list"]:\n        await ctx.output(item, "item")'
SAME = 'return {"y": x}'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The flow ``f``: ``outer`` runs ``map`` for each of three lists; ``map`` runs its slot for each item."""
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: nested\nversion: 1.0.0\n")
    retries = "retries: {retries: 2, backoff: 0.01}\n"
    block(root, "each", "list", "item", NOTED % EACH, retries)
    block(root, "work", "x base", "y", NOTED % WORK, retries)
    block(root, "plus", "x", "y", NOTED % PLUS, retries)
    block(root, "same", "x", "y", NOTED % SAME, retries)
    write(
        root / "slotflows/scale/slotflow.oo.yaml",
        """
        nodes:
          - node_id: work
            task: self::work
            inputs_from:
              - {handle: x, from_flow: [{input_handle: item}]}
              - {handle: base, from_flow: [{input_handle: base}]}
          - {node_id: plus, task: self::plus, inputs_from: [{handle: x, from_node: [{node_id: work, output_handle: y}]}]}
        outputs_from: [{handle: r, from_node: [{node_id: plus, output_handle: y}]}]
        """,
    )
    write(
        root / "subflows/map/subflow.oo.yaml",
        """
        inputs_def: [{handle: list}]
        nodes:
          - {node_id: items, task: self::each, inputs_from: [{handle: list, from_flow: [{input_handle: list}]}]}
          - node_id: slot
            concurrency: 2
            slot: {inputs_def: [{handle: item}], outputs_def: [{handle: r}]}
            inputs_from: [{handle: item, from_node: [{node_id: items, output_handle: item}]}]
        outputs_from: [{handle: out, from_node: [{node_id: slot, output_handle: r}]}]
        """,
    )
    write(
        root / "subflows/outer/subflow.oo.yaml",
        """
        inputs_def: [{handle: lists}]
        nodes:
          - {node_id: rows, task: self::each, inputs_from: [{handle: list, from_flow: [{input_handle: lists}]}]}
          - node_id: map
            concurrency: 2
            subflow: self::map
            inputs_from: [{handle: list, from_node: [{node_id: rows, output_handle: item}]}]
            slots:
              - slot_node_id: slot
                slotflow: self::scale
                inputs_def: [{handle: base}]
                inputs_from: [{handle: base, value: 100}]
        outputs_from: [{handle: out, from_node: [{node_id: map, output_handle: out}]}]
        """,
    )
    write(
        root / "flows/f/flow.oo.yaml",
        f"""
        nodes:
          - {{node_id: outer, subflow: self::outer, inputs_from: [{{handle: lists, value: {LISTS}}}]}}
          - node_id: last
            task: self::same
            concurrency: -1
            inputs_from: [{{handle: x, from_node: [{{node_id: outer, output_handle: out}}]}}]
        outputs_from: [{{handle: last, from_node: [{{node_id: last, output_handle: y}}]}}]
        """,
    )
    return root


def ran(root: Path) -> Counter[tuple[str, int]]:
    """Return how often each job ran, by node and value."""
    lines = [line.split() for line in (root.parent / "ran").read_text().splitlines()]
    return Counter((node_id, int(x)) for node_id, x, _ in lines)


def jobs() -> Counter[tuple[str, int]]:
    """Return what runs without a kill."""
    values = [x for row in LISTS for x in row]
    made = [("rows", 0), *[("items", 0)] * len(LISTS), *(("work", x) for x in values)]
    return Counter([*made, *(("plus", 100 + 2 * x) for x in values), *(("last", y) for y in EXPECTED)])


def check(found: list[dict[str, Any]]) -> None:
    """What came out: each value once, the levels all ended, in the order of the journal."""
    end = found[-1]
    assert (end["type"], end["state"], end["error"]) == ("SessionFinished", "succeeded", None)
    results = [e["result"]["y"] for e in found if e["type"] == "BlockFinished" and e["node_id"] == "last"]
    assert sorted(results) == EXPECTED
    kinds = Counter(event["type"] for event in found)
    # ``outer``, three times ``map``, and a run of the slotflow for each item.
    assert kinds["FlowJobStarted"] == kinds["FlowJobFinished"] == 1 + len(LISTS) + len(EXPECTED)
    created = [event["job_id"] for event in found if event["type"] == "JobCreated"]
    assert len(created) == len(set(created)) == sum(jobs().values())
    offsets = [event["offset"] for event in found]
    assert offsets == sorted(offsets)


async def follow(root: Path, port: str, first: Command, *, second_kill: str | None) -> list[dict[str, Any]]:
    """Follow the flow on a mainframe that dies, once or twice, and comes back on its port."""
    data = root.parent / "data"
    serve = ("serve", "--data-dir", data, "--port", port)
    await first.until_line("mainframe at", err=True)
    async with (
        start("executor", "--data-dir", data, "--package", root, state=root.parent) as executor,
        start("submit", root / "flows/f", "--data-dir", data, "--json", state=root.parent) as submit,
    ):
        if second_kill is not None:
            await submit.until_line(f"plus {100 + 2 * 2}")
            first.kill()
        await first.wait()
        assert first.process.returncode == -signal.SIGKILL
        if second_kill is not None:
            async with start(*serve, state=root.parent) as second:
                await submit.until_line(second_kill)
                second.kill()
                await second.wait()
        async with start(*serve, state=root.parent):
            assert await submit.wait() == 0, submit.err
            executor.kill(signal.SIGTERM)
            assert await executor.wait() == 0
        return submit.events()


@pytest.mark.timeout(120)
async def test_a_mainframe_that_is_killed_twice_in_nested_flows_goes_on_and_runs_no_job_twice(root: Path) -> None:
    port = str(free_port())
    async with start("serve", "--data-dir", root.parent / "data", "--port", port, state=root.parent) as first:
        found = await follow(root, port, first, second_kill=f"plus {100 + 2 * 7}")
    check(found)
    assert ran(root) == jobs()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", ["before_commit:12", "after_commit:18", "before_dispatch:6"])
async def test_a_mainframe_that_dies_at_a_seam_of_nested_flows_goes_on_and_runs_no_job_twice(
    root: Path, point: str
) -> None:
    port = str(free_port())
    serve = ("serve", "--data-dir", root.parent / "data", "--port", port)
    async with start(*serve, state=root.parent, ASYNCBLOCK_CRASH_AT=point) as first:
        found = await follow(root, port, first, second_kill=None)
    check(found)
    assert ran(root) == jobs()


def again(root: Path, kills: int) -> None:
    """What ran: everything, and again at most what was running when the executor was killed."""
    extra = ran(root) - jobs()
    assert not jobs() - ran(root)
    # Two jobs in each of two runs of ``map``, and the last ones.
    assert sum(extra.values()) <= kills * 8, extra


@pytest.mark.timeout(120)
async def test_an_executor_that_is_killed_in_nested_flows_is_replaced_and_finished_jobs_stay_finished(
    root: Path,
) -> None:
    async with start("run", root / "flows/f", "--json", state=root.parent) as command:
        for line in (f"plus {100 + 2 * 2}", f"plus {100 + 2 * 9}"):
            await command.until_line(line)
            for pid in _children(command.process.pid):
                os.kill(pid, signal.SIGKILL)
        assert await command.wait() == 0, command.err
    found = command.events()
    check(found)
    again(root, kills=2)
    finished = Counter(event["job_id"] for event in found if event["type"] == "BlockFinished")
    assert set(finished.values()) == {1}
    assert any("killed by SIGKILL" in str(event) for event in found), "nothing was running when it was killed"


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.timeout(120)
async def test_a_run_that_is_killed_as_a_whole_in_nested_flows_is_resumed(root: Path) -> None:
    async with start("run", root / "flows/f", "--json", state=root.parent) as command:
        await command.until_line(f"plus {100 + 2 * 5}")
        children = [pid for pid in command.family() if pid != command.process.pid]
        command.kill()
        await command.wait()
    await all_ended(children)
    session_id = str(command.events()[0]["session_id"])
    done = {e["job_id"] for e in command.events() if e["type"] == "BlockFinished"}
    assert done
    async with start("resume", session_id, "--json", state=root.parent) as resumed:
        assert await resumed.wait() == 0, resumed.err
    found = resumed.events()
    check(found)
    again(root, kills=1)
    twice = [e["job_id"] for e in found if e["type"] == "BlockStarted" and e["attempt"] > 1]
    assert not done & set(twice)
