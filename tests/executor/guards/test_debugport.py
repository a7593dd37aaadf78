"""An editor's debugger at the port that the engine names: a real debugpy, spoken with as editors do."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

pytest.importorskip("oocana", reason="needs the extra 'oocana'")
pytest.importorskip("debugpy", reason="needs debugpy")

from asyncblock.executor.guards import debugport

from ...bridge import NEEDS_MOSQUITTO, PACKAGE, engine, mosquitto
from ...processes import free_port

pytestmark = [NEEDS_MOSQUITTO, pytest.mark.timeout(180)]

SOURCE = PACKAGE / "blocks" / "all" / "main.py"


class Editor:
    """A debug adapter's client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._number = reader, writer, 0

    def ask(self, command: str, **arguments: Any) -> None:
        self._number += 1
        content = orjson.dumps({"seq": self._number, "type": "request", "command": command, "arguments": arguments})
        self._writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(content), content))

    async def until(self, kind: str, name: str) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                length = int((await self._reader.readuntil(b"\r\n\r\n")).split(b":")[1])
                message: dict[str, Any] = orjson.loads(await self._reader.readexactly(length))
                if message["type"] == kind and message.get("event" if kind == "event" else "command") == name:
                    return message

    async def attach(self, line: int) -> None:
        self.ask("initialize", adapterID="tests", pathFormat="path")
        await self.until("response", "initialize")
        self.ask("attach", justMyCode=False)
        await self.until("event", "initialized")
        self.ask("setBreakpoints", source={"path": str(SOURCE)}, breakpoints=[{"line": line}])
        await self.until("response", "setBreakpoints")
        self.ask("configurationDone")
        await self.until("response", "configurationDone")


@asynccontextmanager
async def editor(port: int) -> AsyncIterator[Editor]:
    """Come as soon as somebody listens."""
    reader, writer = await connected(port)
    try:
        yield Editor(reader, writer)
    finally:
        writer.close()


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(60):
        while True:
            with suppress(ConnectionRefusedError):
                return await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0.05)  # the process tells nobody when it listens


@pytest.mark.parametrize("waits", [False, True], ids=["comes-any-time", "is-waited-for"])
async def test_a_breakpoint_stops_a_block_under_the_engine_and_lets_it_go(waits: bool, tmp_path: Path) -> None:
    port = free_port()
    line = 1 + next(n for n, text in enumerate(SOURCE.read_text().splitlines()) if 'return {"b": "end"}' in text)
    options = ["--debug-port", str(port), *(["--wait-for-client"] if waits else [])]
    async with mosquitto(tmp_path) as broker, engine(tmp_path, broker, *options) as peer:
        assert peer.came[0][1]["debug_port"] == port
        early = peer.run("ours", {"x": 1}) if waits else None
        async with editor(port) as debugger:
            assert early is None or peer.said(early, "BlockOutput") == []
            await debugger.attach(line)
            job = early or peer.run("ours", {"x": 1})
            stopped = await debugger.until("event", "stopped")
            assert stopped["body"]["reason"] == "breakpoint" and peer.said(job, "BlockFinished") == []
            debugger.ask("continue", threadId=stopped["body"]["threadId"])
            assert (await peer.end(job))["result"] == {"b": "end"}


def test_a_port_that_is_taken_keeps_no_job_from_running(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, caplog.at_level(logging.WARNING):
        port = str(taken.getsockname()[1])
        environ = {debugport.PORT: port, debugport.WAITS: "1"}
        debugport.listen(environ)
    assert environ == {}
    assert f"no debugger can be reached at port {port}" in caplog.text
