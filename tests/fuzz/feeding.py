"""What the fuzzers feed: one message to the decoder, and messages to the gateway's whole reader."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson

from asyncblock.errors import ConnectionLost, RemoteProtocolError
from asyncblock.testing import MemoryMainframe
from asyncblock.transport.memory import memory_pair
from asyncblock.wire.bodies import decode_chunk
from asyncblock.wire.frames import is_text, split, take_batch
from asyncblock.wire.messages import MESSAGES, Hello, decode, encode
from asyncblock.wire.records import check

__all__ = ["decode_one", "feed_gateway"]


def decode_one(message: bytes) -> bool:
    """Decode a message whole: tell whether it was good; anything but the documented error comes through."""
    try:
        if not is_text(message):
            n, offset, piece = decode_chunk(message)
            assert n >= 0 and offset >= 0 and len(piece) < len(message)
            return True
        for header, lines in split(message):
            if header["op"] == "batch":
                for _, raw in take_batch(header, lines).runs:
                    _check_records(raw)
            else:
                made = decode(header)
                assert type(made) is MESSAGES[made.op]
                # What was understood can be said again, unless a part of it was only skipped over.
                assert decode(orjson.loads(encode(made))) == made
    except RemoteProtocolError as error:
        assert len(str(error)) < 500, "an error as long as what it is about"
        return False
    return True


def _check_records(raw: bytes) -> None:
    try:
        records = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return
    for record in records if isinstance(records, list) else [records]:
        wrong = check(record)
        assert wrong is None or (isinstance(wrong, str) and wrong)


async def feed_gateway(messages: Sequence[bytes], *, greeted: bool) -> None:
    """Send messages to a real gateway; it must end the connection or go on, and be able to serve the next one."""
    async with MemoryMainframe() as mainframe:
        ours, theirs = memory_pair()
        mainframe.accept_soon(theirs)
        hello = encode(Hello(1, "l", "b", 1, executor={"languages": [], "packages": {}, "slots": {"async": 1}}))
        try:
            for message in [hello, *messages] if greeted else messages:
                await ours.send(message)
        except ConnectionLost:
            pass
        await ours.close()
        for _ in range(20):
            await asyncio.sleep(0)
        ours, theirs = memory_pair()
        mainframe.accept_soon(theirs)
        await ours.send(encode(Hello(1, "another", "b", 1)))
        async with asyncio.timeout(10):
            answer = await ours.receive()
        assert orjson.loads(answer.split(b"\n")[0])["op"] == "welcome"
        await ours.close()
