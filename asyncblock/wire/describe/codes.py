"""Codes that end something: of goodbyes, HTTP answers and websockets. The reference page has them as tables."""

from __future__ import annotations

from typing import Final

__all__ = ["ANSWERS", "GOODBYES", "HTTP", "WEBSOCKET"]

GOODBYES: Final[dict[str, tuple[str, str]]] = {
    "closed": ("up", "The process is done. The link is over; jobs that it still has end by that."),
    "failed": ("down, come back", "The mainframe ended by an error of its own; somebody starts it again."),
    "links": ("down, come back", "One of several links on a connection (`on`) isn't taken; the connection goes on."),
    "overload": ("down, come back", "Too many connections, or the disk can't follow."),
    "replaced": ("down, come back", "A newer connection of this link is open: come with a higher generation."),
    "stopping": ("down, come back", "The mainframe is told to stop; it, or the next one, goes on from its journal."),
    "trouble": ("down, come back", "The disk refuses, or the mainframe failed at what came."),
    "unauthorized": ("down, stop", "The token may not do it, or what was claimed about a link wasn't proved."),
    "unreadable": (
        "down, stop",
        "What came breaks the protocol; the reason says where. The link and its jobs are over.",
    ),
    "version": ("down, stop", "The Hello's version isn't spoken here."),
}
"""Where a code comes, with what ``stop``, and what it means. Others may be added: ``stop`` says what to do."""

HTTP: Final[dict[int, str]] = {
    101: "Upgraded.",
    401: "No token, or one that isn't known. Final, if the answer has the header `Asyncblock-Mainframe`.",
    403: "The page's `Origin` isn't allowed. Final, likewise.",
    404: "No upgrade was asked for, or a proxy on the way has dropped it.",
    426: "The request has a websocket's key and no `Upgrade`: a proxy on the way has dropped it.",
    503: "Not now; try again.",
}
"""Answers of a mainframe to the request for a websocket."""

ANSWERS: Final[dict[int, str]] = {
    200: "Here it is. Of `/healthz`: the mainframe works.",
    206: "The part of a body that `Range: bytes=FIRST-LAST` or `bytes=FIRST-` asked for, `http_body` bytes at most.",
    401: "No token, or one that isn't known.",
    404: "There is no such thing, or no body of that name for this token.",
    413: "The body has more than `http_body` bytes: ask for parts.",
    416: "The part begins behind the body's end, or ends before it begins.",
    503: "Not now; try again (`Retry-After`). Of `/healthz`: the disk refuses.",
}
"""Answers of a mainframe to plain requests."""

WEBSOCKET: Final[dict[int, str]] = {
    1000: "The normal end, after a `bye`.",
    1001: "The other side's process ends.",
    1002: "A frame breaks RFC 6455.",
    1006: "No closing frame came (never sent): a lost connection.",
    1007: "A text message isn't UTF-8.",
    1009: "A message is over the limit; don't send it again.",
    1011: "The other side failed.",
}
"""Codes of closing frames. They say nothing of the link: a ``bye`` does, and without one it is a lost connection."""
