"""Who may write to a partition's stream. Each append names the number that it must follow. A new owner begins with a
batch that is longer than what an earlier owner can have in flight, so that none of those appends fits any more.

An append with an unknown outcome isn't sent again. First the owner appends such a batch of its own: from then on the
lost append is either in the stream, in front of the batch, or will never be. The owner reads the stream up to the batch
to find out which, and continues from there.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import orjson

from ...errors import Unavailable
from .natsstore import MAX_BATCH, NatsRefused, NatsStore, NatsUnsure, StoredMessage, StoreMessage
from .streammessages import COMMIT, END, PartitionNames

__all__ = ["PADDING", "Fence", "Overtaken"]

PADDING: Final = 8
"""Messages of a takeover. An earlier owner has fewer appends in flight, so none of them finds the number it expects."""

_MAX_BATCH_BYTES: Final = 4 << 20
_ATTEMPTS: Final = 20


class Overtaken(Unavailable):
    """Another owner, ``owner``, has the partition: nothing more can be stored from here."""

    def __init__(self, words: str, owner: str) -> None:
        self.owner = owner
        super().__init__(words)


class Fence:
    """The right to append to a partition's stream: ``take_over`` gains it, and the next owner's takeover ends it."""

    def __init__(self, store: NatsStore, names: PartitionNames, owner: str) -> None:
        self._store = store
        self._names = names
        self._owner = owner
        self._instance = secrets.token_hex(8)
        self.epoch = ""
        self.term = 0
        """The number of the last message of our own batch."""
        self.last = 0
        """The number of the stream's last message, as far as the outcomes of our appends are known."""
        self.on_taken: Callable[[int], None] = lambda _: None
        """Told of the term of a takeover at once."""
        self.found: dict[str, Any] | None = None
        """The last announcement of the owner before; None when there was none."""

    async def take_over(self, epoch: str = "", instead_of: str | None = None) -> None:
        """Become the owner. Raises ``Unavailable`` when other owners keep getting in between, or the stream is cut.

        ``instead_of`` is the owner to replace, and empty for a partition without one. If the partition has another
        owner, that one stays, and ``Overtaken`` names it.

        **Durability**: no append of an earlier owner is stored any more when it returns.
        **Cancellation** leaves it unknown who owns the partition.
        """
        error: Exception = Unavailable("others write to it at the same time")
        for _ in range(_ATTEMPTS):
            try:
                last = await self._store.last_seq(self._names.stream)
                said = await self._store.get(self._names.stream, last_by_subj=self._names.own)
                if said is None and last > 0:
                    error = Unavailable("it has numbers and no owner: it was purged, or it is something else's")
                    continue
                if said is not None and (found := orjson.loads(said.data))["instance"] != self._instance:
                    if instead_of not in (None, found["owner"]):
                        raise self._overtaken_by(found)
                    self.found = found
                self.epoch = self.found["epoch"] if self.found else self.epoch or epoch or secrets.token_hex(8)
                await self._own(last)
            except (NatsRefused, NatsUnsure) as refused:
                error = refused
            else:
                self.on_taken(self.term)
                return
        raise Unavailable(f"stream {self._names.stream} can't be taken over: {error}") from error

    async def append(self, messages: Sequence[StoreMessage]) -> list[StoredMessage]:
        """Append a commit; return it as it is stored. Raises ``NatsRefused`` or ``NatsUnsure``.

        **Cancellation** leaves the outcome unknown.
        """
        # ``last`` grows by whole commits: ``resolve`` looks for a commit from where it begins.
        last = self.last
        for part in _batches(messages):
            last = await self._store.append(part, last)
        self.last = last
        first = self.last - len(messages) + 1
        return [StoredMessage(seq, each.subject, each.headers, each.data) for seq, each in enumerate(messages, first)]

    async def resolve(self, commit: str) -> list[StoredMessage] | None:
        """Find out what became of a commit: return it as it is stored, or None when it never will be.

        Raises ``Overtaken`` when somebody else has taken over, ``NatsRefused`` or ``NatsUnsure`` when it can't be known
        yet; ask again. **Cancellation** is safe.
        """
        stream = self._names.stream
        self._check_owner([message async for message in self._tail(None)])
        await self._own_behind(await self._store.last_seq(stream))
        tail = [message async for message in self._tail(self.term)]
        # An owner that took over between the look and the batch is fenced by it, but may have stored much before.
        self._check_owner(tail)
        self.last = self.term
        found = [message for message in tail if message.headers.get(COMMIT) == commit]
        return found if found and END in found[-1].headers else None

    async def say_closed(self) -> None:
        """Say that all that was written is stored. Raises ``NatsRefused`` or ``NatsUnsure``."""
        self.last = await self._store.append([self._own_message(clean=True)], self.last)

    async def _own(self, last: int) -> None:
        self.term = self.last = await self._store.append([self._own_message()] * PADDING, last)

    async def _own_behind(self, last: int) -> None:
        # Here ``last`` stays: what follows it is read later.
        self.term = await self._store.append([self._own_message()] * PADDING, last)

    async def _tail(self, upto: int | None) -> AsyncIterator[StoredMessage]:
        """Yield the messages behind ``last``, from the leader: up to a number that is there, or as far as they go."""
        after = self.last
        while upto is None or after < upto:
            message = await self._store.get(self._names.stream, seq=after + 1, next_by_subj=">")
            if message is None:
                if upto is None:
                    return
                # A new leader that hasn't caught up with its own log.
                raise NatsUnsure(f"message {upto} isn't there yet")
            yield message
            after = message.seq

    def _check_owner(self, messages: Sequence[StoredMessage]) -> None:
        for message in messages:
            if message.subject == self._names.own:
                said = orjson.loads(message.data)
                if said["instance"] != self._instance:
                    raise self._overtaken_by(said)

    def _overtaken_by(self, said: dict[str, Any]) -> Overtaken:
        where = f"partition {self._names.partition} of set {self._names.set_name}"
        return Overtaken(f"{said['owner']} has taken over {where}", said["owner"])

    def _own_message(self, *, clean: bool = False) -> StoreMessage:
        said = {"epoch": self.epoch, "owner": self._owner, "instance": self._instance, "clean": clean}
        return StoreMessage(self._names.own, orjson.dumps(said))


def _batches(messages: Sequence[StoreMessage]) -> list[list[StoreMessage]]:
    batches: list[list[StoreMessage]] = [[]]
    size = 0
    for message in messages:
        size += len(message.data)
        if batches[-1] and (size > _MAX_BATCH_BYTES or len(batches[-1]) >= MAX_BATCH):
            batches.append([])
            size = len(message.data)
        batches[-1].append(message)
    return batches
