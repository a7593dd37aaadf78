from __future__ import annotations

import asyncio
import hashlib

import pytest

from asyncblock.errors import Closed, Rejected, RemoteProtocolError
from asyncblock.link.downloads import Downloads
from asyncblock.wire.bodies import BodyRef
from asyncblock.wire.messages import Fetch, Fetched, Message

DATA = bytes(range(256)) * 10_000


class Line:
    """What a download asks for, and a mainframe's answers from ``DATA``."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Fetch] = asyncio.Queue()
        self.downloads = Downloads(self._send)
        self.downloads.connected()

    def _send(self, message: Message) -> None:
        assert isinstance(message, Fetch)
        self.asked.put_nowait(message)

    def fetch(self, *, sha256: str = hashlib.sha256(DATA).hexdigest()) -> asyncio.Task[list[bytes]]:
        return asyncio.create_task(self.downloads.fetch(BodyRef(7, len(DATA), sha256, "raw", "link")))

    async def answer(self, *, most: int | None = None) -> Fetch:
        """Send a part, or only the beginning of it."""
        request = await self.asked.get()
        end = request.offset + (request.size if most is None else most)
        for start in range(request.offset, end, 64 << 10):
            piece = DATA[start : min(start + (64 << 10), end)]
            self.downloads.chunk(request.id, start, memoryview(piece))
        if most is None:
            self.downloads.fetched(Fetched(request.id))
        return request

    async def answer_all(self, task: asyncio.Task[list[bytes]]) -> list[bytes]:
        while not task.done():
            answering = asyncio.create_task(self.answer())
            await asyncio.wait([task, answering], return_when=asyncio.FIRST_COMPLETED)
            answering.cancel()
        return await task


async def test_a_body_comes_in_blocks_of_bounded_size() -> None:
    line = Line()
    blocks = await line.answer_all(line.fetch())
    assert b"".join(blocks) == DATA
    assert max(map(len, blocks)) <= 1 << 20


async def test_a_download_goes_on_at_the_byte_where_the_connection_was_lost() -> None:
    line = Line()
    task = line.fetch()
    await line.answer()
    request = await line.answer(most=100_000)
    line.downloads.disconnected()
    line.downloads.connected()
    again = await line.answer()
    assert again.offset == request.offset + 100_000
    assert b"".join(await line.answer_all(task)) == DATA


async def test_chunks_of_a_download_that_was_given_up_are_dropped() -> None:
    line = Line()
    task = line.fetch()
    request = await line.asked.get()
    task.cancel()
    await asyncio.wait([task])
    line.downloads.chunk(request.id, 0, memoryview(b"late"))
    line.downloads.fetched(Fetched(request.id))


async def test_a_body_with_another_sum_is_refused() -> None:
    line = Line()
    with pytest.raises(RemoteProtocolError, match="another sum"):
        await line.answer_all(line.fetch(sha256="0" * 64))


async def test_a_chunk_for_another_offset_is_refused() -> None:
    line = Line()
    task = line.fetch()
    request = await line.asked.get()
    with pytest.raises(RemoteProtocolError, match="offset 5"):
        line.downloads.chunk(request.id, 5, memoryview(b"x"))
    task.cancel()
    await asyncio.wait([task])


async def test_what_the_mainframe_does_not_have_is_said() -> None:
    line = Line()
    task = line.fetch()
    request = await line.asked.get()
    line.downloads.fetched(Fetched(request.id, "it was pruned"))
    with pytest.raises(Rejected, match="pruned"):
        await task


async def test_the_end_of_the_link_ends_downloads() -> None:
    line = Line()
    task = line.fetch()
    await line.asked.get()
    line.downloads.end(Closed("the link is closed"))
    with pytest.raises(Closed):
        await task
