"""Where things are: the mainframe that a command talks to."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import Unavailable
from ..server.journal.datadir import default_data_dir, read_address, read_token

if TYPE_CHECKING:
    from ..client import Mainframe

__all__ = ["COMMAND_TIMEOUT", "Target", "reach"]

COMMAND_TIMEOUT = 5.0
"""Seconds that a command tries to reach a mainframe."""


@dataclass(frozen=True, slots=True)
class Target:
    """Which mainframe is meant, as far as the command line and the environment say."""

    url: str | None = None
    token: str | None = None
    data_dir: Path | None = None
    tls_ca: Path | None = None
    header: tuple[str, ...] = ()
    """Lines ``NAME: VALUE`` that go with the websocket's request, beside those of the environment."""

    @property
    def directory(self) -> Path:
        """The data directory of the mainframe that is served here."""
        return self.data_dir or default_data_dir() / "mainframe"

    def address(self) -> tuple[str, str | None]:
        """Return address and token: as told, or those of the mainframe that is served from the data directory.

        A directory's token is for its own mainframe: it isn't shown to any other machine.
        """
        from ..transport.addresses import addresses_of
        from ..transport.websocket import is_loopback

        served = read_address(self.directory)
        urls = [] if self.url is None else addresses_of(self.url)
        if self.url is None:
            if served is None:
                raise Unavailable(
                    f"no mainframe is served from {self.directory}; start one with 'asyncblock serve', or give --url "
                    "and --token"
                )
            return str(served["url"]), self.token or read_token(self.directory)
        own = self.data_dir is not None or all(is_loopback(urlsplit(each).hostname or "") for each in urls)
        if own or (served is not None and urls == [served.get("url")]):
            return self.url, self.token or read_token(self.directory)
        return self.url, self.token

    def headers(self) -> dict[str, str]:
        """Return the headers that proxies on the way ask for. Raises ``LocalProtocolError`` for a malformed one."""
        from ..transport.addresses import headers_of

        return headers_of(self.header)

    def tls(self) -> ssl.SSLContext | None:
        """Return how TLS is checked; None for the system's own certificates, or where there is no TLS."""
        url, _ = self.address()
        if self.tls_ca is None or "wss:" not in url:
            return None
        try:
            return ssl.create_default_context(cafile=str(self.tls_ca))
        except (OSError, ssl.SSLError) as error:
            raise Unavailable(f"can't read the certificates in {self.tls_ca}: {error}") from error


@asynccontextmanager
async def reach(target: Target) -> AsyncIterator[Mainframe]:
    """Connect to the mainframe for the duration of the block."""
    from ..client import connect

    url, token = target.address()
    headers = target.headers()
    async with connect(url, token, timeout=COMMAND_TIMEOUT, tls=target.tls(), headers=headers) as mainframe:
        yield mainframe
