"""Handing down: what a process that leaves has of values goes to the disk, where those have it who come after it.

The mainframe is told of each file, and why there is none of what had to stay. It begins when no new jobs are taken,
with what is there then, and goes on when the running ones have ended; small values come first. All that executors of
this disk have left there counts against the limit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container
from contextlib import suppress
from typing import Any, Final

from ...childprocesses.hostmemory import DISK_SETTING
from ...errors import AsyncBlockError
from ...runtime import offload
from ...store import KeptValue
from ...values.portable import NotPortable
from ...varvalues.filed import loaded
from ...varvalues.valueid import ValueId
from ..environment import Environment
from .spilling import id_of

__all__ = ["HandingDown"]

logger = logging.getLogger("asyncblock.executor")

_LEAST: Final = 5.0
"""Seconds for it, even where jobs have used up the grace."""

_AT_LEISURE: Final = 60.0
"""Seconds for it where nobody waits for the process to end."""

_AWAY: Final = 1.0
"""Seconds for it without a connection: it may be back, and if it isn't, nobody hears of the files."""

_TOLD_AFTER: Final = 1.0
"""Seconds after which people hear what a process that leaves still does."""

_AT_ONCE: Final = 64
"""Files that the mainframe is told of at once."""

_CAUGHT_UP: Final = 1.0
"""Seconds that the mainframe has for an answer."""

_REASONS: Final = 3.0
"""Seconds to say why values aren't there any more."""


class HandingDown:
    """Hands the values of one attachment down. Lives on the executor's loop."""

    def __init__(self, environment: Environment, limit: int) -> None:
        self._environment = environment
        self._limit = limit
        self._done: set[ValueId] = set()
        """Those that the mainframe knows to be on the disk, or to be asked for no more."""
        self._why: dict[ValueId, str] = {}
        """What is wrong with those that can't be there."""
        self._final: set[ValueId] = set()
        """Those of them of which that can be said while jobs still run."""
        self._is_wanted = True
        self._until = 0.0
        """When the grace is over."""
        self._early: asyncio.Task[None] | None = None

    def begin(self, grace: float | None) -> None:
        """Begin while jobs still run, which have so many seconds; None: another process has taken the place of this."""
        self._is_wanted = grace != 0
        self._until = self._environment.loop.time() + (_AT_LEISURE if grace is None else grace)
        if self._is_wanted and self._early is None:
            self._early = self._environment.tasks.create_task(self._begin())

    async def _begin(self) -> None:
        await self._pass(early=True)
        # Who waits for these waits in vain, and jobs may run on for hours.
        await self._say_why(self._final)

    async def finish(self) -> None:
        """Hand down what is there now, as long as the grace lasts, and say why there is no more of it.

        **Cancellation** leaves files of which nobody was told.
        """
        links = self._environment.links
        if not self._is_wanted or links.over:
            return
        seconds = max(self._until - self._environment.loop.time(), _LEAST)
        if all(link.away for link in links):
            seconds = min(seconds, _AWAY)
        if self._early is not None:
            # Where it was waits for nobody: what it had begun is found when it is written again.
            self._early.cancel()
            await asyncio.wait([self._early])
        if self._left():
            await self._caught_up()
        if not self._left():
            return
        told = self._environment.loop.call_later(_TOLD_AFTER, self._tell)
        try:
            async with asyncio.timeout(seconds):
                await self._pass()
        except TimeoutError:
            for kept in self._left():
                self._why.setdefault(
                    id_of(kept.key), f"there was no time left for it when its executor left ({seconds:g} s)"
                )
        finally:
            told.cancel()
        await self._say_why(self._why)

    async def _caught_up(self) -> None:
        """Wait until all was heard that the mainframe has said: of sessions that have ended nothing is wanted."""
        # Only to keep less: without an answer values of ended sessions are handed down for nothing.
        with suppress(AsyncBlockError, TimeoutError):
            async with asyncio.timeout(_CAUGHT_UP):
                for link in self._environment.links:
                    await link.request("info", {})

    def _left(self, *, early: bool = False) -> list[KeptValue]:
        # Who wants a copy finds it where that has come from.
        values = [each for each in self._environment.store.values() if not each.is_copy]
        kept = [each for each in values if id_of(each.key) not in self._done]
        if early:
            # What open jobs have put out the mainframe may not know yet.
            kept = [each for each in kept if not self._is_open(id_of(each.key))]
        return sorted(kept, key=lambda each: each.key.portable or each.size)

    def _is_open(self, id: ValueId) -> bool:
        return (id.job_id, id.attempt) in self._environment.jobs

    def _tell(self) -> None:
        count, size = len(left := self._left()), sum(each.size for each in left)
        logger.warning("before it leaves, %d var values (about %d MiB) are put on the disk", count, size >> 20)

    async def _pass(self, *, early: bool = False) -> None:
        depot, telling = self._environment.depot, set[asyncio.Task[None]]()
        try:
            used = await offload.wait_in_thread(depot.disk_bytes)
            for kept in self._left(early=early):
                id = id_of(kept.key)
                if self._environment.store.kept(id) is not kept:
                    continue
                filed = await self._written(kept, id, self._limit - used)
                if filed is None:
                    continue
                used += filed[1]
                telling.add(asyncio.create_task(self._say(id, filed[0])))
                if len(telling) >= _AT_ONCE:
                    _, telling = await asyncio.wait(telling, return_when=asyncio.FIRST_COMPLETED)
            if telling:
                await asyncio.wait(telling)
        except AsyncBlockError as error:
            logger.debug("no var values are put on the disk: %s", error)
        finally:
            for task in telling:
                task.cancel()

    async def _written(self, kept: KeptValue, id: ValueId, left: int) -> tuple[str, int] | None:
        """Return the file of a value and how many bytes of the disk it takes more; None if there can be none."""
        if (kept.key.portable or 0) > left:
            self._why[id] = f"it takes {kept.key.portable} bytes of the disk, and {_there(left, self._limit)}"
            return None
        value = kept.value
        try:
            filed = await offload.wait_in_thread(lambda: self._environment.depot.hand_down(loaded(value), id, left))
        except NotPortable as error:
            self._why[id] = f"it isn't portable: {kept.key.stays or error}"
            self._final.add(id)
        except OSError as error:
            words = error.strerror or str(error)
            self._why[id] = f"the disk takes no more: {words} ({_there(left, self._limit)})"
        except Exception as error:  # whatever the author's library raises
            self._why[id] = f"it can't be written: {type(error).__name__}: {error}"
        else:
            self._why.pop(id, None)
            if self._environment.store.exported(id, 0):
                return filed.name, 0 if kept.on_disk else filed.length
            # It was let go meanwhile.
            await offload.wait_in_thread(self._environment.depot.remove, [id])
        return None

    async def _say(self, id: ValueId, file: str) -> None:
        link = self._environment.links.of(id.session_id)
        try:
            said = await link.request("exported", {**id._asdict(), "file": file, "lasting": True})
        except AsyncBlockError as error:
            logger.warning("a var value is on the disk, and the mainframe couldn't be told: %s", error)
            return
        self._done.add(id)
        if isinstance(said, dict) and said.get("lives") is False and not self._is_open(id):
            await offload.wait_in_thread(self._environment.depot.remove, [id], "d")

    async def _say_why(self, ids: Container[ValueId]) -> None:
        """Say of what isn't there why: it stands in the words that tell of its loss."""
        store, reasons = self._environment.store, [each for each in self._why.items() if each[0] in ids]
        reasons = [each for each in reasons if store.kept(each[0]) is not None]
        if not reasons:
            return
        logger.warning("%d var values go with this process; the first: %s", len(reasons), reasons[0][1])
        try:
            async with asyncio.timeout(_REASONS):
                for start in range(0, len(reasons), _AT_ONCE):
                    await asyncio.gather(*(self._refuse(*each) for each in reasons[start : start + _AT_ONCE]))
        except (TimeoutError, AsyncBlockError) as error:
            logger.debug("the mainframe couldn't be told why values are gone: %s", error)

    async def _refuse(self, id: ValueId, words: str) -> None:
        params: dict[str, Any] = {**id._asdict(), "error": words[:1000]}
        await self._environment.links.of(id.session_id).request("exported", params)


def _there(left: int, limit: int) -> str:
    return f"{max(left, 0)} bytes are left of the {limit} that var values may take of it ({DISK_SETTING})"
