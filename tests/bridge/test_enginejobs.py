"""The engine's jobs, as our executors are given them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from asyncblock.bridge.blockplaces import BlockPlace
from asyncblock.bridge.enginejobs import EngineJob
from asyncblock.bridge.enginewords import JobWords
from asyncblock.wire.messages import decode, encode


async def test_a_dispatch_has_what_the_engine_has_said() -> None:
    words = JobWords("s-1", "j", [{"flow_job_id": "f", "flow": None, "node_id": "n"}], "/b")
    place = BlockPlace(Path("/p"), "digest", "blocks/a", "blocks/a/main.py", "main")
    job = EngineJob(words, place, {"block": "add"}, asyncio.get_running_loop().create_future())
    job.given = {"x": 1}
    patch = {"x": [{"path": None, "schema": {"contentMediaType": "oomol/secret"}}]}
    job.definitions = {"inputs_def": {"x": {"value": 2}}, "outputs_def": [{"handle": "a"}], "inputs_def_patch": patch}
    made = job.dispatch(7)
    assert (made.channel, made.session_id, made.node_id, made.inputs, made.block_path) == (
        7,
        "s-1",
        "n",
        {"x": 1},
        "/b",
    )
    assert made.block["inputs_def"] == [{"value": 2, "handle": "x"}]
    assert made.block["inputs_def_patch"] == patch
    assert made.block["service"] == {"block": "add"}
    # What the wire's own types say of it.
    import orjson

    assert decode(orjson.loads(encode(made))) == made
