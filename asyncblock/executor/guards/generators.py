"""Asynchronous generators of blocks: in whose context each began, so that it ends there, whoever collects it."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import AsyncGenerator
from typing import Any

from ..attribution.tasks import owner

__all__ = ["Generators"]

AsyncGen = AsyncGenerator[Any, Any]


# A subclass, since the collector hands a callback nothing but the reference: the context has to hang on that.
class _Begun(weakref.ref[AsyncGen]):
    """Refers to a generator that has begun, and knows where."""

    __slots__ = ("context", "key")
    context: contextvars.Context
    key: int


class Generators:
    """The generators that blocks have begun on a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._begun: set[_Begun] = set()
        self._gone: list[_Begun] = []
        """Those that are being freed: their hook comes right after the weak references are cleared."""

    def begins(self, agen: AsyncGen) -> None:
        """Take note of a generator that begins here."""
        if owner() is not None:
            begun = _Begun(agen, self._is_freed)
            begun.context, begun.key = contextvars.copy_context(), id(agen)
            self._begun.add(begun)

    def _is_freed(self, begun: weakref.ref[AsyncGen]) -> None:
        assert isinstance(begun, _Begun)
        self._begun.discard(begun)
        if not self._gone:
            try:
                self._loop.call_soon_threadsafe(self._gone.clear)
            except RuntimeError:
                return  # the loop is closed
        self._gone.append(begun)

    def ends(self, agen: AsyncGen) -> contextvars.Context | None:
        """Return the context that a generator began in which is freed now; None for ours."""
        return next((each.context for each in reversed(self._gone) if each.key == id(agen)), None)

    async def close_those_of(self, who: object) -> None:
        """Close an owner's generators that haven't ended."""
        mine = [agen for each in list(self._begun) if owner(each.context) is who and (agen := each()) is not None]
        await asyncio.gather(*(agen.aclose() for agen in mine), return_exceptions=True)
