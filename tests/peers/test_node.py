"""A peer in JavaScript, written from ``asyncblock wire`` alone: mixed flows, resets, cancels, bodies both ways."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

import asyncblock
from asyncblock import events
from asyncblock.blockcode.packages import package_hash
from asyncblock.client import Session
from asyncblock.errors import FlowFailed
from asyncblock.executor import Executor
from asyncblock.flow import load_flow
from asyncblock.flow.plan import Plan
from asyncblock.inprocess.hosting import hosted_mainframe, listening
from asyncblock.runtime.iothread import shared
from asyncblock.testing import FaultProxy

from ..flow.packages import write

PEER = Path(__file__).parent / "node" / "peer.js"
NODE = shutil.which("node") or "/usr/bin/node"
ENVIRONMENT = {**os.environ, "NODE_PATH": "/usr/share/nodejs"}


def _options() -> list[str] | None:
    """Return what Node.js needs to have a websocket: nothing, where ``ws`` is there, or it has one itself."""
    if not Path(NODE).exists():
        return None
    for options in ([], ["--experimental-websocket"]):
        probe = "try { require('ws') } catch { process.exit(typeof WebSocket === 'undefined' ? 1 : 0) }"
        command = [NODE, *options, "-e", probe]
        if subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=30, check=False).returncode == 0:
            return options
    return None


OPTIONS = _options()

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(OPTIONS is None, reason="Node.js with a websocket isn't there: apt-get install nodejs node-ws"),
]

COUNTS = """
exports.main = async (inputs, ctx) => {
  for (let n = 0; n < inputs.count; n++) {
    await ctx.output("n", n);
    if (n % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { last: "done" };
};
exports.turns = async ({ text, data }, ctx) => {
  ctx.log(`${text.length} characters, ${data.length} bytes`);
  return { text: text.split("").reverse().join(""), data: Buffer.from(data).reverse() };
};
exports.waits = (inputs, ctx) => new Promise((resolve, reject) => {
  ctx.output("n", 1);
  ctx.signal.addEventListener("abort", () => reject(new Error("cancelled")));
});
exports.fails = async () => { throw new TypeError("no such luck"); };
"""

BYTES = "json_schema: {contentMediaType: oomol/bin}"

PYTHON = """
async def makes(inputs, ctx):
    await ctx.output("x" * 200_000 + "end", "text")
    await ctx.output(bytes(range(256)) * 1000, "data")


async def takes(inputs, ctx):
    return {"sum": [len(inputs["text"]), inputs["text"][:3], len(inputs["data"]), inputs["data"][0]]}
"""


def package(root: Path) -> Path:
    """Write a package with blocks in both languages."""
    write(root / "package.oo.yaml", "name: mixed\nversion: 1.0.0\n")
    write(root / "main.js", COUNTS)
    write(root / "main.py", PYTHON)
    for name, inputs, outputs in (
        ("main", "[{handle: count}]", "[{handle: n}, {handle: last}]"),
        ("turns", f"[{{handle: text}}, {{handle: data, {BYTES}}}]", f"[{{handle: text}}, {{handle: data, {BYTES}}}]"),
        ("waits", "[]", "[{handle: n}]"),
        ("fails", "[]", "[{handle: n}]"),
    ):
        manifest = f"executor: {{name: nodejs, options: {{entry: ../../main.js, function: {name}}}}}\n"
        write(root / f"blocks/{name}/block.oo.yaml", f"{manifest}inputs_def: {inputs}\noutputs_def: {outputs}\n")
    for name, inputs, outputs in (
        ("makes", "[]", f"[{{handle: text}}, {{handle: data, {BYTES}}}]"),
        ("takes", f"[{{handle: text}}, {{handle: data, {BYTES}}}]", "[{handle: sum}]"),
    ):
        manifest = f"executor: {{name: python, options: {{entry: ../../main.py, function: {name}}}}}\n"
        write(root / f"blocks/{name}/block.oo.yaml", f"{manifest}inputs_def: {inputs}\noutputs_def: {outputs}\n")
    return root


def flow(root: Path, *nodes: str, outputs: str) -> Plan:
    """Write a flow of the package and return its plan."""
    text = "nodes:\n" + "".join(f"- {node}\n" for node in nodes) + f"outputs_from: {outputs}\n"
    return load_flow(write(root / "flows/f/flow.oo.yaml", text), languages=["nodejs"])


@dataclass
class House:
    """A served mainframe, a proxy before it, and the peer that runs the package's blocks through that."""

    mainframe: asyncblock.Mainframe
    proxy: FaultProxy
    url: str
    token: str
    peer: asyncio.subprocess.Process

    async def start(self, plan: Plan) -> Session:
        return await self.mainframe.start(plan)


def _node(*arguments: str, token: str) -> tuple[list[str], dict[str, str]]:
    return [NODE, *(OPTIONS or []), str(PEER), *arguments], {**ENVIRONMENT, "ASYNCBLOCK_TOKEN": token}


@asynccontextmanager
async def house(tmp_path: Path, root: Path) -> AsyncIterator[House]:
    async with (
        shared().lease() as io,
        hosted_mainframe(io, tmp_path / "data") as server,
        listening(io, server, "127.0.0.1", 0) as url,
        FaultProxy("127.0.0.1", int(url.rpartition(":")[2])) as proxy,
        asyncblock.connect(url, server.token) as mainframe,
        Executor(packages=[root]).attached(mainframe),
    ):
        command, environment = _node(
            "executor", f"ws://127.0.0.1:{proxy.port}", str(root), package_hash(root), "mixed", token=server.token
        )
        peer = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
        assert peer.stdout is not None
        try:
            async with asyncio.timeout(40):
                assert await peer.stdout.readline() == b"ready\n"
            yield House(mainframe, proxy, url, server.token, peer)
            peer.terminate()
            async with asyncio.timeout(20):
                assert (await peer.stdout.read()).startswith(b"left after")
                assert await peer.wait() == 0
        finally:
            if peer.returncode is None:
                peer.kill()
                await peer.wait()


async def test_bodies_go_both_ways_in_a_flow_of_both_languages(tmp_path: Path) -> None:
    root = package(tmp_path / "mixed")
    plan = flow(
        root,
        "{node_id: a, task: self::makes}",
        "{node_id: b, task: self::turns, inputs_from: [{handle: text, from_node: [{node_id: a, output_handle: text}]}, "
        "{handle: data, from_node: [{node_id: a, output_handle: data}]}]}",
        "{node_id: c, task: self::takes, inputs_from: [{handle: text, from_node: [{node_id: b, output_handle: text}]}, "
        "{handle: data, from_node: [{node_id: b, output_handle: data}]}]}",
        outputs="[{handle: sum, from_node: [{node_id: c, output_handle: sum}]}]",
    )
    async with house(tmp_path, root) as home:
        session = await home.start(plan)
        async with asyncio.timeout(60):
            assert await session.outputs() == {"sum": [200_003, "dne", 256_000, 255]}
            logs = [event.log async for event in session if isinstance(event, events.BlockLog)]
        assert logs == ["200003 characters, 256000 bytes"]


async def test_outputs_are_in_order_over_resets_and_once(tmp_path: Path) -> None:
    root = package(tmp_path / "mixed")
    node = "{node_id: a, task: self::main, inputs_from: [{handle: count, value: 2000}]}"
    plan = flow(root, node, outputs="[{handle: n, from_node: [{node_id: a, output_handle: n}]}]")
    async with house(tmp_path, root) as home:
        session = await home.start(plan)
        found: list[int] = []
        attempts = 0
        async with asyncio.timeout(90):
            async for event in session:
                match event:
                    case events.BlockStarted():
                        attempts += 1
                    case events.BlockOutput(handle="n"):
                        found.append(event.output)
                        if event.output in (300, 800, 1300):
                            home.proxy.cut()
        assert found == list(range(2000))
        assert attempts == 1
        assert home.proxy.cuts >= 3


async def test_a_cancel_reaches_a_block_and_its_end_is_told(tmp_path: Path) -> None:
    root = package(tmp_path / "mixed")
    plan = flow(root, "{node_id: a, task: self::waits}", outputs="[]")
    async with house(tmp_path, root) as home:
        session = await home.start(plan)
        ends = []
        async with asyncio.timeout(60):
            async for event in session:
                match event:
                    case events.BlockOutput():
                        await session.cancel("enough")
                    case events.BlockFinished():
                        ends.append(event.cancelled)
        assert ends == [True]
        assert (await session.wait()).state == "cancelled"


async def test_an_error_fails_the_flow_with_the_authors_words(tmp_path: Path) -> None:
    root = package(tmp_path / "mixed")
    plan = flow(root, "{node_id: a, task: self::fails}", outputs="[]")
    async with house(tmp_path, root) as home:
        session = await home.start(plan)
        with pytest.raises(FlowFailed, match="no such luck"):
            async with asyncio.timeout(60):
                await session.outputs()


async def test_the_peer_starts_a_plan_and_fetches_its_outputs(tmp_path: Path) -> None:
    root = package(tmp_path / "mixed")
    outputs = "[{handle: text, from_node: [{node_id: a, output_handle: text}]}]"
    plan = flow(root, "{node_id: a, task: self::makes}", outputs=outputs)
    (tmp_path / "plan.json").write_bytes(orjson.dumps(plan.to_json()))
    async with house(tmp_path, root) as home:
        command, environment = _node("start", home.url, str(tmp_path / "plan.json"), "node1", token=home.token)
        client = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
        async with asyncio.timeout(60):
            said, _ = await client.communicate()
        end = orjson.loads(said)
        assert (end["state"], len(end["outputs"]["text"])) == ("succeeded", 200_003)
