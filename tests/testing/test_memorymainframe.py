"""A mainframe in memory dies as a process does."""

from __future__ import annotations

from asyncblock.testing.memorymainframe import MemoryMainframe


async def test_a_transaction_that_lingers_dies_with_it_and_nothing_else_does() -> None:
    async with MemoryMainframe() as mainframe:
        transaction = mainframe.sessions.new_transaction()
        kept = mainframe.sessions.new_transaction()
        stored: list[str] = []
        kept.after(lambda: stored.append("kept"))
        kept.commit()
        await mainframe.journal.flush()
        transaction.after(lambda: stored.append("lingers"))
        mainframe.sessions.linger(transaction)
        await mainframe.kill()
        await mainframe.start()
        assert stored == ["kept"]
