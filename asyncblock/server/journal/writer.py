"""The writer: the thread that owns the write connection. It commits groups of writes; between them it prunes sessions
and keeps the log short. It sleeps in one queue, and knows nothing of the event loop but functions that post to it.

A group that can't be committed is kept and tried again for ever, or once more when the journal closes.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from ...errors import AsyncBlockError
from ...runtime import crashpoints
from .checkpoint import LAST_BYTES, MAX_BYTES, START_BYTES, Checkpointer, checkpoint, give_back
from .contract import BeginPrune, DropLink, LinkRow, Write
from .database import DatabaseConnection, transaction
from .diskerrors import back_off, explain
from .ground import Ground
from .pruner import Pruner
from .statements import append_statement, row_statements, span
from .writequeue import WriteQueue

__all__ = ["Chores", "Reports", "Writer"]

logger = logging.getLogger("asyncblock.server.journal")

_MAX_ROWS = 1024
"""Rows in one statement. SQLite takes 32766 parameters, three for each row."""

_COMMIT_COST = 3 * 8192
"""Bytes of log that a commit costs besides its payload: the pages it shares with others."""

_PRUNE_COST = 2 << 20
"""Bytes of log that a piece of a prune costs: what it deletes may have to be filled with what stands behind it."""

_ADVANCE_INTERVAL = 60.0
"""Seconds of use after which the counts of the epoch file go up."""


class _Signal(enum.Enum):
    STOP = enum.auto()
    COPIED = enum.auto()


@dataclass(frozen=True, slots=True)
class Reports:
    """Where the writer says what happened. Called on its thread; each posts to the event loop."""

    stored: Callable[[list[Write]], None]
    trouble: Callable[[AsyncBlockError], None]
    died: Callable[[Exception], None]
    """A defect has ended the thread: nothing will be stored any more."""
    recovered: Callable[[], None]
    pruned: Callable[[int, int | AsyncBlockError], None]


@dataclass(frozen=True, slots=True)
class Chores:
    """What the writer does between commits."""

    advance: Callable[[], None]
    """Lets the counts of the epoch file go up."""
    pruner: Pruner


@dataclass(slots=True)
class _Log:
    """How long the write-ahead log is, as far as its copying goes."""

    bytes: int = 0
    copying: bool = False
    pass_began_at: int = 0

    @property
    def full(self) -> bool:
        """Tell whether commits must wait for the copying."""
        return self.copying and self.bytes >= MAX_BYTES


@dataclass(slots=True)
class _Totals:
    """Bytes of the sessions' entries up to the last one, asked from the database once for each session."""

    connection: DatabaseConnection
    known: dict[int, int] = field(default_factory=dict)

    def of(self, session_no: int) -> int:
        """Return the sum of a session's payloads."""
        total = self.known.get(session_no)
        if total is None:
            row = self.connection.execute(
                "SELECT total FROM entries WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1", span(session_no)
            ).fetchone()
            total = self.known[session_no] = 0 if row is None else row[0]
        return total


class Writer:
    """The thread that writes. Made at the opening; ``stop`` ends it."""

    def __init__(
        self,
        connection: DatabaseConnection,
        copying: DatabaseConnection,
        ground: Ground,
        reports: Reports,
        chores: Chores,
    ) -> None:
        self.commits = 0
        """Transactions so far. Read from the event loop, where a stale figure does no harm."""
        self.error: Exception | None = None
        """The last thing that went wrong."""
        self._connection = connection
        self._ground = ground
        self._reports = reports
        self._chores = chores
        self._advance_at = time.monotonic() + _ADVANCE_INTERVAL
        self._inbox: SimpleQueue[Write | _Signal] = SimpleQueue()
        self._write_queue = WriteQueue()
        self._group: list[Write] = []
        self._log = _Log()
        self._totals = _Totals(connection)
        self._stopping = False
        self._gives_back = False
        """Sessions were deleted, and the files are as long as before."""
        self._checkpointer = Checkpointer(copying, lambda: self._inbox.put(_Signal.COPIED))
        self._thread = threading.Thread(target=self._run, name="asyncblock-journal", daemon=True)
        self._thread.start()

    def put(self, write: Write) -> None:
        """Queue a write. Never waits."""
        self._inbox.put(write)

    def forget(self, session_no: int) -> None:
        """Let go of what is known of a session to which nothing more is written."""
        # One step of a dictionary, from another thread: what the writer looks up at the same time it finds or asks for.
        self._totals.known.pop(session_no, None)

    def stop(self) -> list[Write]:
        """Store what is queued, or try once if there is trouble; end the threads; return what was not stored."""
        self._inbox.put(_Signal.STOP)
        self._thread.join()
        self._checkpointer.stop()
        while not self._inbox.empty():
            self._accept(self._inbox.get())
        return [*self._group, *self._write_queue.drain()]

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:
            # A defect of ours; the thread is over, and it mustn't look as if all were well.
            self.error = error
            self._reports.died(error)

    def _work(self) -> None:
        while self._await_work():
            if self._write_queue.urgent or (self._write_queue and not self._log.full):
                self._group = self._write_queue.take()
                if not self._commit(self._group):
                    return
                self._group = []
            if self._may_prune:
                self._prune()
            self._keep_log_short()

    def _await_work(self) -> bool:
        """Take in what was queued, and sleep while there is nothing to do; False when it is time to end."""
        while True:
            for _ in range(self._inbox.qsize()):
                self._accept(self._inbox.get())
            if self._stopping and not self._write_queue:
                return False
            if self._write_queue.urgent or (self._write_queue and not self._log.full) or self._may_prune:
                return True
            self._accept(self._inbox.get())

    def _accept(self, item: Write | _Signal) -> None:
        match item:
            case Write():
                self._write_queue.add(item)
            case _Signal.STOP:
                self._stopping = True
            case _Signal.COPIED:
                self._copied()

    # ------------------------------------------------------------------ commits

    def _commit(self, group: list[Write]) -> bool:
        """Commit a group, however often it takes; False when the journal closes and it can't be done."""
        troubled = applied = False
        for pause in back_off():
            try:
                if not applied:
                    crashpoints.reached("before_commit")
                    self._apply(group)
                    applied = True
                self._ground.check()
            except Exception as error:
                if not self._troubled(error, pause, first=not troubled):
                    return False
                troubled = True
            else:
                break
        if troubled:
            self._reports.recovered()
        crashpoints.reached("after_commit")
        self.commits += 1
        self._reports.stored(group)
        for write in group:
            for row in write.rows:
                if isinstance(row, BeginPrune):
                    self._chores.pruner.add(row.session_no)
        self._log.bytes += sum(write.size for write in group) + _COMMIT_COST
        return True

    def _troubled(self, error: Exception, pause: float, *, first: bool) -> bool:
        """Undo, tell, wait; False when the journal closes."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            # On a full disk the log may start over once it is copied: the database may have room inside.
            checkpoint(self._connection)
        except Exception as further:
            logger.debug("while undoing: %s", further)
        if first:
            self._reports.trouble(explain(error, "the journal"))
        self.error = error
        if self._stopping:
            return False
        self._sleep(pause)
        return True

    def _sleep(self, pause: float) -> None:
        """Wait while things are queued, but not longer than the pause, nor when the journal closes."""
        until = time.monotonic() + pause
        while not self._stopping and (left := until - time.monotonic()) > 0:
            try:
                self._accept(self._inbox.get(timeout=left))
            except Empty:
                return

    def _apply(self, group: list[Write]) -> None:
        totals: dict[int, int] = {}
        values: list[Any] = []
        marks: dict[int, int] = {}
        rows = 0
        for write in group:
            for session_no, offset, payload in write.entries:
                total = totals.get(session_no)
                total = (self._totals.of(session_no) if total is None else total) + len(payload)
                totals[session_no] = total
                values += session_no << 32 | offset, total, payload
            for link_no, seq in write.marks:
                marks[link_no] = max(seq, marks.get(link_no, 0))
            rows += len(write.rows)
        if rows == 0 and len(values) + 3 * len(marks) <= 3 * _MAX_ROWS:
            for mark in marks.items():
                values += *mark, None
            if values:
                self._connection.execute(append_statement(len(values) // 3), values)
        else:
            with transaction(self._connection):
                self._apply_many(group, values)
        self._totals.known |= totals

    def _apply_many(self, group: list[Write], values: list[Any]) -> None:
        # A session's row before its entries; of a link's row and its mark, what was written later has the last word.
        # Within one write rows come first: a link that replaces another forgets the other's mark, not its own.
        marks: list[Any] = []
        for write in group:
            if marks and any(isinstance(row, (LinkRow, DropLink)) for row in write.rows):
                self._append(marks)
                marks = []
            for row in write.rows:
                for statement, parameters in row_statements(row):
                    self._connection.execute(statement, parameters)
            for mark in write.marks:
                marks += *mark, None
        self._append(values + marks)

    def _append(self, values: list[Any]) -> None:
        step = 3 * _MAX_ROWS
        for start in range(0, len(values), step):
            part = values[start : start + step]
            self._connection.execute(append_statement(len(part) // 3), part)

    # ------------------------------------------------------------------ chores

    @property
    def _may_prune(self) -> bool:
        # Not while the log is being copied, or it would fill up and the commits would wait.
        return bool(self._chores.pruner) and not self._log.copying

    def _prune(self) -> None:
        pruner = self._chores.pruner
        try:
            prune = pruner.piece()
        except Exception as error:
            # Hidden it is; the next opening deletes the rest.
            self._reports.pruned(pruner.drop(), explain(error, "the journal"))
            return
        self._log.bytes += _PRUNE_COST
        if prune is not None:
            self._totals.known.pop(prune.session_no, None)
            self._gives_back = self._gives_back or not pruner
            self._reports.pruned(prune.session_no, prune.freed)

    def _keep_log_short(self) -> None:
        if (self._log.bytes >= START_BYTES or self._gives_back) and not self._log.copying:
            self._begin_pass()
        if time.monotonic() >= self._advance_at:
            self._advance_at = time.monotonic() + _ADVANCE_INTERVAL
            try:
                self._chores.advance()
            except Exception as error:
                logger.debug("the counts of the epoch file stay where they are for now: %s", error)

    def _begin_pass(self) -> None:
        self._log.copying = True
        self._log.pass_began_at = self._log.bytes
        self._checkpointer.begin()

    def _copied(self) -> None:
        """A pass is over: copy what came meanwhile, here if it is little, else in another pass."""
        if self._log.bytes - self._log.pass_began_at > LAST_BYTES:
            self._begin_pass()
            return
        try:
            if self._gives_back:
                self._gives_back = not give_back(self._connection)
            else:
                checkpoint(self._connection)
        except Exception as error:
            logger.warning("the journal's log can't be copied into the database: %s", error)
        # Where a reader is in the way the log stays longer, until the next round.
        self._log = _Log()
