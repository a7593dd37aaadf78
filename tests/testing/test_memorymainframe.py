"""A mainframe in memory dies as a process does."""

from __future__ import annotations

from asyncblock.testing.memorymainframe import MemoryMainframe


async def test_a_turn_that_lingers_dies_with_it_and_nothing_else_does() -> None:
    async with MemoryMainframe() as mainframe:
        turn = mainframe.sessions.turn()
        kept = mainframe.sessions.turn()
        stored: list[str] = []
        kept.after(lambda: stored.append("kept"))
        kept.commit()
        await mainframe.journal.flush()
        turn.after(lambda: stored.append("lingers"))
        mainframe.sessions.linger(turn)
        await mainframe.kill()
        await mainframe.start()
        assert stored == ["kept"]
