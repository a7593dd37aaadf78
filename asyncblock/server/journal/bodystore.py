"""The bodies of a journal, as the event loop sees them: which are under way, and how much of them waits for the disk.

Which bodies are *referenced* the journal's table knows; the others are counted here, by link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path

from ...errors import Closed, Unavailable
from .bodyfiles import BodyFiles, body_path, check_key, read_body
from .bodywriter import BodyWriter, Chunk, Delete, Finish, Order
from .contract import BodyKey
from .diskerrors import DiskErrors
from .posting import poster
from .reader import Readers, bodies_of_link, names_bodies_of, names_body, session_of_body

__all__ = ["BodyStore"]

MAX_QUEUED_BYTES = 256 << 20
"""Chunks that may wait for the disk: four links with full windows."""


class BodyStore:
    """The bodies of a journal, seen from its event loop: queues what the thread does, and counts."""

    def __init__(
        self,
        root: Path,
        readers: Readers,
        loop: asyncio.AbstractEventLoop,
        disk_errors: DiskErrors,
        unreferenced: dict[str, dict[int, int]],
        died: Callable[[str, Exception], None],
        *,
        sync: bool,
    ) -> None:
        self._root = root
        self._readers = readers
        self._loop = loop
        self._unreferenced = unreferenced
        self._queued_bytes = 0
        self._closed = False
        self._thread = BodyWriter(BodyFiles(root, sync), poster(loop), disk_errors, self._settled, died)

    @property
    def queued_bytes(self) -> int:
        """Bytes written and not in their files yet."""
        return self._queued_bytes

    @property
    def max_queued_bytes(self) -> int:
        """What ``queued_bytes`` may reach."""
        return MAX_QUEUED_BYTES

    def write(self, key: BodyKey, offset: int, chunk: bytes | memoryview) -> asyncio.Future[int]:
        """Queue a chunk; see ``Bodies.write``."""
        self._check(key)
        if self._queued_bytes + len(chunk) > MAX_QUEUED_BYTES:
            raise Unavailable(
                f"chunks of {self._queued_bytes} bytes wait for the disk, {MAX_QUEUED_BYTES} may; send it later"
            )
        order = Chunk(key, offset, chunk, self._future())
        self._queued_bytes += len(chunk)
        self._unreferenced.setdefault(key.link_id, {}).setdefault(key.n, 0)
        self._thread.put(order)
        return order.done

    async def finish(self, key: BodyKey, length: int, sha256: str) -> None:
        """Check that a body is whole; see ``Bodies.finish``."""
        self._check(key)
        known = self._unreferenced.setdefault(key.link_id, {})
        if length == 0 and key.n not in known:
            # Such a body has no chunks; its file is made here.
            await self.write(key, 0, b"")
        order = Finish(key, length, sha256, keep=key.n not in known, done=self._future())
        self._thread.put(order)
        await order.done

    async def read(self, key: BodyKey, offset: int, n: int) -> bytes:
        """Read a part of a body; see ``Bodies.read``."""
        self._check(key)
        path = body_path(self._root, key)
        return await self._readers.run(lambda _: read_body(path, offset, n))

    async def session_of(self, key: BodyKey) -> int | None:
        """Return the session with an entry that names a body; see ``Bodies.session_of``."""
        self._check(key)
        return await self._readers.run(lambda connection: session_of_body(connection, key))

    async def names_any(self, link_id: str) -> bool:
        """Tell whether entries name a body of a link; see ``Bodies.names_any``."""
        return await self._readers.run(lambda connection: names_bodies_of(connection, link_id))

    def under_way(self, link_id: str) -> dict[int, int]:
        """Return the stored lengths of bodies that nothing names yet."""
        return dict(self._unreferenced.get(link_id, {}))

    async def discard(self, key: BodyKey) -> int:
        """Delete one that nothing will name; see ``Bodies.discard``."""
        self._check(key)
        if self._unreferenced.get(key.link_id, {}).pop(key.n, None) is None:
            return 0
        # It may have been sent again after its record was stored.
        if await self._readers.run(lambda connection: names_body(connection, key)):
            return 0
        if self._closed:
            raise Closed("the journal is closed")
        order = Delete([key], self._future())
        self._thread.put(order)
        # Shielded: the order is carried out all the same, and its future is the thread's to settle.
        return await asyncio.shield(order.done)

    async def delete_unreferenced(self, link_id: str) -> int:
        """Delete what nothing names; see ``Bodies.delete_unreferenced``."""
        numbers = self._unreferenced.pop(link_id, {})
        # A link may have sent more of a body that an entry names; that one stays.
        named = await self._readers.run(lambda connection: bodies_of_link(connection, link_id))
        if self._closed:
            raise Closed("the journal is closed")
        order = Delete([BodyKey(link_id, n) for n in numbers if n not in named], self._future())
        self._thread.put(order)
        return await asyncio.shield(order.done)

    def keep_only(self, link_ids: Collection[str]) -> None:
        """Delete what nothing names and is of no such link; see ``Bodies.keep_only``."""
        if self._closed:
            raise Closed("the journal is closed")
        others = [link_id for link_id in self._unreferenced if link_id not in link_ids]
        keys = [BodyKey(link_id, n) for link_id in others for n in self._unreferenced.pop(link_id)]
        if keys:
            self._thread.put(Delete(keys, self._future()))

    def referenced(self, key: BodyKey) -> None:
        """Note that a committed row names a body."""
        self._unreferenced.get(key.link_id, {}).pop(key.n, None)

    def dropped(self, key: BodyKey, length: int) -> None:
        """Note that a committed row has dropped a body: it is one under way, which may be sent again already."""
        self._unreferenced.setdefault(key.link_id, {}).setdefault(key.n, length)

    def shut(self) -> None:
        """Accept nothing more."""
        self._closed = True

    def stop(self) -> str:
        """End the thread when everything is written, and wait for it; return what could not be written."""
        return self._thread.stop()

    def _future(self) -> asyncio.Future[int]:
        future: asyncio.Future[int] = self._loop.create_future()
        # The caller may drop a chunk's future: it learns of the error by the finish.
        future.add_done_callback(_retrieve)
        return future

    def _check(self, key: BodyKey) -> None:
        if self._closed:
            raise Closed("the journal is closed")
        check_key(key)

    def _settled(self, order: Order, length: int | None) -> None:
        """Take in what became of an order: the body's length, or None where it was refused."""
        if isinstance(order, Delete):
            return
        known = self._unreferenced.get(order.key.link_id, {})
        if isinstance(order, Chunk):
            self._queued_bytes -= len(order.data)
            if length is not None and order.key.n in known:
                known[order.key.n] = length
        elif length is None:
            known.pop(order.key.n, None)


def _retrieve(future: asyncio.Future[int]) -> None:
    if not future.cancelled():
        future.exception()
