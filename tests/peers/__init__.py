"""A peer that speaks the wire by hand: for what no link of ours would ever send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from asyncblock.errors import AsyncBlockError
from asyncblock.server import MainframeServer
from asyncblock.server.journal import SessionRow
from asyncblock.server.peers.access import ALL_ROLES
from asyncblock.server.settings import Settings
from asyncblock.transport import Transport
from asyncblock.transport.memory import memory_pair

__all__ = ["Peer", "mainframe", "channels_named", "node", "plan"]

HASH = "ha5h"


@cache
def channels_named(count: int) -> orjson.Fragment:
    """Return what a Hello may say of very many channels, made before somebody measures how long others wait."""
    return orjson.Fragment(b"[%b]" % b",".join(b'[%d,"",1]' % number for number in range(count)))


class Peer:
    """One connection, and everything that came on it."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.came: list[dict[str, Any]] = []
        self.sizes: list[int] = []

    async def say(self, op: str, **fields: object) -> None:
        """Send a control line."""
        await self.transport.send(orjson.dumps({"op": op, **fields}))

    async def hello(self, link: str = "peer", *, slots: int | None = None, **fields: object) -> dict[str, Any]:
        """Greet, and return the answer: a welcome or a bye."""
        executor = None
        if slots is not None:
            executor = {"languages": ["python"], "packages": {HASH: "p"}, "slots": {"async": slots}}
        greeting = {"version": 1, "link": link, "boot": "b", "generation": 1, "executor": executor, **fields}
        await self.say("hello", **greeting)
        return await self.until("welcome", "bye")

    async def batch(self, seq: int, channel: int, *records: object) -> None:
        """Send a batch of one run."""
        header = orjson.dumps({"op": "batch", "seq": seq, "channels": [channel]})
        await self.transport.send(header + b"\n" + orjson.dumps(list(records)))

    async def until(self, *ops: str) -> dict[str, Any]:
        """Read until one of these comes; pages keep their lines under ``data``."""
        async with asyncio.timeout(20):
            while True:
                for index, message in enumerate(self.came):
                    if message["op"] in ops:
                        return self.came.pop(index)
                await self._receive()

    async def everything(self) -> list[dict[str, Any]]:
        """Return what has come, and wait for a message if nothing has."""
        if not self.came:
            await self._receive()
        came, self.came = self.came, []
        return came

    async def _receive(self) -> None:
        data = await self.transport.receive()
        self.sizes.append(len(data))
        if data[:1] == b"\x01":
            self.came.append({"op": "chunk", "data": data})
            return
        lines = data.split(b"\n")
        while lines:
            message = orjson.loads(lines.pop(0))
            count = message.get("lines", 0) if message["op"] == "page" else 0
            message["data"], lines = [orjson.loads(line) for line in lines[:count]], lines[count:]
            self.came.append(message)

    async def ended(self) -> None:
        """Wait until the connection has ended."""
        async with asyncio.timeout(20):
            try:
                while True:
                    await self._receive()
            except AsyncBlockError:
                pass

    async def ask(self, method: str, id: str = "r1", **params: object) -> dict[str, Any]:
        """Ask, and return the reply."""
        await self.say("request", id=id, method=method, params=params)
        return await self.until("reply")

    async def rows(self, session_id: str) -> list[dict[str, Any]]:
        """Read a session's lines from its beginning to its end."""
        found: list[dict[str, Any]] = []
        offset = 0
        while True:
            await self.say("read", id=1, session_id=session_id, offset=offset)
            page = await self.until("page")
            assert page["error"] is None, page["error"]
            found += page["data"]
            offset = page["next"]
            if page["end"] or any(line.get("type") == "SessionFinished" for line in page["data"]):
                return found

    async def until_row(self, session_id: str, kind: str) -> dict[str, Any]:
        """Read until there is a line of the mainframe's of some type."""
        offset = 0
        while True:
            await self.say("read", id=1, session_id=session_id, offset=offset)
            page = await self.until("page")
            for line in page["data"]:
                if line.get("type") == kind:
                    found: dict[str, Any] = line
                    return found
            offset = page["next"]


class Host:
    """A mainframe in this loop, and peers that come to it."""

    def __init__(self, server: MainframeServer) -> None:
        self.server = server
        self._transports: list[Transport] = []

    def peer(self, roles: frozenset[str] = ALL_ROLES) -> Peer:
        """Connect; the greeting is the peer's."""
        ours, theirs = memory_pair()
        self.server.accept_soon(theirs, roles)
        self._transports.append(ours)
        return Peer(ours)

    def row(self, session_id: str) -> SessionRow:
        """Return the row of a session that runs or has just ended."""
        row = self.server.sessions.row(session_id)
        assert row is not None
        return row

    async def close(self) -> None:
        """End all connections."""
        for transport in self._transports:
            await transport.close()


@asynccontextmanager
async def mainframe(directory: Path, settings: Settings | None = None) -> AsyncIterator[Host]:
    """Run a mainframe in the test's loop."""
    async with MainframeServer(directory, settings) as server:
        host = Host(server)
        try:
            yield host
        finally:
            await host.close()


def node(node_id: str, inputs: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a plan's node whose package the peers have."""
    block = {"language": "python", "package": "p", "hash": HASH, "dir": ".", "entry": "a.py", "function": "main"}
    block |= fields.pop("block", {})
    return {"node_id": node_id, "kind": "task", "block": block, "inputs": inputs or {}, **fields}


def plan(*nodes: dict[str, Any], outputs: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a plan as a client sends it."""
    return {
        "version": 1,
        "title": "t",
        "path": None,
        "inputs_def": [],
        "nodes": list(nodes),
        "outputs": outputs or {},
    }
