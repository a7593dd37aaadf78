"""Carriage: values that go to other hosts as bodies, and those that come from there.

What goes is the file that another process of this host would map; it is sent once, for whoever fetches it. What comes
is put into a file here, once for all jobs that wait for it, and goes when no job can ask for the value any more.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any, Final

from .. import offload
from ..depot import Filed, ValueId
from ..errors import AsyncBlockError, LocalProtocolError, RemoteProtocolError
from ..store import StoreKey
from ..wire.bodies import BodyRef
from ..wire.messages import Carry, Release
from .budget import Budget
from .environment import Environment
from .spilling import id_of
from .upkeep import Upkeep
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
        self._going: set[ValueId] = set()
        self._coming: dict[ValueId, _Coming] = {}

    # ------------------------------------------------------------------ values go, on the I/O thread

    def carry(self, message: Carry) -> None:
        """Send a value, unless that is under way already."""
        id = ValueId(message.session_id, message.job_id, message.attempt, message.place)
        if id not in self._going:
            if len(self._going) >= _MOST:
                raise RemoteProtocolError(f"{_MOST} values are asked for by 'carry' and not yet sent")
            self._going.add(id)
            _ = self._environment.link.io.spawn(self._carry(id, message), "a var value for another host")

    async def _carry(self, id: ValueId, message: Carry) -> None:
        link = self._environment.link
        try:
            name = message.file or await self._writer.write(id)
            if name is not None:
                await self._send(id, name, message.most)
        except AsyncBlockError as error:
            logger.warning("a var value for another host couldn't be sent: %s", error)
            if not link.over:
                await self._refuse(id, str(error))
        except OSError as error:
            await self._refuse(id, f"its file can't be read: {error.strerror or error}")
        finally:
            self._going.discard(id)

    async def _send(self, id: ValueId, name: str, most: int) -> None:
        link, depot = self._environment.link, self._environment.depot
        size = await asyncio.to_thread(_size, depot.opened(name))
        if size > most:
            words = f"it has {size} bytes, and {most} may go there (the mainframe's setting carried_bytes)"
            await self._refuse(id, words)
            return

        async def named(ref: BodyRef) -> dict[str, Any]:
            return await link.request("carried", {**id._asdict(), "body": ref.to_json()})

        await link.file_uploads.send(lambda: depot.opened(name), named)

    async def _refuse(self, id: ValueId, words: str) -> None:
        try:
            await self._environment.link.request("carried", {**id._asdict(), "error": words[:1000]})
        except AsyncBlockError as error:
            logger.debug("the mainframe couldn't be told why a value stays on this host: %s", error)

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
                # Nobody is left who wants it; does nothing to one that is here.
                coming.task.cancel()

    async def _settle(self, coming: _Coming, id: ValueId, key: StoreKey, ref: BodyRef) -> None:
        try:
            coming.done.set_result(await self._fetch(id, key, ref))
        except Exception as error:
            # All who wait get it; the task's own end is nobody's failure.
            coming.done.set_exception(error)
            coming.done.exception()
        finally:
            self._coming.pop(id, None)
            if not coming.done.done():
                words = f"a var value of job {id.job_id} wasn't fetched: its executor leaves"
                coming.done.set_exception(LocalProtocolError(words))
                coming.done.exception()

    async def _fetch(self, id: ValueId, key: StoreKey, ref: BodyRef) -> Filed:
        environment = self._environment
        link, depot, store = environment.link, environment.depot, environment.store
        may_take = self._budget.limit - store.size
        arrival = await offload.wait_in_thread(depot.arrival, id, ref.length, may_take)
        try:
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
            said = await self._environment.link.request("exported", params)
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
