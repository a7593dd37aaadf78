"""The links of this process: its users of one address share one link, and so one websocket.

``open_link`` may be called on any event loop; the table of links belongs to the I/O thread.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from .._version import installed_version
from ..link import FIRST_TIMEOUT, Link
from ..runtime.iothread import IOThread, shared
from ..transport import Transport
from ..transport.addresses import addresses_of, check_headers, headers_of, shown_url
from ..transport.upgrades import PARTITION_HEADER
from ..transport.websocket import connect_websocket
from ..wire.frames import MAX_MESSAGE
from .dialling import Dialler
from .setlinks import SetLinks

__all__ = ["open_link", "open_links"]

_Key = tuple[Any, ...]
"""Address, token, TLS context and headers."""


@dataclass(slots=True, eq=False)
class _Held:
    """A link that is shared, and how many use it or wait for its first Welcome."""

    link: Link
    users: int = 0


@dataclass(slots=True, eq=False)
class _User:
    """A caller that wants a link, and what it has got."""

    link: Link | None = None


class _SharedLinks:
    """The links of this process by address, token, TLS context and headers. On the I/O thread.

    Nobody waits for another's address here, and on one address each waits as long as it wants to.
    """

    def __init__(self) -> None:
        self._links: dict[_Key, _Held] = {}

    async def join(self, key: _Key, make: Callable[[], Link], user: _User) -> Link:
        """Return the link for a key, begun if need be, with one more user. ``leave`` it, whether or not this ended."""
        held = self._links.get(key)
        if held is None or held.link.over:
            held = self._links[key] = _Held(make())
            held.link.begin()
        held.users += 1
        user.link = held.link
        return held.link

    async def leave(self, key: _Key, user: _User) -> None:
        """Take a user away, if it has joined; the last one closes the link."""
        link, held = user.link, self._links.get(key)
        if link is None or held is None or held.link is not link:
            # Another one stands there, for this link had ended before its users left.
            return
        held.users -= 1
        if held.users == 0:
            del self._links[key]
            await link.close()


_shared_links: dict[IOThread, _SharedLinks] = {}


@asynccontextmanager
async def open_link(
    url: str,
    token: str | None,
    *,
    timeout: float | None = FIRST_TIMEOUT,
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
    link_id: str | None = None,
    secret: str | None = None,
    replaces: dict[str, Any] | None = None,
    partition: int = 0,
) -> AsyncIterator[Link]:
    """Share this process's link to ``url``, which may be several that commas part; the last user closes it.

    ``link_id``, its ``secret`` and ``replaces`` are given to a process by whoever started it; of a set, the
    ``partition``, too.
    """
    way = _Way(url, token, tls, headers, link_id, secret, replaces)
    async with shared().lease() as io, way.joined(io, partition) as link:
        await io.run(link.welcomed(timeout))
        yield link


@asynccontextmanager
async def open_links(
    url: str,
    token: str | None,
    *,
    timeout: float | None = FIRST_TIMEOUT,
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
    link_id: str | None = None,
    secret: str | None = None,
    replaces: dict[str, Any] | None = None,
) -> AsyncIterator[SetLinks]:
    """Share this process's links to all partitions of the set at ``url``, or the only one to a mainframe.

    ``link_id``, its ``secret`` and ``replaces``, as in ``open_link``, are the same for all of them.
    """
    until = None if timeout is None else time.monotonic() + timeout
    way = _Way(url, token, tls, headers, link_id, secret, replaces)
    async with AsyncExitStack() as stack:
        io = await stack.enter_async_context(shared().lease())
        links = [await stack.enter_async_context(way.joined(io))]
        await io.run(links[0].welcomed(timeout))
        others = range(1, links[0].partitions)
        links += [await stack.enter_async_context(way.joined(io, partition)) for partition in others]
        # All of them are being connected by now.
        for link in links[1:]:
            await io.run(link.welcomed(None if until is None else max(until - time.monotonic(), 0.0)))
        yield SetLinks(links)


class _Way:
    """How a mainframe, or a set, is reached, and as whom."""

    def __init__(
        self,
        url: str,
        token: str | None,
        tls: ssl.SSLContext | None,
        headers: Mapping[str, str] | None,
        link_id: str | None = None,
        secret: str | None = None,
        replaces: dict[str, Any] | None = None,
    ) -> None:
        self._url = url
        self._urls = addresses_of(url)
        self._token = token
        self._tls = tls
        check_headers(headers or {})
        self._headers = {**headers_of(os.environ.get("ASYNCBLOCK_HEADERS", "")), **(headers or {})}
        self._who: dict[str, Any] = {"link_id": link_id, "secret": secret, "replaces": replaces}

    @asynccontextmanager
    async def joined(self, io: IOThread, partition: int = 0) -> AsyncIterator[Link]:
        """Use the link to a partition, which may still be without its first Welcome."""
        headers = {**self._headers, PARTITION_HEADER: str(partition)} if partition else self._headers
        # Who trusts other authorities than those a link was made with doesn't get that link.
        key = (self._url, self._token, self._tls, *sorted(headers.items()))
        links = await io.run(_links_of(io))
        user = _User()
        try:
            yield await io.finish(links.join(key, lambda: self._make(io, partition, headers), user))
        finally:
            # Cancelled or not: the thread ends with its last link only.
            await io.finish(links.leave(key, user))

    def _make(self, io: IOThread, partition: int, headers: Mapping[str, str]) -> Link:
        async def connect_one(one: str) -> Transport:
            agent = f"asyncblock/{installed_version()}"
            return await connect_websocket(
                one, self._token, max_message=MAX_MESSAGE, tls=self._tls, agent=agent, headers=headers
            )

        dialler = Dialler(self._urls, connect_one)
        shown = shown_url(self._url) + (f" (partition {partition})" if partition else "")
        return Link(io, dialler.dial, shown, learn=dialler.learn, **self._who)


async def _links_of(io: IOThread) -> _SharedLinks:
    # On the I/O thread, so that one process has one table for each thread.
    return _shared_links.setdefault(io, _SharedLinks())
