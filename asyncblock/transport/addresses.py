"""Addresses of mainframes and HTTP headers, as people give them: checked, and shown without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from ..errors import LocalProtocolError

__all__ = ["addresses_of", "check_headers", "headers_of", "shown_url", "split_address"]

_BETWEEN: Final = re.compile(r",\s*(?=[a-z]+://|$)")
"""The commas between addresses; one may have commas of its own."""

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""What RFC 9110 (5.6.2) calls a token."""

_OURS: Final = frozenset({"connection", "content-length", "host", "transfer-encoding", "upgrade"})
"""Headers that the websocket's own request has, beside all that begin with ``sec-websocket-``."""


def shown_url(url: str) -> str:
    """Return an address without user, password and query, which belong into no message and no log."""
    if len(several := [each for each in _BETWEEN.split(url) if each]) > 1:
        return ",".join(map(shown_url, several))
    place, query, _ = url.partition("?")
    before, at, rest = place.rpartition("@")
    if at:
        # Whatever stands in front of it, a '/' in a password included.
        scheme, slashes, _ = before.partition("//")
        place = scheme + slashes + rest if slashes else rest
    return place + ("?..." if query else "")


def addresses_of(text: str) -> list[str]:
    """Return the addresses in a text that commas part, those of the members of a set, checked as ``split_address``."""
    found = [each for each in _BETWEEN.split(text.strip()) if each] or [text]
    for each in found:
        split_address(each)
    return list(dict.fromkeys(found))


def split_address(url: str) -> SplitResult:
    """Check a mainframe's address and return its parts.

    Raises ``LocalProtocolError`` for what isn't one, and for one with a user or a password in it.
    """
    shown = shown_url(url)
    try:
        parts = urlsplit(url)
        named = (parts.hostname, parts.port)
    except ValueError as error:
        why = f": {error}" if "@" not in url else ""
        raise LocalProtocolError(f"{shown!r} is no mainframe address{why}; write ws://HOST:PORT") from None
    if "@" in parts.netloc or ("@" in url and not named[0]):
        raise LocalProtocolError(
            f"the address {shown!r} was given with a user or a password in it: a mainframe takes a token (--token), "
            "and what a proxy on the way asks for goes into a header of its own (--header NAME:VALUE)"
        )
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise LocalProtocolError(f"{shown!r} is no mainframe address; write ws://HOST:PORT or wss://HOST:PORT")
    return parts


def headers_of(lines: str | Iterable[str]) -> dict[str, str]:
    """Read ``NAME: VALUE`` lines. Raises ``LocalProtocolError`` for a line that isn't one, without its value."""
    headers: dict[str, str] = {}
    for line in filter(None, map(str.strip, lines.splitlines() if isinstance(lines, str) else lines)):
        name, colon, value = line.partition(":")
        if not colon:
            raise LocalProtocolError("a header is written NAME: VALUE, and one was given without a colon")
        headers[name.strip()] = value.strip()
    check_headers(headers)
    return headers


def check_headers(headers: Mapping[str, str]) -> None:
    """Check headers that go with the websocket's request. Raises ``LocalProtocolError``, without their values."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise LocalProtocolError(
                f"a header is written NAME: VALUE, in printable ASCII, and the one that begins {name[:40]!r} isn't"
            )
        if name.lower() in _OURS or name.lower().startswith("sec-websocket-"):
            raise LocalProtocolError(f"the header {name!r} is the websocket's own; give one that a proxy asks for")
        if name.lower() == "authorization":
            raise LocalProtocolError(
                "the header 'Authorization' has the mainframe's token (--token); a proxy that asks for a login of its "
                "own takes 'Proxy-Authorization', a cookie, or a header of its configuration"
            )
