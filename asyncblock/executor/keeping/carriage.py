"""Carriage: values that go to other hosts as bodies, and those that come from there.

What goes is the file that another process of this host would map; it is sent once, for whoever fetches it. What comes
is put into a file here, once for all jobs that wait for it, and goes when no job can ask for the value any more.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any, Final

from ...errors import AsyncBlockError, ConnectionLost, LocalProtocolError, RemoteProtocolError
from ...runtime import offload
from ...store import StoreKey
from ...varvalues.filed import Filed
from ...varvalues.valueid import ValueId
from ...wire.bodies import BodyRef
from ...wire.messages import Carry, Release
from ...wire.ranges import Ranges
from ..environment import Environment
from .budget import Budget
from .spilling import id_of
from .upkeep import Upkeep, is_entry
from .valuewriter import ValueWriter

__all__ = ["Carriage"]

logger = logging.getLogger("asyncblock.executor")

_MOST: Final = 10_000
"""Values that may be asked for and not yet sent."""


class Carriage:
    """Sends and fetches the values of one attachment. What it sends is the I/O thread's, so that a block that keeps its
    loop busy keeps nobody from its values; what it fetches is the executor's loop's, whose jobs wait for it."""

    def __init__(self, environment: Environment, writer: ValueWriter, budget: Budget, upkeep: Upkeep) -> None:
        self._environment = environment
        self._writer = writer
        self._budget = budget
        self._upkeep = upkeep
        self._going: dict[ValueId, asyncio.Task[None]] = {}
        self._sent: set[ValueId] = set()
        """Those of them that are in their files."""
        self._again: set[ValueId] = set()
        """Those of them that were asked for once more."""
        self._coming: dict[ValueId, _Coming] = {}

    # ------------------------------------------------------------------ values go, on the I/O thread

    def carry(self, message: Carry) -> None:
        """Send a value, unless that is under way already."""
        id = ValueId(message.session_id, message.job_id, message.attempt, message.place)
        if id in self._going:
            self._again.add(id)
        else:
            if len(self._going) >= _MOST:
                raise RemoteProtocolError(f"{_MOST} values are asked for by 'carry' and not yet sent")
            self._going[id] = self._environment.io.spawn(self._carry(id, message), "a var value for another host")

    async def _carry(self, id: ValueId, message: Carry) -> None:
        try:
            # Of a mainframe that has begun anew the question may come just before the answer to what it didn't ask.
            while not await self._is_told(id, message) and id in self._again:
                self._again.discard(id)
        finally:
            self._sent.discard(id)
            self._again.discard(id)
            del self._going[id]

    async def _is_told(self, id: ValueId, message: Carry) -> bool:
        """Send a value, or say why not; tell whether the mainframe has taken either in."""
        try:
            name = message.file or await self._writer.write(id)
            if name is None:
                return True
            self._sent.add(id)
            return await self._send(id, name, message.most)
        except ConnectionLost as error:
            # No fault of the value's: where somebody still waits for it the mainframe asks anew.
            logger.debug("a var value for another host wasn't sent: %s", error)
            return False
        except AsyncBlockError as error:
            logger.warning("a var value for another host couldn't be sent: %s", error)
            return await self._refuse(id, str(error))
        except OSError as error:
            return await self._refuse(id, f"its file can't be read: {error.strerror or error}")

    def release(self, message: Release) -> None:
        """Send nothing more of values that nobody asks for any more: those of others wait behind them."""
        if not self._sent:
            return
        entries = {(job_id, attempt): places for job_id, attempt, places in filter(is_entry, message.values)}
        sent = [id for id in self._sent if id.session_id == message.session_id and id[1:3] in entries]
        self._stop({id for id in sent if id.place in Ranges.from_json(entries[id[1:3]])}.__contains__)

    def end_session(self, session_id: str) -> None:
        """Send nothing more of a session's."""
        self._stop(lambda id: id.session_id == session_id)

    def _stop(self, concerns: Callable[[ValueId], bool]) -> None:
        # Not before it is in its file: that would be nobody's.
        for id in filter(concerns, self._sent):
            self._going[id].cancel()

    async def _send(self, id: ValueId, name: str, most: int) -> bool:
        link, depot = self._environment.links.of(id.session_id), self._environment.depot
        size = await asyncio.to_thread(lambda: _size(depot.opened(name)))
        if size > most:
            words = f"it has {size} bytes, and {most} may go there (the mainframe's setting carried_bytes)"
            return await self._refuse(id, words)

        async def named(ref: BodyRef) -> dict[str, Any]:
            return await link.request("carried", {**id._asdict(), "body": ref.to_json()})

        said = await link.file_uploads.send(lambda: depot.opened(name), named)
        return said.get("lives") is not False

    async def _refuse(self, id: ValueId, words: str) -> bool:
        link = self._environment.links.of(id.session_id)
        try:
            said = await link.request("carried", {**id._asdict(), "error": words[:1000]})
        except AsyncBlockError as error:
            logger.debug("the mainframe couldn't be told why a value stays on this host: %s", error)
            return False
        return said.get("lives") is not False

    # ------------------------------------------------------------------ values come, on the loop

    async def fetch(self, key: StoreKey, ref: BodyRef) -> Filed:
        """Fetch the file of a value that is on another host, once for all who wait for it.

        **Cancellation** lets the others have it. Raises ``Unavailable`` where there is no room, ``Rejected`` when the
        mainframe doesn't have it, ``RemoteProtocolError`` when something else came, ``LocalProtocolError``.
        """
        id = id_of(key)
        coming = self._coming.get(id)
        if coming is None:
            coming = self._coming[id] = _Coming(self._environment.loop.create_future())
            coming.task = self._environment.tasks.create_task(self._settle(coming, id, key, ref))
        coming.waiting += 1
        try:
            return await asyncio.shield(coming.done)
        finally:
            coming.waiting -= 1
            if not coming.waiting and coming.task is not None:
                # Nobody is left who wants it; does nothing to one that is here. Who wants it next begins anew: this
                # one may take a while to end.
                self._forget(id, coming)
                coming.task.cancel()

    def _forget(self, id: ValueId, coming: _Coming) -> None:
        if self._coming.get(id) is coming:
            del self._coming[id]

    async def _settle(self, coming: _Coming, id: ValueId, key: StoreKey, ref: BodyRef) -> None:
        try:
            coming.done.set_result(await self._fetch(id, key, ref))
        except Exception as error:
            # All who wait get it; the task's own end is nobody's failure.
            coming.done.set_exception(error)
            coming.done.exception()
        finally:
            self._forget(id, coming)
            if not coming.done.done():
                words = f"a var value of job {id.job_id} wasn't fetched: its executor leaves"
                coming.done.set_exception(LocalProtocolError(words))
                coming.done.exception()

    async def _fetch(self, id: ValueId, key: StoreKey, ref: BodyRef) -> Filed:
        environment = self._environment
        link, depot, store = environment.links.of(id.session_id), environment.depot, environment.store
        may_take = self._budget.limit - store.size
        arrival = depot.arrival(id, ref.length, may_take)
        try:
            await offload.wait_in_thread(arrival.begin)
            await link.io.run(link.downloads.pour(ref, arrival.append))
            filed = await offload.wait_in_thread(arrival.finish)
        finally:
            environment.start(arrival.give_up)
        store.put_copy(key, filed, filed.name, filed.length, in_memory=filed.in_memory)
        environment.tasks.create_task(self._say(id, filed))
        return filed

    async def _say(self, id: ValueId, filed: Filed) -> None:
        """Tell where it is, for others of this host; where nobody asks for it any more, it goes."""
        params = {**id._asdict(), "file": filed.name, **({} if filed.in_memory else {"lasting": True})}
        try:
            said = await self._environment.links.of(id.session_id).request("exported", params)
        except AsyncBlockError as error:
            logger.debug("the mainframe couldn't be told that a value came from another host: %s", error)
            return
        if said.get("lives") is False:
            self._upkeep.release(Release(id.session_id, [[id.job_id, id.attempt, [[id.place, id.place + 1]]]]))


class _Coming:
    """A value that is being fetched."""

    def __init__(self, done: asyncio.Future[Filed]) -> None:
        self.done = done
        self.task: asyncio.Task[None] | None = None
        self.waiting = 0


def _size(fd: int) -> int:
    try:
        return os.fstat(fd).st_size
    finally:
        os.close(fd)
