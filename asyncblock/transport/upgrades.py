"""HTTP answers to a websocket upgrade: whose word they are, and what a caller is told of them.

Between a peer and the mainframe there may be proxies, and these answer too: while they reload, when what is behind them
is away, when they want a login of their own. Only the mainframe's own word is final. Its answers carry a header that
no proxy makes up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin, urlsplit, urlunsplit

from ..errors import AsyncBlockError, ConnectionLost, LocalProtocolError, Rejected, RemoteProtocolError, Unauthorized
from .addresses import shown_url, split_address

__all__ = [
    "NO_UPGRADE",
    "OWNER_HEADER",
    "OWN_HEADER",
    "PARTITION_HEADER",
    "Answer",
    "StandsBy",
    "mark",
    "owner_of",
    "redirect_of",
    "refusal",
]

OWN_HEADER: Final = "Asyncblock-Mainframe"
"""In each answer of a mainframe; its value is the subprotocol that it speaks."""

OWNER_HEADER: Final = "Asyncblock-Owner"
"""In the answer of a mainframe that stands by: where the one is that serves; empty when it doesn't know."""

PARTITION_HEADER: Final = "Asyncblock-Partition"
"""In a request: which partition of a set it is for, 0 without it."""

_DROPPED: Final = (
    "a proxy on the way has dropped 'Upgrade: websocket'. Let it pass Upgrade and Connection (nginx: "
    'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade")'
)

NO_UPGRADE: Final = f"the request has a websocket's key and no upgrade: {_DROPPED}"

_MAX_TEXT = 200
"""Characters of an answer's text that are told."""

_PASSING = frozenset({401, 403, 407, 408, 425, 429, 500, 502, 503, 504})
"""What proxies answer while something is in their way, a login of theirs included: worth another try."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as it came; the names of its headers in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StandsBy(ConnectionLost):
    """The mainframe stands by for another one, which is at ``owner`` as far as it knows."""

    def __init__(self, words: str, owner: str) -> None:
        self.owner = owner
        super().__init__(words)


def mark(headers: MutableMapping[str, str], subprotocol: str) -> None:
    """Say in an answer's headers that the mainframe itself has made it."""
    # Headers of websockets take a name twice.
    if OWN_HEADER not in headers:
        headers[OWN_HEADER] = subprotocol


def redirect_of(url: str, answer: Answer) -> str | None:
    """Return where an answer redirects to, as a websocket's address; None unless that is the same host and port."""
    location = answer.headers.get("Location")
    if answer.status not in (301, 302, 303, 307, 308) or location is None:
        return None
    target = urlsplit(urljoin(url, location))
    scheme = {"http": "ws", "https": "wss"}.get(target.scheme, target.scheme)
    here = urlsplit(url)
    if (scheme, target.hostname, target.port) != (here.scheme, here.hostname, here.port):
        return None
    return urlunsplit(target._replace(scheme=scheme))


def owner_of(headers: Mapping[str, str]) -> str:
    """Return the address of the mainframe that serves, as one that stands by has told it; empty for none."""
    owner = headers.get(OWNER_HEADER, "")
    try:
        split_address(owner)
    except LocalProtocolError:
        return ""
    return owner


def refusal(url: str, answer: Answer, subprotocol: str) -> AsyncBlockError:
    """Return the error that an answer other than the upgrade means."""
    url, status, text = shown_url(url), answer.status, _text(answer)
    if status == 400 and "subprotocol" in text:
        # A websocket server's own word, whoever serves with it.
        return RemoteProtocolError(f"the server at {url} speaks another version than {subprotocol}: {text}")
    if not _is_own(answer.headers):
        return _of_a_proxy(url, status, text)
    if status in (401, 403):
        return Unauthorized(f"the mainframe at {url} refused the token: {text}", code="token")
    if status == 503 and OWNER_HEADER in answer.headers:
        return StandsBy(f"the mainframe at {url} isn't the one that serves now: {text}", owner_of(answer.headers))
    if status in (429, 503):
        return ConnectionLost(f"the mainframe at {url} isn't accepting connections now: {text}")
    if status == 404:
        # It took the request for a plain one: nothing of the websocket's has come through.
        return Rejected(f"the mainframe at {url} got no websocket's request: {_DROPPED}", code="upgrade")
    return Rejected(f"the mainframe at {url} answered HTTP {status} to the websocket upgrade: {text}", code="upgrade")


def _of_a_proxy(url: str, status: int, text: str) -> AsyncBlockError:
    words = f"{url} answered HTTP {status} to the websocket upgrade, and not by the mainframe's word: {text}"
    if status in (401, 403, 407):
        return ConnectionLost(
            f"{words}. If a proxy on the way asks for a login, send it with --header NAME:VALUE, or ASYNCBLOCK_HEADERS"
        )
    if 300 <= status < 400:
        return Rejected(f"{words}. It redirects to another host, where the token isn't sent", code="upgrade")
    if status in _PASSING:
        return ConnectionLost(words)
    return Rejected(f"{words}. Is it the right address, and does a proxy there pass websockets?", code="upgrade")


def _is_own(headers: Mapping[str, str]) -> bool:
    # Mainframes before this header named themselves in one that proxies replace.
    return OWN_HEADER in headers or headers.get("Server") == "asyncblock"


def _text(answer: Answer) -> str:
    """Return the first words of an answer's body; of a page for browsers, its title."""
    text = answer.body.decode("utf-8", "replace").strip()
    if "html" in answer.headers.get("Content-Type", "") or text.startswith("<"):
        found = re.search(r"<title[^>]*>([^<]{1,200})</title>", text, re.IGNORECASE)
        text = found[1].strip() if found else ""
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT] + "..."
    return text or _phrase(answer.status)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"
