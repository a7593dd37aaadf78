"""The links of this process: its users of one address share one link, and so one websocket.

``open_link`` may be called on any event loop; the table of links belongs to the I/O thread.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
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

__all__ = ["open_link"]

_Key = tuple[Any, ...]
"""Address, token, TLS context and headers."""


@dataclass(slots=True, eq=False)
class _Held:
    """A link that is shared, and how many use it or wait for its first Welcome."""

    link: Link
    users: int = 0


@dataclass(slots=True, eq=False)
class _User:
    """Somebody who wants a link, and what it has got."""

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

    ``link_id``, its ``secret`` and ``replaces`` are given to a process by whoever started it. ``partition`` is which of
    a set's the link is to.
    """

    urls = addresses_of(url)
    check_headers(headers or {})
    more = {**headers_of(os.environ.get("ASYNCBLOCK_HEADERS", "")), **(headers or {})}
    if partition:
        more[PARTITION_HEADER] = str(partition)
    shown = shown_url(url)

    async def connect_one(one: str) -> Transport:
        agent = f"asyncblock/{installed_version()}"
        return await connect_websocket(one, token, max_message=MAX_MESSAGE, tls=tls, agent=agent, headers=more)

    dialler = Dialler(urls, connect_one)

    def make(io: IOThread) -> Link:
        learn = dialler.learn
        return Link(io, dialler.dial, shown, link_id=link_id, secret=secret, replaces=replaces, learn=learn)

    # Who trusts other authorities than those a link was made with doesn't get that link.
    key = (url, token, tls, *sorted(more.items()))
    async with shared().lease() as io:
        links = await io.run(_links_of(io))
        user = _User()
        try:
            link = await io.finish(links.join(key, lambda: make(io), user))
            await io.run(link.welcomed(timeout))
            yield link
        finally:
            # Cancelled or not: the thread ends with its last link only.
            await io.finish(links.leave(key, user))


async def _links_of(io: IOThread) -> _SharedLinks:
    # On the I/O thread, so that one process has one table for each thread.
    return _shared_links.setdefault(io, _SharedLinks())
