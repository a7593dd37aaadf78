"""Bodies in a stream: each has a subject, and its messages form a chain: each names the number of the one before it.

A *chunk* holds bytes and where they begin. A new owner adds a *claim* to each body that is under way, so that an
earlier owner can neither extend nor delete it any more. *Gone* ends a body. If the outcome of such a message is
unknown, it may be sent again: of two messages that expect the same number only one is stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from ...errors import AsyncBlockError, Closed, RemoteProtocolError, Unavailable
from ..journal.bodyfiles import check_key
from ..journal.contract import BodyKey
from ..journal.diskerrors import DiskErrors, back_off
from ..journal.posting import settle
from .commits import explain_refusal
from .natsstore import LONGEST_PAUSE, NatsRefused, NatsStore, NatsUnsure, StoredMessage, StoreMessage
from .streamindex import StreamIndex
from .streammessages import PIECE, PartitionNames

__all__ = ["BodyChains", "Chain"]

_MAX_QUEUED_BYTES: Final = 64 << 20
"""Chunks that may wait for the servers: a link's full window."""

_CLAIMS: Final = 10

_PART: Final = "Ab-Body"
"""``chunk OFFSET LENGTH``, ``claim`` or ``gone``."""
_OPENING: Final = BodyKey("-", 0)
"""No link's."""

_TERM: Final = "Ab-Term"
_ID: Final = "Ab-Id"


class _Refreshed(NatsUnsure):
    """An earlier owner has added to a chain; its messages have been taken in."""


@dataclass(slots=True, eq=False)
class Chain:
    """What is known of a body."""

    last: int = 0
    """The number of the subject's last message."""
    length: int = 0
    there: bool = False
    """It has a chunk, and isn't gone."""
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    seqs: array[int] = field(default_factory=lambda: array("Q"))
    digest: Any = None
    """The hash of all bytes of the body; None if an earlier owner wrote some of them."""
    doomed: bool = False
    """Its deletion is queued."""

    def take(self, message: StoredMessage) -> None:
        """Take in the next message of the subject."""
        self.last = message.seq
        kind, *place = message.headers.get(_PART, "claim").split()
        if kind == "gone":
            self._empty()
        elif kind == "chunk":
            offset, length = map(int, place)
            self.there = True
            self.offsets.append(offset)
            self.seqs.append(message.seq)
            self.length = offset + length

    def _empty(self) -> None:
        self.length, self.there, self.digest, self.doomed = 0, False, None, False
        self.offsets, self.seqs = array("Q"), array("Q")


@dataclass(slots=True, eq=False)
class _Order:
    """Something to do with some bodies, one after the other."""

    act: Callable[[], Any]
    done: asyncio.Future[int]
    size: int = 0


class _Orders:
    """Does things with bodies, in a task, in the order of the calls; tries again while the servers don't answer."""

    def __init__(self, names: PartitionNames, disk_errors: DiskErrors, died: Callable[[str, Exception], None]) -> None:
        self.queued_bytes = 0
        self._names = names
        self._disk_errors = disk_errors
        self._died = died
        self._orders: deque[_Order] = deque()
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="asyncblock-bodies")

    def put(self, act: Callable[[], Any], size: int = 0) -> asyncio.Future[int]:
        """Queue one. Never waits."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # The caller may drop a chunk's future: it learns of the error by the finish.
        done.add_done_callback(_retrieve)
        self.queued_bytes += size
        self._orders.append(_Order(act, done, size))
        self._wake.set()
        return done

    async def stop(self) -> str:
        """Do what is queued, or try once more if there is trouble; say what was not done."""
        self._stop.set()
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        left, self._orders = self._orders, deque()
        for order in left:
            settle(order.done, Closed("the journal was closed before the body could be written"))
        return f"{len(left)} parts of bodies ({sum(order.size for order in left)} bytes)" if left else ""

    async def _run(self) -> None:
        try:
            while True:
                while not self._orders:
                    if self._stop.is_set():
                        return
                    self._wake.clear()
                    await self._wake.wait()
                if not await self._carry_out(self._orders[0]):
                    return
                self.queued_bytes -= self._orders.popleft().size
        except Exception as error:
            # A defect of ours; the task is over, and it mustn't look as if all were well.
            self._died("the task that writes bodies", error)

    async def _carry_out(self, order: _Order) -> bool:
        """Do it, however often the servers refuse; False when the journal closes and it can't be done."""
        troubled = False
        for pause in back_off(LONGEST_PAUSE):
            stopping = self._stop.is_set()
            try:
                settle(order.done, await order.act())
                break
            except AsyncBlockError as refusal:
                settle(order.done, refusal)
                break
            except (NatsUnsure, NatsRefused) as error:
                if not troubled:
                    troubled = True
                    self._disk_errors.enter("bodies", explain_refusal(error, self._names))
                if stopping:
                    return False
                try:
                    await asyncio.wait_for(self._stop.wait(), pause)
                except TimeoutError:
                    pass
        if troubled:
            self._disk_errors.leave("bodies")
        return True


class BodyChains:
    """The bodies of a ``JetStreamJournal``. The ``Bodies`` Protocol is their contract."""

    def __init__(
        self,
        store: NatsStore,
        names: PartitionNames,
        index: StreamIndex,
        disk_errors: DiskErrors,
        died: Callable[[str, Exception], None],
    ) -> None:
        self._store = store
        self._names = names
        self._index = index
        self._term = 0
        self._chains: dict[str, dict[int, Chain]] = {}
        self._orders = _Orders(names, disk_errors, died)
        self._closed = False

    async def open(self, term: int) -> None:
        """Read what is there, claim what is under way, and begin. ``term`` is the owner's.

        **Cancellation** leaves it as it was for an owner to come.
        """
        self._term = term
        # A number that is certainly higher than all that earlier owners have seen.
        end = await self._store.put(self._message(_OPENING, "claim"))
        subject = self._names.body("*", "*")
        async for message in self._store.read(self._names.bodies, [subject], end, headers_only=True):
            self._chain(self._key_of(message)).take(message)
        await self._store.purge(self._names.bodies, self._names.body(*_OPENING), end + 1)
        self._chains.pop(_OPENING.link_id, None)
        for link_id, chains in [*self._chains.items()]:
            for n, chain in [*chains.items()]:
                key = BodyKey(link_id, n)
                if not chain.there:
                    await self._store.purge(self._names.bodies, self._names.body(*key), chain.last + 1)
                    self._drop(key)
                elif key not in self._index.body_rows:
                    await self._claim(key, chain)
        self._orders.start()

    async def _claim(self, key: BodyKey, chain: Chain) -> None:
        """Keep an earlier owner from a body even if it is adding to it: each of its chunks costs one of our tries."""
        for left in reversed(range(_CLAIMS)):
            try:
                return await self._extend(key, chain, "claim")
            except NatsUnsure:
                if not left:
                    raise

    # ------------------------------------------------------------------ the contract

    @property
    def queued_bytes(self) -> int:
        """Bytes written and not stored yet."""
        return self._orders.queued_bytes

    @property
    def max_queued_bytes(self) -> int:
        """What ``queued_bytes`` may reach."""
        return _MAX_QUEUED_BYTES

    def write(self, key: BodyKey, offset: int, chunk: bytes | memoryview) -> asyncio.Future[int]:
        """Queue a chunk; see ``Bodies.write``."""
        self._check(key)
        if self._orders.queued_bytes + len(chunk) > _MAX_QUEUED_BYTES:
            raise Unavailable(
                f"chunks of {self._orders.queued_bytes} bytes wait, {_MAX_QUEUED_BYTES} may; send it later"
            )
        data = bytes(chunk)
        return self._orders.put(lambda: self._append(key, offset, data), len(data))

    async def finish(self, key: BodyKey, length: int, sha256: str) -> None:
        """Check that a body is whole; see ``Bodies.finish``."""
        self._check(key)
        await self._orders.put(lambda: self._finish(key, length, sha256))

    async def read(self, key: BodyKey, offset: int, n: int) -> bytes:
        """Read a part of a body; see ``Bodies.read``."""
        self._check(key)
        chain = self._known(key)
        if chain is None:
            raise Unavailable(f"there is no body {key.link_id}-{key.n}")
        parts: list[bytes] = []
        place = bisect_right(chain.offsets, offset) - 1
        while n > 0 and offset < chain.length and place < len(chain.seqs):
            start = chain.offsets[place]
            data = await self._chunk(key, chain.seqs[place])
            part = data[offset - start : offset - start + n]
            parts.append(part)
            offset += len(part)
            n -= len(part)
            place += 1
        return b"".join(parts)

    async def session_of(self, key: BodyKey) -> int | None:
        """Return the session with an entry that names a body; see ``Bodies.session_of``."""
        self._check(key)
        row = self._index.body_rows.get(key)
        return None if row is None else row.session_no

    async def names_any(self, link_id: str) -> bool:
        """Tell whether entries name a body of a link; see ``Bodies.names_any``."""
        self.check_open()
        return any(key.link_id == link_id for key in self._index.body_rows)

    def under_way(self, link_id: str) -> dict[int, int]:
        """Return the stored lengths of bodies that nothing names yet."""
        return {key.n: chain.length for key, chain in self._unreferenced(link_id)}

    async def discard(self, key: BodyKey) -> int:
        """Delete one that nothing will name; see ``Bodies.discard``."""
        self._check(key)
        if key in self._index.body_rows:
            return 0
        return await asyncio.shield(self._delete([key]))

    async def delete_unreferenced(self, link_id: str) -> int:
        """Delete what nothing names; see ``Bodies.delete_unreferenced``."""
        self.check_open()
        return await asyncio.shield(self._delete([key for key, _ in self._unreferenced(link_id)]))

    def keep_only(self, link_ids: Collection[str]) -> None:
        """Delete what nothing names and is of no such link; see ``Bodies.keep_only``."""
        self.check_open()
        others = [link_id for link_id in self._chains if link_id not in link_ids]
        keys = [key for link_id in others for key, _ in self._unreferenced(link_id)]
        if keys:
            # The deletion isn't awaited: these bodies count as gone already.
            _ = self._delete(keys)

    def delete_pruned(self, keys: Iterable[BodyKey]) -> asyncio.Future[int]:
        """Queue the deletion of the bodies of a deleted session."""
        return self._delete([*keys])

    def check_open(self) -> None:
        """Raise ``Closed`` after the end."""
        if self._closed:
            raise Closed("the journal is closed")

    def shut(self) -> None:
        """Accept nothing more."""
        self._closed = True

    async def stop(self) -> str:
        """Do what is queued, or try once more if there is trouble; say what was not done."""
        return await self._orders.stop()

    # ------------------------------------------------------------------ the orders

    async def _append(self, key: BodyKey, offset: int, data: bytes) -> int:
        chain = self._chain(key)
        while True:
            if offset > chain.length:
                raise RemoteProtocolError(
                    f"a chunk of body {key.link_id}-{key.n} begins at {offset}; "
                    f"only {chain.length} bytes came before it"
                )
            if chain.there and offset + len(data) <= chain.length:
                return chain.length
            part = data[chain.length - offset :][:PIECE]
            if not chain.there:
                chain.digest = hashlib.sha256()
            # An earlier owner has added chunks of the same sender, so the sender goes on behind these.
            with suppress(_Refreshed):
                await self._extend(key, chain, f"chunk {chain.length} {len(part)}", part)

    async def _finish(self, key: BodyKey, length: int, sha256: str) -> int:
        chain = self._known(key)
        if chain is None and length == 0:
            await self._append(key, 0, b"")
            chain = self._known(key)
        if chain is None:
            raise RemoteProtocolError(f"no chunk of body {key.link_id}-{key.n} came before its record")
        if chain.length != length or await self._sum(key, chain) != sha256:
            stored = chain.length
            if key not in self._index.body_rows:
                await self._delete_now([key], {})
            raise RemoteProtocolError(
                f"body {key.link_id}-{key.n} came with {stored} bytes; its record says {length}, or has another sha256"
            )
        return length

    async def _sum(self, key: BodyKey, chain: Chain) -> str:
        if chain.digest is None:
            digest = hashlib.sha256()
            for seq in [*chain.seqs]:
                digest.update(await self._chunk(key, seq))
            chain.digest = digest
        return str(chain.digest.hexdigest())

    def _delete(self, keys: list[BodyKey]) -> asyncio.Future[int]:
        for key in keys:
            # Gone for readers at once.
            if (chain := self._known(key)) is not None:
                chain.doomed = True
        sizes: dict[BodyKey, int] = {}
        return self._orders.put(lambda: self._delete_now(keys, sizes))

    async def _delete_now(self, keys: list[BodyKey], sizes: dict[BodyKey, int]) -> int:
        """Delete bodies; return their bytes, those of an earlier attempt, noted in ``sizes``, too."""
        for key in keys:
            chain = self._chains.get(key.link_id, {}).get(key.n)
            if chain is None:
                continue
            while chain.there:
                sizes[key] = chain.length
                with suppress(_Refreshed):
                    await self._extend(key, chain, "gone")
            await self._store.purge(self._names.bodies, self._names.body(*key), chain.last + 1)
            self._drop(key)
        return sum(sizes.values())

    async def _extend(self, key: BodyKey, chain: Chain, part: str, data: bytes = b"") -> None:
        """Add a message to a chain. If an earlier owner has added others, take these in and raise ``_Refreshed``."""
        message = self._message(key, part, data)
        while True:
            try:
                seq = await self._store.append_to_subject(message, chain.last)
            except NatsRefused as refused:
                if not refused.overtaken:
                    raise
                found = await self._store.get(self._names.bodies, last_by_subj=message.subject)
                if found is None or found.seq <= chain.last:
                    # Another message of the subject is under way, or the leader is a new one.
                    raise NatsUnsure(str(refused)) from refused
                if found.headers.get(_ID) != message.headers[_ID]:
                    await self._refresh(key, chain, found)
                    raise _Refreshed(f"body {key.link_id}-{key.n} was written by an earlier owner as well") from refused
                seq = found.seq
            break
        chain.take(StoredMessage(seq, message.subject, message.headers, b""))
        if chain.digest is not None:
            chain.digest.update(data)

    async def _refresh(self, key: BodyKey, chain: Chain, last: StoredMessage) -> None:
        """Take in what an earlier owner has added. Raises ``Unavailable`` when it is a later one."""
        if int(last.headers.get(_TERM, "0")) > self._term:
            raise Unavailable(f"body {key.link_id}-{key.n} belongs to a later owner of the partition")
        chain.digest = None
        while chain.last < last.seq:
            found = await self._store.get(self._names.bodies, seq=chain.last + 1, next_by_subj=last.subject)
            if found is None:
                raise NatsUnsure(f"message {last.seq} isn't there yet")
            chain.take(found)

    async def _chunk(self, key: BodyKey, seq: int) -> bytes:
        for pause in back_off(LONGEST_PAUSE):
            try:
                found = await self._store.get(self._names.bodies, seq=seq)
            except (NatsUnsure, NatsRefused):
                found = None
            if found is not None:
                return found.data
            if (chain := self._known(key)) is None or seq not in chain.seqs:
                break
            self.check_open()
            # It was stored, so the leader is a new one that hasn't caught up, or there is none.
            await asyncio.sleep(pause)
        raise Unavailable(f"there is no body {key.link_id}-{key.n}")

    # ------------------------------------------------------------------ what is known

    def _check(self, key: BodyKey) -> None:
        self.check_open()
        check_key(key)

    def _message(self, key: BodyKey, part: str, data: bytes = b"") -> StoreMessage:
        headers = {_PART: part, _TERM: str(self._term), _ID: secrets.token_hex(8)}
        return StoreMessage(self._names.body(*key), data, headers)

    def _key_of(self, message: StoredMessage) -> BodyKey:
        link_id, n = message.subject.rsplit(".", 2)[1:]
        return BodyKey(link_id, int(n))

    def _chain(self, key: BodyKey) -> Chain:
        return self._chains.setdefault(key.link_id, {}).setdefault(key.n, Chain())

    def _known(self, key: BodyKey) -> Chain | None:
        chain = self._chains.get(key.link_id, {}).get(key.n)
        return chain if chain is not None and chain.there and not chain.doomed else None

    def _drop(self, key: BodyKey) -> None:
        chains = self._chains.get(key.link_id, {})
        chains.pop(key.n, None)
        if not chains:
            self._chains.pop(key.link_id, None)

    def _unreferenced(self, link_id: str) -> list[tuple[BodyKey, Chain]]:
        return [
            (key, chain)
            for key, chain in ((BodyKey(link_id, n), chain) for n, chain in self._chains.get(link_id, {}).items())
            if chain.there and not chain.doomed and key not in self._index.body_rows
        ]


def _retrieve(future: asyncio.Future[int]) -> None:
    if not future.cancelled():
        future.exception()
