"""How a dispatch gets to its executor: with its inputs read, exported or made bodies, and when the connection takes it.

What is sent was assigned, and that is in the journal: so a dispatch may be sent again at any time, and changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from ...errors import AsyncBlockError, Closed
from ...wire.messages import Dispatch, encode
from ..committing.transactions import Transactions
from ..committing.values import Found
from ..jobstate.jobs import Attempt, LinkState, ValueSources
from ..journal.diskerrors import DISK_EXCEPTIONS
from ..peers.connection import Connection
from ..serverlimits import INLINE_BYTES
from .exports import Exports
from .spill import spill

__all__ = ["DispatchSender"]

logger = logging.getLogger("asyncblock.server")


class DispatchSender:
    """Sends the dispatches of attempts that were assigned."""

    def __init__(self, transactions: Transactions, links: Mapping[str, LinkState]) -> None:
        self._transactions = transactions
        self.exports = Exports(transactions, links, self.send)

    def send(self, attempt: Attempt) -> None:
        """Send a dispatch; repeating it changes nothing. One whose inputs are exported first is sent when they are."""
        connection, attempt.kept_for = attempt.link.connection, None
        if attempt.fenced or connection is None:
            return
        if connection.clogged:
            # Its executor doesn't read: what it is to do is kept as jobs, not as messages.
            attempt.kept_for = connection
            connection.feed(partial(self._send_later, attempt, connection))
            if attempt.job.cancelling is not None:
                attempt.job.session.end_unsent(attempt)
            return
        if self.exports.sources_for(attempt) is None:
            if attempt.job.cancelling is not None:
                # Cancelled before its executor was lost, or the mainframe: there is no other word of its end.
                attempt.job.session.end_unsent(attempt)
            return
        found = attempt.job.session.resolve_now(attempt.job.inputs)
        if found is None or not _say(attempt, found):
            self._transactions.supervisor.begin(self._read_and_send(attempt), "a dispatch", attempt.job.session)

    async def _send_later(self, attempt: Attempt, connection: Connection) -> None:
        """Send a dispatch when the connection takes one."""
        if attempt.link.connection is connection and attempt.kept_for is connection:
            self.send(attempt)

    def withdraw(self, attempt: Attempt) -> str | None:
        """Send a dispatch no more that hasn't left; return what it has waited for, in words, or None if it has."""
        if self.exports.withdraw(attempt):
            return "its values were still on their way"
        kept_for, attempt.kept_for = attempt.kept_for, None
        if kept_for is None or kept_for is not attempt.link.connection:
            # Sent, or about to be sent again: after its next Welcome the executor is told of its cancel, too.
            return None
        return "it was still waiting for its executor's connection to take it"

    async def _read_and_send(self, attempt: Attempt) -> None:
        """Send a dispatch whose inputs have to be read, or are too large for a message and become bodies."""
        job = attempt.job
        try:
            found = await job.session.resolve(job.inputs)
            if not _say(attempt, found):
                session = job.session
                found = await spill(self._transactions.journal, session.number, session.session_id, found)
                if not attempt.fenced:
                    _send(attempt, encode(_message(attempt, found)))
        except Closed:
            pass
        except (AsyncBlockError, *DISK_EXCEPTIONS) as error:
            logger.error("the inputs of node %s can't be read", job.node_id, exc_info=error)
            with self._transactions.new_transaction() as transaction:
                job.session.fail_job(
                    transaction, job, f"the inputs of node {job.node_id} can't be read: {error}", retry=False
                )


def _say(attempt: Attempt, found: dict[str, Found]) -> bool:
    """Send a dispatch, unless its inputs are too large for a message; tell whether that is done with."""
    if attempt.fenced:
        return True
    line = encode(_message(attempt, found))
    if len(line) > 2 * INLINE_BYTES:
        return False
    _send(attempt, line)
    return True


def _send(attempt: Attempt, line: bytes) -> None:
    attempt.link.send_line(line)
    # A cancel is sent at once, a dispatch when it is in the journal: one that overtook it was for an unknown job.
    attempt.job.session.say_cancel(attempt.job)


def _message(attempt: Attempt, found: dict[str, Found]) -> Dispatch:
    job = attempt.job
    sources = job.session.sources_for(attempt) if job.session.lives.any else ValueSources()
    bodies: dict[str, Any] = {handle: each.body for handle, each in found.items() if each.body is not None}
    return Dispatch(
        job_id=job.job_id,
        attempt=attempt.number,
        channel=attempt.channel,
        session_id=job.session.session_id,
        node_id=job.node_id,
        stacks=job.stacks,
        block=dict(job.block),
        inputs={handle: each.value for handle, each in found.items() if each.body is None},
        bodies=bodies,
        block_path=job.block.get("path"),
        timeout=job.timeout,
        metadata=job.session.metadata,
        files=sources.files,
        carried={handle: body.to_json() for handle, body in sources.bodies.items()},
    )
