"""Whatever answers in a mainframe's place while a job runs passes: it is told, and the job goes on where it was."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import asyncblock
from asyncblock.testing import FaultProxy

from ..security.innocent import innocent
from ..security.served import served
from ..waits import until_called

pytestmark = pytest.mark.timeout(120)

PAGE = b"<html><head><title>We are back soon</title></head><body>" + b"<p>me:5ecret@</p>" * 500 + b"</body></html>"


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def upgraded(request: bytes, frame: bytes) -> bytes:
    """Answer as a gateway that takes the websocket itself, and then says something of its own."""
    found = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
    assert found is not None
    accepted = base64.b64encode(hashlib.sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
    headers = ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accepted}"]
    lines = ["HTTP/1.1 101 Switching Protocols", *headers, "Sec-WebSocket-Protocol: asyncblock.v1", "", ""]
    return "\r\n".join(lines).encode() + frame


HTML = "Content-Type: text/html"
ERROR = b'{"message": "Internal server error", "connectionId": "x", "requestId": "y"}'

ANSWERS: dict[str, bytes] = {
    "302 to another host": answer("302 Found", PAGE, "Location: https://login.example/?key=5ecret", HTML),
    "307 to itself": answer("307 Temporary Redirect", b"", "Location: /"),
    "200 with a page": answer("200 OK", PAGE, HTML),
    "204": answer("204 No Content"),
    "400": answer("400 Bad Request", PAGE, HTML),
    "401": answer("401 Unauthorized", PAGE, 'WWW-Authenticate: Basic realm="5ecret"', HTML),
    "403": answer("403 Forbidden", PAGE, HTML),
    "404": answer("404 Not Found", PAGE, HTML),
    "407": answer("407 Proxy Authentication Required", PAGE, 'Proxy-Authenticate: Basic realm="5ecret"', HTML),
    "426": answer("426 Upgrade Required", PAGE, HTML),
    "429": answer("429 Too Many Requests", PAGE, "Retry-After: 1", HTML),
    "500": answer("500 Internal Server Error", PAGE, HTML),
    "502": answer("502 Bad Gateway", PAGE, HTML),
    "504": answer("504 Gateway Timeout", PAGE, HTML),
    "599": answer("599 Whatever", PAGE, HTML),
    "no HTTP": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "nothing": b"",
    "half of a header": b"HTTP/1.1 101 Switch",
    "a websocket's upgrade that isn't one": answer("101 Switching Protocols"),
    "an error of a gateway": b"\x81" + bytes([len(ERROR)]) + ERROR,
    "a binary message of a gateway": b"\x82\x04\x00\x01\x02\x03",
    "a close of a gateway": b"\x88\x02\x03\xf3",
    "frames that are none": b"\xff\xff\xff\xff",
}
TAKEN = {"an error of a gateway", "a binary message of a gateway", "a close of a gateway", "frames that are none"}
"""Those that come behind an upgrade."""


class Middlebox:
    """Answers in the mainframe's place."""

    def __init__(self) -> None:
        self.port = 0
        self.answer: str | None = None
        self.answered = 0
        self.changed = asyncio.Event()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert self.answer is not None
        said = ANSWERS[self.answer]
        writer.write(upgraded(request, said) if self.answer in TAKEN else said)
        self.answered += 1
        self.changed.set()
        writer.close()

    async def refuses(self, times: int) -> None:
        wanted = self.answered + times
        async with asyncio.timeout(60):
            while self.answered < wanted:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def between(port: int) -> AsyncIterator[tuple[FaultProxy, Middlebox]]:
    """Stand between a link and the mainframe at a port."""
    box = Middlebox()
    server = await asyncio.start_server(box.accept, "127.0.0.1", 0)
    async with server, FaultProxy("127.0.0.1", port) as proxy:
        box.port = server.sockets[0].getsockname()[1]
        yield proxy, box


async def test_a_job_goes_on_whatever_has_answered_in_its_mainframes_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "asyncblock")
    async with served(tmp_path) as house:
        port = int(house.url.rpartition(":")[2])
        async with (
            between(port) as (proxy, box),
            asyncblock.connect(f"ws://127.0.0.1:{proxy.port}", "token-of-executor") as executor,
        ):
            async with innocent(tmp_path, executor, house.client, None) as made:
                for name in ANSWERS:
                    box.answer = name
                    proxy._target = ("127.0.0.1", box.port)
                    proxy.cut()
                    await box.refuses(2)
                    proxy._target = ("127.0.0.1", port)
                    connections = executor.link._connections
                    await until_called(connections, "_receive", lambda: not executor.link.away)
                    assert not executor.link.over, name
                    await made.goes_on()
    told = "\n".join(each.getMessage() for each in caplog.records)
    assert "the connection to" in told
    for hidden in ("<html", "<p>", "5ecret"):
        assert hidden not in told
