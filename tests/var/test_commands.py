"""Sixty numbered frames on one var handle to a slower consumer, by ``asyncblock run``."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from ..flow.packages import block, write
from ..processes import run, start

pytestmark = pytest.mark.timeout(120)

COUNT = 60
SOURCE = """
import pandas as pd

async def main(inputs, ctx):
    for number in range(60):
        await ctx.output(pd.DataFrame({"n": [number]}), "frame")
"""
CONSUMER = """
import asyncio

async def main(inputs, ctx):
    await asyncio.sleep(0.005)
    return {"n": int(inputs["frame"].n[0])}
"""
FLOW = """
nodes:
  - {node_id: source, task: self::source}
  - node_id: show
    task: self::show
    inputs_from: [{handle: frame, from_node: [{node_id: source, output_handle: frame}]}]
  - node_id: collect
    task: self::collect
    inputs_from: [{handle: n, from_node: [{node_id: show, output_handle: n}]}]
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: frames\nversion: 1.0.0\n")
    block(root, "source", "", "frame:var", SOURCE)
    block(root, "show", "frame:var", "n", CONSUMER)
    block(root, "collect", "n", "n", "def main(inputs):\n    return {'n': inputs['n']}\n")
    write(root / "flows/f/flow.oo.yaml", FLOW)
    return root


def numbers(events: Sequence[dict[str, Any]]) -> list[int]:
    """Return what the consumer of the frames has told, in its order."""
    ends = [event for event in events if event["type"] == "BlockFinished" and event["node_id"] == "show"]
    return [event["result"]["n"] for event in ends if "error" not in event]


@pytest.mark.parametrize("how", [(), ("--workers", "2"), ("--in-process",)], ids=["one", "two", "here"])
async def test_a_slower_consumer_gets_each_frame_in_order(package: Path, tmp_path: Path, how: Sequence[str]) -> None:
    command = await run("run", package / "flows/f", "--json", *how, state=tmp_path)
    events = command.events()
    assert (events[-1]["state"], events[-1]["error"]) == ("succeeded", None)
    assert numbers(events) == list(range(COUNT))


DYING = """
import os, pathlib
import pandas as pd

async def main(inputs, ctx):
    mark = pathlib.Path(__file__).parents[3] / "second"
    for number in range(60):
        await ctx.output(pd.DataFrame({"n": [number if ctx.attempt > 1 else -1]}), "frame")
        if number == 30 and ctx.attempt == 1:
            await ctx.flush()
            await ctx.report_log(f"pid {os.getpid()}")
            await __import__("asyncio").Event().wait()
"""


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_an_attempt_after_a_kill_gives_each_frame_once(package: Path, tmp_path: Path, workers: str) -> None:
    block(package, "source", "", "frame:var", DYING, "retries: {retries: 2, backoff: 0.01}\n")
    async with start("run", package / "flows/f", "--json", "--workers", workers, state=tmp_path) as command:
        told = orjson.loads(await command.until_line('"log":"pid '))
        os.kill(int(told["log"].split()[1]), signal.SIGKILL)
        assert await command.wait() == 0
    assert numbers(command.events()) == list(range(COUNT))


LATE = """
import asyncio, os, pathlib

async def main(inputs, ctx):
    if ctx.attempt == 1 and inputs["frame"].n[0] == 30:
        await ctx.report_log(f"pid {os.getpid()}")
        await asyncio.Event().wait()
    return {"n": int(inputs["frame"].n[0])}
"""


async def test_a_value_that_died_with_its_process_is_named_in_the_error(package: Path, tmp_path: Path) -> None:
    again = "retries: {retries: 2, backoff: 0.01}\n"
    block(package, "show", "frame:var", "n", LATE, again)
    # A job of it may run in that process when it is killed.
    block(package, "collect", "n", "n", "def main(inputs):\n    return {'n': inputs['n']}\n", again)
    async with start("run", package / "flows/f", "--json", state=tmp_path) as command:
        told = orjson.loads(await command.until_line('"log":"pid '))
        os.kill(int(told["log"].split()[1]), signal.SIGKILL)
        assert await command.wait() == 1
    end = command.events()[-1]
    assert "node show" in end["error"]
    assert "value of handle 'frame' of node source" in end["error"]
    assert f"Node source must run again: asyncblock retry {end['session_id']}" in end["error"]
    assert end["failed"]["lost"]["node_id"] == "source"
    assert numbers(command.events())[:30] == list(range(30))


KEPT = FLOW.replace("{handle: frame,", "{handle: frame, serialize_for_cache: true,")


async def test_the_frames_of_a_node_are_there_for_the_next_run(package: Path, tmp_path: Path) -> None:
    write(package / "flows/f/flow.oo.yaml", KEPT)
    places = {"ASYNCBLOCK_VALUES_DIR": str(tmp_path / "values"), "ASYNCBLOCK_CACHE_DIR": str(tmp_path / "results")}
    how = ("run", package / "flows/f", "--json", "--use-cache")
    for _ in range(2):
        done = await run(*how, state=tmp_path, **places)
        assert numbers(done.events()) == list(range(COUNT)), done.err
    done = await run(*how, state=tmp_path, **places)
    states = [event["state"] for event in done.events() if event["type"] == "BlockCache"]
    assert set(states) == {"hit"}
    # What makes the frames is another block now: nothing of the old one is given.
    block(package, "source", "", "frame:var", "def main(inputs):\n    raise RuntimeError('it runs')\n")
    again = await run(*how, "--nodes", "show", state=tmp_path, **places)
    assert "it runs" in again.events()[-1]["error"]
