"""The shipped suites: what is ours passes them, and each sees an implementation that breaks its contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asyncblock.server.journal import Journal
from asyncblock.server.journal.memoryjournal import MemoryJournal, MemoryStorage
from asyncblock.testing import Faults, MemoryNetwork, check_journal, check_transport
from asyncblock.testing.conformance import journal, transport
from asyncblock.transport import Transport
from asyncblock.transport.memory import memory_pair
from asyncblock.transport.websocket import connect_websocket, serve_websocket
from asyncblock.wire.frames import MAX_MESSAGE

Ends = tuple[Transport, Transport]


@asynccontextmanager
async def websocket_ends() -> AsyncIterator[Ends]:
    accepted: asyncio.Future[Transport] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def handle(end: Transport, _: object) -> None:
        accepted.set_result(end)
        await over.wait()

    async def admit(path: str, headers: object) -> object:
        return None

    async with serve_websocket(handle, admit, "127.0.0.1", 0, max_message=MAX_MESSAGE) as port:
        ours = await connect_websocket(f"ws://127.0.0.1:{port}", None, agent="test", max_message=MAX_MESSAGE)
        try:
            yield ours, await accepted
        finally:
            over.set()
            ours.abort()


@asynccontextmanager
async def memory_ends() -> AsyncIterator[Ends]:
    yield memory_pair()


@asynccontextmanager
async def network_ends() -> AsyncIterator[Ends]:
    accepted: list[Transport] = []
    network = MemoryNetwork(accepted.append, Faults(delay=(0.0, 0.001)))
    yield await network.dial(), accepted[0]


PAIRS: dict[str, transport.Pair] = {"websocket": websocket_ends, "memory": memory_ends, "network": network_ends}


@pytest.mark.parametrize("name", transport.CHECKS)
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_our_transports_pass(pair: transport.Pair, name: str) -> None:
    await transport.CHECKS[name](pair)


class Forgetful:
    """A transport that drops each tenth message."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._count = 0
        self.peer = inner.peer
        self.receive, self.close, self.abort = inner.receive, inner.close, inner.abort

    @property
    def heard_at(self) -> float:
        return self._inner.heard_at

    async def send(self, message: bytes) -> None:
        self._count += 1
        if self._count % 10:
            await self._inner.send(message)


async def test_a_transport_that_loses_messages_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_TIMEOUT", 0.5)

    @asynccontextmanager
    async def pair() -> AsyncIterator[Ends]:
        one, other = memory_pair()
        yield Forgetful(one), other

    with pytest.raises((AssertionError, TimeoutError)):
        await check_transport(pair)


async def test_the_whole_transport_suite_passes_in_one_call() -> None:
    await check_transport(memory_ends)


class Storage:
    """Where one check's journal lives."""

    def __init__(self, kind: type[MemoryJournal] = MemoryJournal) -> None:
        self._kind = kind

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[journal.Open]:
        storage = MemoryStorage()

        async def open_journal() -> Journal:
            return self._kind(storage)

        yield open_journal


async def test_the_whole_journal_suite_passes_in_one_call() -> None:
    await check_journal(Storage())


class Shortened(MemoryJournal):
    """A journal that cuts what it reads."""

    async def page(self, *args: Any, **kwargs: Any) -> list[tuple[int, bytes]]:
        return [(offset, payload[:5]) for offset, payload in await super().page(*args, **kwargs)]


async def test_a_journal_that_cuts_entries_fails() -> None:
    with pytest.raises(AssertionError, match="check_"):
        await check_journal(Storage(Shortened))
