"""Listening for browsers, and ending in order."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import uvicorn

from ..errors import Unavailable
from .cursors import Followings
from .pagegate import Keys, PageGate
from .routes import page_app
from .sources import Sources

__all__ = ["PORT", "ServedPage", "serving"]

PORT: Final = 7790
"""The first port that is tried if none is given."""

_PORTS: Final = 50
_GRACE: Final = 2
"""Seconds that running requests have when the page ends."""


class _Server(uvicorn.Server):
    """Signals are the command's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, slots=True)
class ServedPage:
    """A page that is served."""

    url: str
    keys: Keys

    def way_in(self, session_id: str = "") -> str:
        """Return an address that lets one browser in, once; to a session or a group, if one is named."""
        to = f"&to={session_id}" if session_id else ""
        return f"{self.url}enter?key={self.keys.one_time()}{to}"


@asynccontextmanager
async def serving(
    sources: Sources,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
    allowed: Collection[str] = (),
) -> AsyncIterator[ServedPage]:
    """Serve the page for the duration of the block.

    ``port`` is a free one near 7790 where none is given. ``token`` is what the form for it takes; ``allowed`` are
    further values of the Host header, for proxies.
    **Cancellation** closes all connections; no session notices. Raises ``Unavailable`` when the port is taken.
    """
    listener = _listen(host, port)
    bound: int = listener.getsockname()[1]
    scheme = "http" if tls is None else "https"
    names = {"127.0.0.1", "localhost", "[::1]"} if _is_loopback(host) else {_in_url(host), "127.0.0.1", "localhost"}
    hosts = {f"{name}:{bound}" for name in names} | set(allowed)
    keys = Keys(token)
    followings = Followings(sources.open)
    # The cookie's name has the port: browsers send cookies to all ports of a host.
    cookie = f"asyncblock-{bound}-{secrets.token_hex(3)}"
    app = PageGate(page_app(sources, followings), keys, hosts, cookie=cookie, tls=tls is not None)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=1 << 16,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
        ssl_context_factory=None if tls is None else lambda config, default: tls,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        shown = "127.0.0.1" if host in ("0.0.0.0", "::", "localhost") else _in_url(host)
        yield ServedPage(f"{scheme}://{shown}:{bound}/", keys)
    finally:
        server.should_exit = True
        await followings.close()
        await asyncio.wait([task])
        listener.close()
    # What ended it, if that was an error.
    task.result()


def _is_loopback(host: str) -> bool:
    return host in ("127.0.0.1", "localhost", "::1")


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _listen(host: str, port: int | None) -> socket.socket:
    tried = [port] if port is not None else [*range(PORT, PORT + _PORTS), 0]
    problem = ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for each in tried:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, each))
            # Another page may have bound the port without listening on it yet.
            listener.listen(128)
        except OSError as error:
            listener.close()
            problem = error.strerror or str(error)
            continue
        listener.setblocking(False)
        return listener
    raise Unavailable(f"the page can't listen on {host}:{tried[0]}: {problem}; give another --port, or none")
