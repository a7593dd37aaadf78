"""SharedSlots: an executor's slots, where several partitions hand jobs out to it. ``slotturns`` decides.

Each owner counts its own jobs alone. What it hands out beyond the slots is given back (``give_back`` with ``full``):
then it hands out what it is offered (``free``), until it has less to do than that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from ..errors import AsyncBlockError
from ..link import PlacedLinks
from ..wire.messages import Cancel, Close, Dispatch
from .slotturns import JobKey, SlotTurns

__all__ = ["SharedSlots"]

logger = logging.getLogger("asyncblock.executor")

_FULL = "the executor's slots are taken by jobs of other partitions"


class SharedSlots:
    """The slots of one attachment. On the I/O thread, unless it says otherwise."""

    def __init__(self, links: PlacedLinks, async_slots: int, sync_slots: int) -> None:
        self._io = links.io
        self._links = list(links)
        self._asking: set[asyncio.Task[None]] = set()
        self._kinds = {"loop": SlotTurns(async_slots), "threads": SlotTurns(sync_slots)}
        for link in self._links:
            link.when_ending(self._over)

    def take(self, partition: int, message: Dispatch) -> bool:
        """Tell whether a job has a slot. One that has none is given back."""
        kind, key = _kind_of(message), (message.job_id, message.attempt)
        turns = self._kinds[kind]
        if _is_beside(message):
            # All slots might wait for such jobs: the mainframe doesn't count them.
            turns.comes_not(key)
            self._offer()
            return True
        if turns.take(partition, key):
            return True
        self._begin(self._decline(kind, partition, message), f"asyncblock giving back job {message.job_id}")
        return False

    def ended(self, message: Cancel | Close) -> None:
        """Let go of what is kept for a job: its end has come before it."""
        for turns in self._kinds.values():
            turns.comes_not((message.job_id, message.attempt))
        self._offer()

    def reconnects(self, partition: int) -> None:
        """Keep nothing for what a connection that was lost had announced."""
        for turns in self._kinds.values():
            turns.begins_anew(partition)
        self._offer()

    def link_over(self, partition: int) -> None:
        """Let go of all that is kept for a partition."""
        for turns in self._kinds.values():
            turns.gone(partition)
        self._offer()

    def over(self, key: JobKey) -> None:
        """Take note that a job is over. From any thread."""
        self._io.post(self._over, *key)

    def parked(self, change: int) -> None:
        """Take note that a thread gives its place to others (1), or has it again (-1). From any thread."""
        self._io.post(self._parked, change)

    def _over(self, job_id: str, attempt: int) -> None:
        for turns in self._kinds.values():
            turns.over((job_id, attempt))
        self._offer()

    def _parked(self, change: int) -> None:
        self._kinds["threads"].parked(change)
        self._offer()

    def _offer(self) -> None:
        for kind, turns in self._kinds.items():
            for partition, slots in turns.offers():
                self._begin(self._ask(kind, partition, slots), f"asyncblock offering slots to partition {partition}")

    def _begin(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Ask something: a link that is over answers that, too, so nothing waits for ever."""
        task = self._io.spawn(coroutine, name)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, kind: str, partition: int, slots: int | None) -> None:
        """Offer slots to a partition, and keep them for the jobs that it has for them."""
        params = {"kind": kind} if slots is None else {"kind": kind, "slots": slots}
        jobs: list[JobKey] = []
        try:
            answer = await self._links[partition].request("free", params)
            jobs = [(str(job_id), int(attempt)) for job_id, attempt in answer["jobs"]]
        except AsyncBlockError as error:
            logger.warning("partition %d couldn't be offered a slot: %s", partition, error)
        if slots is not None:
            self._kinds[kind].answered(partition, slots, jobs)
            self._offer()

    async def _decline(self, kind: str, partition: int, message: Dispatch) -> None:
        """Give a job back that has no slot."""
        who = {"session_id": message.session_id, "job_id": message.job_id, "attempt": message.attempt}
        try:
            await self._links[partition].request("give_back", {**who, "reason": _FULL, "full": True})
        except AsyncBlockError as error:
            # It isn't held any more, or the link is over.
            logger.debug("job %s couldn't be given back: %s", message.job_id, error)
            return
        # Now its owner hands out nothing without an offer, and may have answered one before it had this job again.
        self._kinds[kind].waits(partition)
        self._offer()


def _kind_of(message: Dispatch) -> str:
    block = message.block
    return "threads" if block.get("sync") and "service" not in block else "loop"


def _is_beside(message: Dispatch) -> bool:
    """Tell whether another job has asked for this one, and may wait for it."""
    return bool(message.stacks) and str(message.stacks[-1].get("node_id", "")).startswith("run_block::")
