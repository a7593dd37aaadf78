"""Snapshots of large states, made by a process of their own from what is in the journal.

To write down a hundred thousand open jobs takes a second: nobody could be served meanwhile. A session's state is a fold
over its rows, so another process can fold them as well as a mainframe that comes back, up to a row that is stored. Only
the result comes here, packed; the session goes on meanwhile, and a recovery reads what follows that row. Rows that it
can't read where they are, for they are in a cluster, it asks for here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from typing import IO, Protocol

from ...childprocesses.children import Child
from ..committing.transactions import Transactions
from ..journal import Snapshot
from ..supervision import in_words
from .askedrows import ASKING, answer_rows

__all__ = ["LARGE", "Refolding"]

logger = logging.getLogger("asyncblock.server")

LARGE = 250
"""Jobs, queued values and the like in a state that is written down at once: each takes some 12 µs, a step of the loop
may take 15 ms, and machines are busy."""

_PROGRAM = "asyncblock.server.livesessions.folding"


class Foldable(Protocol):
    """Whose state is written down: a ``session.RunningSession``, of which no more is asked here."""

    number: int
    session_id: str
    state: str
    stored_offset: int

    def snapshot_made(self, size: int) -> None:
        """Let the next snapshot be due when the journal has grown, by more if this one is large."""
        ...


class Refolding:
    """Makes snapshots of large states, one at a time."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._busy = False
        self.task: asyncio.Task[None] | None = None
        """The last one that was begun."""

    def ask(self, session: Foldable) -> bool:
        """Begin to make a session's snapshot; False while another one is made, or where no process may be started."""
        if self._busy or self._transactions.alone:
            return False
        self._busy = True
        self.task = self._transactions.supervisor.begin(self._make(session), "a snapshot")
        return True

    async def _make(self, session: Foldable) -> None:
        try:
            # The other process reads what is stored, and what is queued isn't yet.
            await self._transactions.journal.flush()
            until = session.stored_offset
            payload = await self._folded(session, until)
            if session.state == "running":
                session.snapshot_made(len(payload))
                with self._transactions.new_transaction() as transaction:
                    transaction.write.snapshot(Snapshot(session_no=session.number, offset=until, payload=payload))
        except Exception as error:
            # A recovery reads more rows then, and there is another one when the journal has grown.
            words = "no snapshot of session %s could be made: %s"
            logger.warning(words, session.session_id, in_words(error))
        finally:
            self._busy = False

    async def _folded(self, session: Foldable, until: int) -> bytes:
        """Return the packed state of a session before a row, from another process. **Cancellation** kills that."""
        # It waits for each answer before it asks again.
        asked: asyncio.Queue[str] = asyncio.Queue()
        # The same modules under the same names, and nothing of the directory that the process happens to be in.
        path = os.pathsep.join(os.path.abspath(each) for each in sys.path)
        place = str(self._transactions.place or ASKING)
        with tempfile.TemporaryFile(buffering=0) as result:
            what = (place, str(session.number), session.session_id, str(until), str(result.fileno()))
            child = Child(
                (sys.executable, "-P", "-m", _PROGRAM, *what),
                asked.put_nowait,
                env={**os.environ, "PYTHONPATH": path},
                pass_fds=(result.fileno(),),
            )
            try:
                code = await self._answering(child, asked)
            except BaseException:
                # A cancel, too. Waited for, though it is killed: no process of ours outlives the mainframe.
                child.kill()
                await asyncio.shield(child.wait())
                raise
            if code != 0:
                raise RuntimeError(f"the process that makes it ended with {code}")
            return _whole(result)

    async def _answering(self, child: Child, asked: asyncio.Queue[str]) -> int:
        """Answer what it asks until its end; return its exit code."""

        async def answer() -> None:
            while True:
                await child.tell(await answer_rows(self._transactions.journal, await asked.get()))

        try:
            async with asyncio.TaskGroup() as tasks:
                answering = tasks.create_task(answer())
                code = await child.wait()
                answering.cancel()
        except ExceptionGroup as group:
            # What can't be read: answers end in no other way.
            raise group.exceptions[0] from None
        return code


def _whole(result: IO[bytes]) -> bytes:
    result.seek(0)
    return b"".join(iter(lambda: result.read(1 << 20), b""))
