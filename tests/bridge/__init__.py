"""The other side of the bridge: a real broker, and a peer that says what the engine says, as its wire was captured."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from ..processes import Command, free_port, start

__all__ = ["NEEDS_MOSQUITTO", "PACKAGE", "Broker", "Engine", "engine", "mosquitto", "outputs"]

PACKAGE = Path(__file__).parent / "package"
PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
NEEDS_MOSQUITTO = pytest.mark.skipif(PROGRAM is None, reason="needs mosquitto, a Debian package")

Message = dict[str, Any]


class Broker:
    """A mosquitto that can be ended and started again on its port."""

    def __init__(self, config: Path, port: int) -> None:
        self._config = config
        self.port = port
        self._process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        """The process that runs now."""
        return self._process.pid

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        assert PROGRAM is not None
        self._process = await asyncio.create_subprocess_exec(
            PROGRAM, "-c", str(self._config), "-v", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        assert self._process.stderr is not None
        async with asyncio.timeout(20):
            while b" running" not in await self._process.stderr.readline():
                pass
        self._reader = asyncio.create_task(self._process.stderr.read())

    async def stop(self) -> None:
        """End it; what it keeps for those who come back to their session is on its disk."""
        if self._process.returncode is None:
            self._process.terminate()
        await self._reader
        await self._process.wait()


@asynccontextmanager
async def mosquitto(directory: Path, *lines: str) -> AsyncIterator[Broker]:
    """Run a broker; ``lines`` are of its configuration."""
    port, config = free_port(), directory / "mosquitto.conf"
    said = [
        f"listener {port} 127.0.0.1",
        "max_queued_messages 0",
        # Else it gives root up, and can't write here.
        "user root",
        "persistence true",
        f"persistence_location {directory}/",
        *(lines or ("allow_anonymous true",)),
    ]
    config.write_text("\n".join(said) + "\n")
    broker = Broker(config, port)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


class Engine:
    """Speaks with executors. What came to it is in ``came``, by topic, in order."""

    def __init__(self, port: int, directory: Path) -> None:
        self.port = port
        self.session_id = f"s-{secrets.token_hex(4)}"
        self.identifier = f"{self.session_id}-0011223344556677"
        self.session_dir = directory / "session"
        self.tmp_dir = directory / "tmp" / "flow-01234567"
        self.data_dir = directory / "data"
        self.came: list[tuple[str, Message]] = []
        self.executor: Command
        self.blocks: dict[str, Message] = {}
        """What may be run, or asked for, by name: ``function`` and definitions."""
        self.block_path: object = "/blocks/all/block.oo.yaml"
        self._inputs: dict[str, Message | None] = {}
        self._asked: set[str] = set()
        """Jobs that a block has asked for: told of on ``report``."""
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"oocana-scheduler-{self.session_id}",
            clean_session=False,
            protocol=MQTTv311,
        )
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(f"session/{self.session_id}", 1), ("report", 1)]
        )
        subscribed = self._subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.reconnect_delay_set(1, 1)

    def hold_nothing_up(self) -> None:
        """Send at once and acknowledge at once, so that what takes 40 ms isn't the engine's doing."""

        def acknowledge(client: Client, *_: object) -> None:
            sock = client.socket()
            assert isinstance(sock, socket.socket)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

        def at_once(client: Client, data: object, sock: Any) -> None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        self._client.on_socket_open = at_once
        self._client.on_publish = acknowledge

    async def connect(self) -> None:
        """Connect, and wait until it hears."""
        await asyncio.to_thread(self._client.connect, "127.0.0.1", self.port)
        self._client.loop_start()
        assert await asyncio.to_thread(self._subscribed.wait, 20)

    async def close(self) -> None:
        """End the connection."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    def arguments(self, **others: str) -> list[str]:
        """Return the command line that the engine starts an executor by."""
        said = {
            "--session-id": self.session_id,
            "--address": f"127.0.0.1:{self.port}",
            "--session-dir": str(self.session_dir),
            "--tmp-dir": str(self.tmp_dir),
            "--identifier": self.identifier,
            "--package": str(PACKAGE),
            **others,
        }
        return [each for pair in said.items() for each in pair]

    def environment(self) -> dict[str, str]:
        """Return what the engine puts into an executor's environment."""
        return {"OOCANA_PKG_DIR": str(self.data_dir), "IS_FORKED": "1"}

    # ------------------------------------------------------------------ what the engine says

    def publish(self, topic: str, message: Message | bytes) -> None:
        """Publish as the engine does: QoS 1, not retained."""
        payload = message if isinstance(message, bytes) else orjson.dumps(message)
        self._client.publish(topic, payload, qos=1)

    def payload(self, function: str, job_id: str, outputs: tuple[str, ...] = ("a", "b"), **others: Any) -> Message:
        """Return a BlockPayload."""
        return {
            "type": "BlockPayload",
            "session_id": self.session_id,
            "executor_name": "python",
            "job_id": job_id,
            "stacks": [{"flow_job_id": "f", "flow": "/flows/x/flow.oo.yaml", "node_id": function}],
            "dir": str(PACKAGE / "blocks" / "all"),
            "executor": {"name": "python", "options": {"entry": "main.py", "function": function, "spawn": False}},
            "outputs": {handle: definition(handle) for handle in outputs},
            "identifier": self.identifier,
            **others,
        }

    def run(self, function: str, inputs: Message | None = None, **others: Any) -> str:
        """Ask for a job, once; return its id."""
        job_id = others.pop("job_id", None) or secrets.token_hex(8)
        self._inputs[job_id] = inputs
        topic = "executor/python/run_service_block" if "service_executor" in others else "executor/python/run_block"
        self.publish(topic, self.payload(function, job_id, **others))
        return job_id

    def report(self, kind: str, **fields: Any) -> None:
        """Tell everybody."""
        self.publish("report", {"type": kind, "session_id": self.session_id, **fields})

    def finish_session(self) -> None:
        """Say that the session is over."""
        self.report("SessionFinished", path="/flows/x/flow.oo.yaml", finish_at=1, partial=False, cache=False)

    # ------------------------------------------------------------------ what executors say

    async def until(self, fits: Callable[[str, Message], bool], count: int = 1) -> list[Message]:
        """Wait until so many messages have come that fit."""
        async with asyncio.timeout(100):
            while True:
                found = [message for topic, message in self.came if fits(topic, message)]
                if len(found) >= count:
                    return found
                self._changed.clear()
                await self._changed.wait()

    async def end(self, job_id: str) -> Message:
        """Wait for a job's end, and return it."""
        [end, *more] = await self.until(lambda topic, each: _is(topic, each, job_id, "BlockFinished"))
        assert more == []
        return end

    def said(self, job_id: str, *kinds: str) -> list[Message]:
        """Return what executors have told the engine of a job."""
        return [
            each
            for topic, each in self.came
            if topic.startswith("session/") and each.get("job_id") == job_id and (not kinds or each["type"] in kinds)
        ]

    def told(self, job_id: str, *kinds: str) -> list[Message]:
        """Return what was told everybody of a job."""
        return [
            each
            for topic, each in self.came
            if topic == "report" and each.get("job_id") == job_id and each["type"] in kinds
        ]

    def _on_message(self, client: object, data: object, message: MQTTMessage) -> None:
        self._loop.call_soon_threadsafe(self._take, message.topic, bytes(message.payload))

    def _take(self, topic: str, payload: bytes) -> None:
        message = orjson.loads(payload)
        self.came.append((topic, message))
        self._changed.set()
        if topic == "report":
            return
        job_id, kind = message.get("job_id"), message["type"]
        if kind == "BlockReady":
            self._give_inputs(job_id)
        elif kind == "BlockRequest":
            self._answer(message)
        elif job_id in self._asked:
            fields = {key: value for key, value in message.items() if key not in ("type", "session_id")}
            self.report(kind, stacks=[{"node_id": "run_block::x"}], **fields)

    def _give_inputs(self, job_id: str) -> None:
        inputs, self._inputs[job_id] = self._inputs.get(job_id), None
        said = {"type": "BlockInputs", "session_id": self.session_id, "job_id": job_id, "stacks": []}
        defs = {handle: {"handle": handle} for handle in inputs or {"x": 0}}
        more = {"block_path": self.block_path, "inputs_def": defs, "inputs_def_patch": None}
        self.publish(f"inputs/{self.session_id}/{job_id}", {**said, **more, "inputs": inputs})

    def _answer(self, request: Message) -> None:
        where = {name: request[name] for name in ("session_id", "job_id", "request_id")}
        topic = f"session/{self.session_id}/request/{request['request_id']}/response"
        match request["action"]:
            case "QueryBlock" if request["block"] in self.blocks:
                self.publish(topic, {**where, "result": self.blocks[request["block"]]})
            case "QueryBlock":
                self.publish(topic, {**where, "error": f"Failed to find {request['block']} for block or subflow"})
            case "QueryDownstream":
                found = {"a": {"to_node": [{"node_id": "n", "input_handle": "i"}]}}
                self.publish(topic, {**where, "result": found})
            case "RunBlock":
                self._run_block(request, topic, where)
            case "Preview":
                self.report("BlockPreview", job_id=request["job_id"], payload=request["payload"])

    def _run_block(self, request: Message, topic: str, where: Message) -> None:
        block, job_id = self.blocks.get(request["block"]), request["block_job_id"]
        if block is None:
            name = request["block"]
            self.publish(topic, {**where, "error": f"Run block failed: Failed to read block or subflow: {name}"})
            return
        self._asked.add(job_id)
        stacks = [*request["stacks"], {"flow_job_id": "r", "flow": "", "node_id": f"run_block::{request['block']}"}]
        self.report("BlockStarted", job_id=job_id, stacks=stacks, inputs=request["payload"]["inputs"], create_at=1)
        self.run(block["function"], request["payload"]["inputs"], job_id=job_id, stacks=stacks)


def definition(handle: str) -> Message:
    """Return how an output is declared: those that are called by a media type have it."""
    schema = {"json_schema": {"contentMediaType": f"oomol/{handle}"}} if handle in ("var", "bin") else {}
    return {"handle": handle, **schema}


def _is(topic: str, message: Mapping[str, Any], job_id: str, kind: str) -> bool:
    return topic.startswith("session/") and message.get("job_id") == job_id and message["type"] == kind


@asynccontextmanager
async def engine(directory: Path, broker: Broker, *options: str, in_a_hurry: bool = False) -> AsyncIterator[Engine]:
    """Run an engine with one executor, up to that one's word that it is ready."""
    peer = Engine(broker.port, directory)
    if in_a_hurry:
        peer.hold_nothing_up()
    await peer.connect()
    try:
        arguments = [*peer.arguments(), *options]
        async with start("oocana-executor", *arguments, state=directory, **peer.environment()) as peer.executor:
            await peer.until(lambda topic, each: each["type"] == "ExecutorReady")
            yield peer
    finally:
        await peer.close()


def outputs(peer: Engine, job_id: str) -> list[Any]:
    """Return what a job has put out, without its end."""
    said = peer.said(job_id, "BlockOutput", "BlockOutputs")
    return [(each["handle"], each["output"]) if "output" in each else each["outputs"] for each in said]
