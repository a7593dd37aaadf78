"""A connection to real servers whose acknowledgements get lost, or whose messages come late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncblock.server.jetstream.natsstore import NatsRefused, NatsStore, NatsUnsure, StoreMessage

__all__ = ["LossyStore"]


class LossyStore(NatsStore):
    """Loses what it is told to lose: an entry of ``faults`` for each commit from here on.

    ``ack``: it is stored, and nobody hears of it. ``late``: it is sent after whoever waited has gone on.
    ``between``: it is sent after the stream's end was looked for, and before anything is written there.
    """

    faults: list[str]
    waiting: list[tuple[list[StoreMessage], int]]
    late: list[int]
    """The codes by which late messages were refused; 0 for one that was stored."""

    @classmethod
    async def open(cls, servers: Sequence[str], **options: Any) -> LossyStore:
        """Connect."""
        store = await super().open(servers, **options)
        assert isinstance(store, LossyStore)
        store.faults, store.waiting, store.late = [], [], []
        return store

    async def append(self, messages: Sequence[StoreMessage], expected: int) -> int:
        """Append, or lose."""
        if not any("Ab-Commit" in message.headers for message in messages):
            seq = await super().append(messages, expected)
            await self._send_late("late")
            return seq
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "ack":
            await super().append(messages, expected)
        if fault:
            if fault != "ack":
                self.waiting.append((list(messages), expected))
                self.kind = fault
            raise NatsUnsure(f"lost on purpose: {fault}")
        return await super().append(messages, expected)

    async def last_seq(self, stream: str) -> int:
        """Return it as it was before what comes between."""
        last = await super().last_seq(stream)
        await self._send_late("between")
        return last

    async def _send_late(self, kind: str) -> None:
        if self.waiting and self.kind == kind:
            messages, expected = self.waiting.pop()
            try:
                await super().append(messages, expected)
                self.late.append(0)
            except NatsRefused as refused:
                self.late.append(refused.code)
