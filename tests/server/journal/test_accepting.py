"""What every journal does before it stores: refuse, number, count, promise."""

from __future__ import annotations

import asyncio

import pytest

from asyncblock.errors import Closed, LocalProtocolError
from asyncblock.server.journal.accepting import AcceptingJournal
from asyncblock.server.journal.contract import RUNNING, Opening, SessionRow, Write
from asyncblock.server.journal.diskerrors import DiskErrors
from asyncblock.server.journal.writechecks import WriteChecks
from asyncblock.wire.ranges import Ranges


class Waiting(AcceptingJournal):
    """One that keeps what it takes in until ``store`` is called."""

    def __init__(self) -> None:
        write_checks = WriteChecks((), Ranges(), 4, 7)
        super().__init__(
            Opening(epoch="epoch", created=True, clean=True),
            write_checks,
            DiskErrors(None, None),
            asyncio.get_running_loop(),
        )
        self.writes: list[Write] = []

    def _put(self, write: Write, *, urgent: bool = False) -> None:
        self.writes.append(write)

    def store(self) -> None:
        for write in self.writes:
            if write.stored is not None:
                write.stored()
        self.writes.clear()

    def close(self) -> None:
        self._closed = True
        self._end_promises()


def begun(number: int) -> Write:
    write = Write()
    write.session(SessionRow(session_no=number, session_id=f"s{number}", created_at=1, state=RUNNING))
    write.entry(number, 0, b"{}")
    return write


async def test_numbers_go_on_after_those_that_were_given_before() -> None:
    journal = Waiting()
    assert [journal.new_session_no(), journal.new_session_no(), journal.new_link_no()] == [5, 6, 8]


async def test_what_cannot_be_stored_is_refused_and_queued_nowhere() -> None:
    journal = Waiting()
    wrong = begun(5)
    wrong.entry(5, 7, b"{}")
    with pytest.raises(LocalProtocolError, match="has offset 1, not 7"):
        journal.write(wrong)
    assert journal.writes == []
    journal.write(begun(5))
    assert journal.next_offset(5) == 1


async def test_a_flush_waits_for_what_was_written_before() -> None:
    journal = Waiting()
    flushing = asyncio.ensure_future(journal.flush())
    await asyncio.sleep(0)
    assert not flushing.done()
    journal.store()
    await flushing


async def test_promises_end_with_the_journal() -> None:
    journal = Waiting()
    kept, flushing = journal.promise(), asyncio.ensure_future(journal.flush())
    await asyncio.sleep(0)
    journal.close()
    for each in (kept, flushing):
        with pytest.raises(Closed):
            await each
    for call in (journal.check_open, lambda: journal.write(Write())):
        with pytest.raises(Closed):
            call()
