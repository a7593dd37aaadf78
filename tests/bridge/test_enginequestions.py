"""What blocks ask the engine."""

from __future__ import annotations

import asyncio

import pytest

from asyncblock.bridge.blockplaces import place_of
from asyncblock.bridge.enginejobs import EngineJob
from asyncblock.bridge.enginequestions import ToldRows
from asyncblock.bridge.enginewords import JobWords

from . import NEEDS_MOSQUITTO, Engine

pytestmark = [NEEDS_MOSQUITTO, pytest.mark.timeout(120)]


async def test_blocks_run_blocks_and_ask_of_them(peer: Engine) -> None:
    defs = {"type": "task", "inputs_def": {"x": {"handle": "x"}}, "outputs_def": {"a": {"handle": "a"}}}
    peer.blocks = {"self::all": {**defs, "function": "theirs"}, "self::fails": {"type": "task", "function": "fails"}}
    end = await peer.end(peer.run("asks", {"x": 4}))
    described, down, found, wrong, failed = end["result"]["a"]
    assert described == [{"handle": "a"}]
    assert down == {"a": {"to_node": [{"node_id": "n", "input_handle": "i"}]}}
    assert found == [["a", 5], ["a", 9], ["b", "end"]]
    assert "self::none" in wrong and "ValueError: no good" in failed
    end = await peer.end(peer.run("asks_theirs", {"x": 4}))
    assert end["result"]["a"] == [[{"a": 5}, {"a": 9}, {"b": "end"}], 100]


async def test_rows_stay_as_long_as_whoever_has_asked_and_readers_wait_for_them() -> None:
    rows = ToldRows()
    one, other = (
        EngineJob(JobWords("s", id, []), place_of("/", {}, None), None, asyncio.get_running_loop().create_future())
        for id in "ab"
    )
    reading = asyncio.create_task(rows.read(0))
    await asyncio.sleep(0)
    rows.add(one, b"1")
    assert await reading == [(0, b"1")]
    rows.add(other, b"22")
    rows.add(one, b"3")
    assert rows.end == 3
    assert await rows.read(0, size=3) == [(0, b"1"), (1, b"22")]
    assert await rows.read(2, size=0) == [(2, b"3")]
    rows.drop(one)
    assert await rows.read(0) == [(1, b"22")]
    rows.drop(one)
