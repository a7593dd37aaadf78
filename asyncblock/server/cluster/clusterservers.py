"""Where a cluster's NATS servers are, as people give it: ``nats://USER:PASSWORD@A,B,C``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ...errors import LocalProtocolError
from ...transport.addresses import shown_url
from ...transport.websocket import is_loopback

__all__ = ["ClusterServers"]

_SCHEMES: Final = ("nats", "tls")
_PORT: Final = 4222


@dataclass(frozen=True, slots=True)
class ClusterServers:
    """The servers of a cluster, and who one is there. Get one with ``read``."""

    urls: tuple[str, ...]
    """Without user and password."""
    who: dict[str, Any] = field(default_factory=dict, repr=False)
    """What of them ``NatsStore.open`` takes."""

    @classmethod
    def read(cls, text: str) -> ClusterServers:
        """Read addresses that commas part; scheme, user and password of the first are those of all.

        Raises ``LocalProtocolError`` for what isn't that, without its password.
        """
        urls: list[str] = []
        who: dict[str, Any] = {}
        scheme = ""
        for each in filter(None, map(str.strip, text.split(","))):
            url = each if "://" in each else f"{scheme or 'nats'}://{each}"
            shown = shown_url(url)
            try:
                parts = urlsplit(url)
                host, port = parts.hostname, parts.port or _PORT
            except ValueError:
                raise LocalProtocolError(f"{shown!r} is no address of a NATS server; write nats://HOST:PORT") from None
            if parts.scheme not in _SCHEMES or not host or parts.path.strip("/") or parts.query:
                raise LocalProtocolError(
                    f"{shown!r} is no address of a NATS server; write nats://HOST:PORT, or tls://HOST:PORT"
                )
            found = _who(parts.username, parts.password)
            if urls and found and found != who:
                raise LocalProtocolError(f"{shown!r} has another user than the first server; give it there, for all")
            scheme, who = scheme or parts.scheme, who or found
            urls.append(f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        if not urls:
            raise LocalProtocolError("no NATS server was named; write nats://HOST:PORT,HOST:PORT,HOST:PORT")
        return cls(tuple(urls), who)

    def __str__(self) -> str:
        return ",".join(self.urls)

    @property
    def local(self) -> bool:
        """Tell whether all are on this machine."""
        return all(is_loopback(urlsplit(url).hostname or "") for url in self.urls)


def _who(user: str | None, password: str | None) -> dict[str, Any]:
    if user is None:
        return {}
    if password is None:
        return {"token": unquote(user)}
    return {"user": unquote(user), "password": unquote(password)}
