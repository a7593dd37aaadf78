"""Chained jobs under the engine: how long an executor takes from a job's message to its first answer."""

from __future__ import annotations

import asyncio
import secrets
import shlex
import socket
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import yaml

from .sides import Ears, EngineSide, Run

__all__ = ["Tap", "measure"]

_PUBLISH = 3

_TRIES = 7
"""Runs of which one is to be measured."""

_BLOCK = """\
def main(params, context):
    return {"out": params["x"]}
"""


class Tap:
    """Stands between an executor and the broker, holds nothing back, and notes when what was said passed.

    So a time begins with the bytes at the executor's socket and ends with those that it has sent: what the engine and
    the broker take for theirs isn't in it.
    """

    def __init__(self, broker: int) -> None:
        self._broker = broker
        self.arrived: dict[str, float] = {}
        """When a job's first message came, by its id."""
        self.given: dict[str, float] = {}
        """When its inputs came."""
        self.answered: dict[str, float] = {}
        """When its first answer left."""
        self.ended: dict[str, float] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what an executor and the broker say to each other, until one of them leaves."""
        inner, outer = await asyncio.open_connection("127.0.0.1", self._broker)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass(reader, outer, self._from_executor))
                tasks.create_task(self._pass(inner, writer, self._to_executor))
        finally:
            for each in (writer, outer):
                each.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Any) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waiting = bytearray()
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                now = time.perf_counter()
                writer.write(data)
                waiting += data
                while (packet := _cut(waiting)) is not None:
                    if packet[0] >> 4 == _PUBLISH:
                        note(now, *_published(packet))
        with suppress(OSError, RuntimeError):
            writer.write_eof()

    def _to_executor(self, now: float, topic: str, payload: bytes) -> None:
        if topic.startswith("inputs/"):
            self.given.setdefault(topic.rpartition("/")[2], now)
        elif topic.startswith("executor/"):
            self.arrived.setdefault(orjson.loads(payload)["job_id"], now)

    def _from_executor(self, now: float, topic: str, payload: bytes) -> None:
        if topic.startswith("session/"):
            message = orjson.loads(payload)
            if (job := message.get("job_id")) is not None:
                self.answered.setdefault(job, now)
                if message["type"] == "BlockFinished":
                    self.ended.setdefault(job, now)


def _cut(waiting: bytearray) -> bytes | None:
    """Take a whole packet from the front."""
    length, shift, at = 0, 0, 1
    while True:
        if at >= len(waiting):
            return None
        byte = waiting[at]
        length |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            break
    if len(waiting) < at + length:
        return None
    packet = bytes(waiting[:1]) + bytes(waiting[at : at + length])
    del waiting[: at + length]
    return packet


def _published(packet: bytes) -> tuple[str, bytes]:
    """Return topic and payload; a number stands between them unless the message asks for no word of its arrival."""
    size = int.from_bytes(packet[1:3], "big")
    begins = 3 + size + (2 if packet[0] & 6 else 0)
    return packet[3 : 3 + size].decode(), packet[begins:]


@asynccontextmanager
async def _tapped(broker: int) -> AsyncIterator[tuple[Tap, int]]:
    tap = Tap(broker)
    server = await asyncio.start_server(tap.serve, "127.0.0.1", 0)
    async with server:
        yield tap, server.sockets[0].getsockname()[1]


def chain(directory: Path, length: int) -> Path:
    """Write a package with a flow of so many jobs, each of which waits for the one before."""
    block = directory / "blocks" / "step"
    block.mkdir(parents=True)
    (directory / "package.oo.yaml").write_text("name: chain\nversion: 0.0.1\n")
    (block / "main.py").write_text(_BLOCK)
    python = {"name": "python", "options": {"entry": "main.py"}}
    handles = {"inputs_def": [{"handle": "x"}], "outputs_def": [{"handle": "out"}]}
    (block / "block.oo.yaml").write_text(yaml.safe_dump({"executor": python, **handles}))
    nodes: list[dict[str, Any]] = []
    for number in range(length):
        before = {"value": 0} if not nodes else {"from_node": [{"node_id": f"n{number - 1}", "output_handle": "out"}]}
        nodes.append({"node_id": f"n{number}", "task": "self::step", "inputs_from": [{"handle": "x", **before}]})
    flow = directory / "flows" / "chain"
    flow.mkdir(parents=True)
    (flow / "flow.oo.yaml").write_text(yaml.safe_dump({"nodes": nodes}))
    return flow


async def measure(engine: Path, programs: dict[str, list[str]], heard: Ears, work: Path, count: int) -> int:
    """Run one chain with each executor, in turns, and say the medians."""
    flow = chain(work / "chain", count)
    (work / "home" / "state").mkdir(parents=True, exist_ok=True)
    answers: dict[str, list[float]] = {name: [] for name in programs}
    ends: dict[str, list[float]] = {name: [] for name in programs}
    whole: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(3):
        for name, program in programs.items():
            tap, run = await _once(engine, name, program, heard, work, flow)
            if run.seen.error is not None or len(tap.ended) < count:
                print(f"{name}: {len(tap.ended)} of {count} jobs ended: {run.last_words[-300:]}")
                return 1
            # The first one waits for the block to be loaded.
            jobs = [*tap.arrived][1:]
            answers[name] += [tap.answered[job] - tap.arrived[job] for job in jobs]
            ends[name] += [tap.ended[job] - tap.given[job] for job in jobs]
            whole[name] += [tap.ended[job] - tap.ended[before] for before, job in zip(tap.arrived, jobs, strict=False)]
    print(f"{count} chained jobs three times with each executor, in turns; medians in ms")
    print(f"{'':8} {'message to first answer':>24} {'inputs to end':>16} {'end to end of the next':>24}")
    for name in programs:
        words = [f"{statistics.median(each[name]) * 1000:.2f}" for each in (answers, ends, whole)]
        print(f"{name:8} {words[0]:>24} {words[1]:>16} {words[2]:>24}")
    if "theirs" in programs:
        ratio = statistics.median(answers["theirs"]) / statistics.median(answers["ours"])
        print(f"from the job's message to the first answer, ours takes {ratio:.1f} times less")
        return 0 if ratio >= 5 else 1
    return 0


async def _once(engine: Path, name: str, program: list[str], heard: Ears, work: Path, flow: Path) -> tuple[Tap, Run]:
    """Run the chain; again with a tap of its own where the executor wasn't ready in time, as on a busy machine."""
    tries = 0
    while True:
        tries += 1
        async with _tapped(heard.port) as (tap, port):
            place = work / f"hop-{secrets.token_hex(4)}"
            side = EngineSide(f"engine with {name}", heard, work / "home", engine=engine, executor=place)
            _through(place, program, port)
            run = await side.run(flow)
        if run.in_vain is None or tries == _TRIES:
            return tap, run


def _through(place: Path, program: list[str], port: int) -> None:
    """Make a ``python-executor`` that has the tap for its broker."""
    place.mkdir()
    script = place / "python-executor"
    # The last one counts, for both.
    script.write_text(f'#!/bin/sh\nexec {shlex.join(program)} "$@" --address 127.0.0.1:{port}\n')
    script.chmod(0o755)
