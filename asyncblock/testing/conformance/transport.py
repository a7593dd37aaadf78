"""What every transport must do, as functions of a way to open a connected pair."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from ...errors import ConnectionLost
from ...transport import Transport

__all__ = ["CHECKS", "Check", "Pair"]

Pair = Callable[[], AbstractAsyncContextManager[tuple[Transport, Transport]]]
Check = Callable[[Pair], Awaitable[None]]

_TIMEOUT = 20.0
"""Seconds that any wait of a check may take."""


async def _ends(act: Awaitable[object]) -> None:
    """Await something that must raise ``ConnectionLost``."""
    try:
        async with asyncio.timeout(_TIMEOUT):
            await act
    except ConnectionLost:
        return
    raise AssertionError("ConnectionLost was to be raised")


async def _receive_all(transport: Transport) -> list[bytes]:
    received: list[bytes] = []
    try:
        async with asyncio.timeout(_TIMEOUT):
            while True:
                received.append(await transport.receive())
    except ConnectionLost:
        return received


async def check_messages_come_whole_and_in_order(pair: Pair) -> None:
    """Both ways at once, of any size, text and binary, byte for byte."""
    messages = [b"{}", b"\x01", b'{"a":"\xc3\xa9"}', b"\x01" + bytes(range(256)), b"{" + b" " * 300_000 + b"}"]
    messages += [b'{"n":%d}' % n for n in range(200)]

    async def talk(here: Transport) -> list[bytes]:
        async def send() -> None:
            for message in messages:
                await here.send(message)

        async with asyncio.timeout(_TIMEOUT), asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            return [await here.receive() for _ in messages]

    async with pair() as (one, other):
        received = await asyncio.gather(talk(one), talk(other))
    assert list(received) == [messages, messages]


async def check_the_peer_has_a_name(pair: Pair) -> None:
    """Something that can stand in a log."""
    async with pair() as (one, other):
        assert one.peer and other.peer


async def check_a_close_comes_after_what_was_sent(pair: Pair) -> None:
    """The other side receives everything, then the end; again and again."""
    async with pair() as (one, other):
        for n in range(10):
            await one.send(b'{"n":%d}' % n)
        received, _ = await asyncio.gather(_receive_all(other), one.close())
        assert received == [b'{"n":%d}' % n for n in range(10)]
        await _ends(other.receive())


async def check_both_ends_are_over_after_a_close(pair: Pair) -> None:
    """Sending and receiving raise ``ConnectionLost`` on both; closing again does nothing."""
    async with pair() as (one, other):
        await asyncio.gather(one.close(), other.close())
        await one.close()
        for end in (one, other):
            await _ends(end.receive())
            await _ends(end.send(b"{}"))


async def check_an_abort_ends_both_sides(pair: Pair) -> None:
    """Whoever waits on either side is told; aborting again does nothing."""
    async with pair() as (one, other):
        waiting = [asyncio.create_task(_receive_all(end)) for end in (one, other)]
        await asyncio.sleep(0)
        one.abort()
        one.abort()
        await asyncio.gather(*waiting)
        await _ends(one.send(b"{}"))
        await one.close()
        await other.close()


async def check_a_cancelled_receive_loses_nothing(pair: Pair) -> None:
    """Whatever the moment of the cancel, each message is received once."""
    async with pair() as (one, other):
        received: list[bytes] = []
        for n in range(100):
            task = asyncio.create_task(other.receive())
            for _ in range(n % 4):
                await asyncio.sleep(0)
            sending = asyncio.create_task(one.send(b'{"n":%d}' % n))
            for _ in range(n % 5):
                await asyncio.sleep(0)
            task.cancel()
            await sending
            try:
                received.append(await task)
            except asyncio.CancelledError:
                pass
        closing = asyncio.create_task(one.close())
        received += await _receive_all(other)
        await closing
        assert received == [b'{"n":%d}' % n for n in range(100)]


async def check_a_sender_waits_for_a_receiver(pair: Pair) -> None:
    """Buffers are bounded: who sends without end to one that doesn't receive waits, and ends with the connection."""
    async with pair() as (one, other):
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await one.send(b"{" + b" " * 100_000 + b"}")
                sent += 1

        flooding = asyncio.create_task(flood())
        before = -1
        while before != sent:
            before = sent
            # Real time, where the transport's buffers are the kernel's: until nothing moves any more.
            await asyncio.wait([flooding], timeout=0.2)
        assert not flooding.done()
        assert sent < 500, f"{sent} messages of 100 kB were taken without a receiver"
        other.abort()
        await _ends(flooding)


async def check_each_message_is_heard(pair: Pair) -> None:
    """When something came last is known, and nobody need have received it."""
    async with pair() as (one, other):
        loop = asyncio.get_running_loop()
        opened = other.heard_at
        assert opened <= loop.time()
        async with asyncio.timeout(_TIMEOUT):
            await one.send(b"{}")
            await other.receive()
        heard = other.heard_at
        assert opened <= heard <= loop.time()
        await one.send(b"{}")
        async with asyncio.timeout(_TIMEOUT):
            while other.heard_at <= heard:  # noqa: ASYNC110  # bytes tell nobody of it
                await asyncio.sleep(0.001)


CHECKS: dict[str, Check] = {name: check for name, check in list(globals().items()) if name.startswith("check_")}
"""All of them, by name."""
