"""The value writer: var values of this process as files for others of its host, written when the first one asks."""

from __future__ import annotations

import logging
from typing import Any, Final

from ...errors import AsyncBlockError, RemoteProtocolError
from ...runtime import crashpoints, offload
from ...values.portable import size_of
from ...varvalues.filed import Filed
from ...varvalues.valueid import ValueId
from ...wire.messages import Export
from ..environment import Environment
from .budget import Budget

__all__ = ["ValueWriter"]

_MOST: Final = 10_000
"""Values under way beyond which one that isn't in this process ends the link: a mainframe asks for few of those."""

logger = logging.getLogger("asyncblock.executor")


class ValueWriter:
    """Writes values, each once, and says so. Lives on the I/O thread: a block that keeps its loop busy, for which other
    processes are wanted, keeps nobody from its value. The writing is done on a worker thread."""

    def __init__(self, environment: Environment, budget: Budget) -> None:
        self._environment = environment
        self._budget = budget
        self._under_way = environment.exporting

    def export(self, message: Export) -> None:
        """Write a value, unless that is under way already."""
        id = ValueId(message.session_id, message.job_id, message.attempt, message.place)
        if id not in self._under_way:
            if len(self._under_way) >= _MOST and self._environment.store.kept(id) is None:
                raise RemoteProtocolError(f"{_MOST} values are asked for by 'export', and more that aren't here")
            exporting = self._environment.io.spawn(self._export(id), "the export of a var value")
            self._under_way[id] = exporting

    async def _export(self, id: ValueId) -> None:
        environment = self._environment
        try:
            said = await self._written(id)
            await environment.links.of(id.session_id).request("exported", {**id._asdict(), **said})
        except AsyncBlockError as error:
            logger.warning("a var value was written into a file, and the mainframe couldn't be told: %s", error)
        finally:
            self._under_way.pop(id, None)
            environment.inbox.post(self._budget.change)

    def say(self, id: ValueId, file: str) -> None:
        """Say of a value that it is in a file, which nobody has asked for: it has no room in memory."""
        if self._environment.store.kept(id) is not None:
            _ = self._environment.io.spawn(self._say(id, file), "telling of a file")

    async def _say(self, id: ValueId, file: str) -> None:
        try:
            await self._environment.links.of(id.session_id).request("exported", {**id._asdict(), **_file(file)})
        except AsyncBlockError as error:
            logger.debug("the mainframe couldn't be told that a var value is on the disk: %s", error)

    async def write(self, id: ValueId) -> str | None:
        """Write a value for who can't open its file, and say so as for others; return the file, None if there is none.

        **Cancellation** may leave a file of which nobody was told. Raises as ``Link.request``.
        """
        said = await self._written(id)
        await self._environment.links.of(id.session_id).request("exported", {**id._asdict(), **said})
        file = said.get("file")
        return file if isinstance(file, str) else None

    async def _written(self, id: ValueId) -> dict[str, Any]:
        """Return what is to be said: where the value is, or why it stays."""
        store, depot = self._environment.store, self._environment.depot
        kept = store.kept(id)
        if kept is None:
            return {"error": "the value isn't in this process any more"}
        try:
            name, length, note = await offload.wait_in_thread(self._save, kept.value, id)
        except Exception as error:  # whatever the author's library raises
            logger.warning("a var value of job %s stays in its process: %s", id.job_id, error)
            return {"error": f"{type(error).__name__}: {error}"[:1000]}
        crashpoints.reached("before_exported")
        in_memory = name.startswith("m")
        if not store.exported(id, length if in_memory else 0):
            # It was let go meanwhile.
            await offload.wait_in_thread(depot.remove, [id])
            return {"error": "the value isn't in this process any more"}
        if note is not None:
            note = f"a var value of {length} bytes is on the disk: {note}"
            logger.warning("%s", note)
        return {**_file(name), **({} if note is None else {"note": note})}

    def _save(self, value: object, id: ValueId) -> tuple[str, int, str | None]:
        environment = self._environment
        if isinstance(value, Filed):
            return value.name, value.length, None
        return environment.depot.save(value, id, size_of(value), self._budget.limit - environment.store.files)


def _file(name: str) -> dict[str, Any]:
    """Return what is said of a file: one on the disk outlives the command whose process has written it."""
    return {"file": name, **({} if name.startswith("m") else {"lasting": True})}
