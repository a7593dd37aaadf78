"""Transactions that linger: what nobody waits for is committed with what comes next, in order, and never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import asyncblock
from asyncblock import events
from asyncblock.server.committing import transactions as module
from asyncblock.server.committing.transaction import Transaction
from asyncblock.server.journal.memoryjournal import MemoryJournal, MemoryStorage
from asyncblock.server.livesessions.sessions import Sessions
from asyncblock.server.settings import Settings
from asyncblock.server.supervision import Supervisor


@asynccontextmanager
async def opened() -> AsyncIterator[Sessions]:
    journal = MemoryJournal(MemoryStorage())
    async with asyncio.TaskGroup() as tasks:
        yield Sessions(journal, asyncio.get_running_loop(), Supervisor(tasks, unexpected), Settings())
    await journal.close()


def unexpected(what: str, error: Exception) -> None:
    raise AssertionError(what) from error


def noted(transaction: Transaction, told: list[str], words: str) -> Transaction:
    transaction.after(lambda: told.append(words))
    return transaction


async def test_a_transaction_that_lingers_is_committed_before_the_next_one() -> None:
    told: list[str] = []
    async with opened() as sessions:
        sessions.linger(noted(sessions.new_transaction(), told, "first"))
        sessions.linger(noted(sessions.new_transaction(), told, "second"))
        noted(sessions.new_transaction(), told, "third").commit()
        await sessions.journal.flush()
    assert told == ["first", "second", "third"]


async def test_a_transaction_goes_on_with_the_one_that_lingers_as_one_transaction() -> None:
    told: list[str] = []
    async with opened() as sessions:
        first = noted(sessions.new_transaction(), told, "first")
        sessions.linger(first)
        transaction = sessions.next_transaction()
        assert transaction is first
        assert not sessions.lingers
        assert told == []
        noted(transaction, told, "second").commit()
        assert sessions.next_transaction() is not first
        await sessions.journal.flush()
    assert told == ["first", "second"]


async def test_a_transaction_that_lingers_is_committed_when_nothing_else_comes() -> None:
    stored = asyncio.Event()
    async with opened() as sessions:
        transaction = sessions.new_transaction()
        transaction.after(stored.set)
        sessions.linger(transaction)
        async with asyncio.timeout(30):
            await stored.wait()
        assert not sessions.lingers


async def test_a_transaction_that_lingers_is_committed_at_the_end() -> None:
    told: list[str] = []
    async with opened() as sessions:
        sessions.linger(noted(sessions.new_transaction(), told, "last"))
        sessions.close()
        await sessions.journal.flush()
    assert told == ["last"]


async def test_the_start_of_a_job_is_a_row_with_what_comes_next_and_is_seen_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the start may linger: an end, an output, another job and the end of the session settle it."""

    @asyncblock.block(inputs=[], outputs=[{"handle": "out"}])
    async def quick(ctx: asyncblock.Context) -> None:
        await ctx.output(1, "out")

    flow = asyncblock.Flow("quick")
    node = flow.node(quick)
    flow.output("out", node["out"])
    monkeypatch.setattr(module, "_LINGER", 3600.0)
    async with asyncblock.embedded(tmp_path / "data", blocks=[quick]) as mainframe:
        session = await mainframe.start(flow)
        async with asyncio.timeout(30):
            assert await session.outputs() == {"out": 1}
            found = [event async for event in session]
    kinds = [type(event) for event in found]
    assert kinds.index(events.BlockStarted) < kinds.index(events.BlockOutput) < kinds.index(events.BlockFinished)
