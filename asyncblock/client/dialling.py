"""Dialling a mainframe that may be at one of several addresses: of a set one serves, and the others say where it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from ..errors import ConnectionLost, LocalProtocolError
from ..transport import Transport
from ..transport.addresses import split_address
from ..transport.upgrades import StandsBy
from ..transport.websocket import is_loopback

__all__ = ["Dialler"]

_EACH: Final = 3.0
"""Seconds for one of several addresses: the machine may be off, or its mainframe stopped."""

_MOST_OWNERS: Final = 2
"""Addresses that are followed in one attempt: more than one changed hands meanwhile, or they send us in a circle."""

_MOST_LEARNED: Final = 16
"""Addresses that a mainframe may name: each may take ``_EACH`` seconds."""


class Dialler:
    """Connects to the first address that serves, beginning with the one that did last."""

    def __init__(self, urls: Sequence[str], connect: Callable[[str], Awaitable[Transport]]) -> None:
        self._urls = list(urls)
        self._connect = connect
        self._last = ""
        """Where it connected last."""
        self._learned: list[str] = []

    def learn(self, addresses: Sequence[str]) -> None:
        """Take in where else the mainframe can be reached that it connected to last; tried behind those given."""
        right = [each for each in addresses[:_MOST_LEARNED] if self._last and _as_safe(self._last, each)]
        self._learned = [each for each in dict.fromkeys(right) if each not in self._urls]

    async def dial(self) -> Transport:
        """Try each address once. **Cancellation** leaves nothing open.

        Raises what the last one that could be reached has said, or else why the last one couldn't.
        """
        waiting = sorted([*self._urls, *self._learned], key=lambda url: url != self._last)
        tried: set[str] = set()
        followed = 0
        alone = len(waiting) == 1
        loss: ConnectionLost | None = None
        while waiting:
            url = waiting.pop(0)
            tried.add(url)
            try:
                transport = await self._try(url, None if alone and not followed else _EACH)
            except StandsBy as error:
                loss = error
                owner = error.owner
                if owner and owner not in tried and followed < _MOST_OWNERS and _as_safe(url, owner):
                    followed += 1
                    waiting = [owner, *(each for each in waiting if each != owner)]
            except ConnectionLost as error:
                loss = loss if isinstance(loss, StandsBy) else error
            else:
                self._last = url
                return transport
        assert loss is not None
        raise loss

    async def _try(self, url: str, seconds: float | None) -> Transport:
        try:
            async with asyncio.timeout(seconds):
                return await self._connect(url)
        except TimeoutError:
            raise ConnectionLost(f"no answer from {url} within {seconds:g} s") from None


def _as_safe(url: str, other: str) -> bool:
    """Tell whether the token may go to an address that was heard of at ``url``.

    Never in the clear where it was protected, and never to this machine by the word of another one: by "localhost" that
    one means itself.
    """
    here = split_address(url)
    try:
        there = split_address(other)
    except LocalProtocolError:
        return False
    clear = there.scheme == "ws" and here.scheme == "wss"
    own = is_loopback(there.hostname or "") and not is_loopback(here.hostname or "")
    return not clear and not own
