"""Who may ask the page, and what browsers are told to forbid.

* The ``Host`` must be one that the page listens for. Otherwise any site could call it, under a name of its own that
  resolves to this machine.
* Without the cookie there is nothing but the way in: the one-time address that the command prints, or a form for the
  token. The cookie is HttpOnly and SameSite=Strict, and the headers in which a browser says where a request comes from
  (``Origin``, ``Sec-Fetch-Site``) must fit, too. A preview's frame has another origin, so it has neither.
* After too many wrong tokens all have to wait. Wrong one-time keys don't count: they can't be guessed, and any site
  could open their address to lock the user out.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import deque
from collections.abc import Collection
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request, cookie_parser
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .loginpages import entered, login_form

__all__ = ["Keys", "PageGate"]

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src data: blob:; connect-src 'self'; frame-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types asyncblock"
)
"""The policy of everything here but frames. ``frame-src`` limits where a frame can go, even if its content sends it."""

_OPEN: Final = ("/static/",)
"""Paths that need no cookie: the page's own files are no secret."""

_TRIES: Final = 10
_WINDOW: Final = 60.0
_FORM: Final = 4_096
"""Bytes of a login form."""

_PATIENCE: Final = 10.0
"""Seconds in which a login form has to arrive."""


class Keys:
    """What lets a browser in: one-time keys, a token, and the cookies of those that are in."""

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else _digest(token)
        self._once: set[bytes] = set()
        self._in: set[bytes] = set()
        self._wrong: deque[float] = deque(maxlen=_TRIES)

    @property
    def has_token(self) -> bool:
        """Tell whether there is a token to log in with."""
        return self._token is not None

    def one_time(self) -> str:
        """Return a key that lets one browser in, once."""
        key = secrets.token_urlsafe(32)
        self._once.add(_digest(key))
        return key

    def wait(self) -> float:
        """Return for how many seconds no token is accepted."""
        if len(self._wrong) < _TRIES:
            return 0.0
        return max(self._wrong[0] + _WINDOW - time.monotonic(), 0.0)

    def enter(self, key: str | None = None, token: str | None = None) -> str | None:
        """Return a cookie for a one-time key or the token; None for a wrong one. A wrong token counts."""
        if key is not None:
            if (found := _among(_digest(key), self._once)) is None:
                return None
            self._once.discard(found)
        elif token is None or self._token is None or not hmac.compare_digest(_digest(token), self._token):
            self._wrong.append(time.monotonic())
            return None
        made = secrets.token_urlsafe(32)
        self._in.add(_digest(made))
        return made

    def is_in(self, cookie: str) -> bool:
        """Tell whether a cookie is one of those that were given."""
        return _among(_digest(cookie), self._in) is not None

    def leave(self, cookie: str) -> None:
        """Let a cookie be worth nothing any more."""
        self._in.discard(_digest(cookie))


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "replace")).digest()


def _among(digest: bytes, known: Collection[bytes]) -> bytes | None:
    """Find a digest. All are compared, so that the time tells nothing about them."""
    found = None
    for each in known:
        if hmac.compare_digest(each, digest):
            found = each
    return found


class PageGate:
    """Stands before the page."""

    def __init__(self, app: ASGIApp, keys: Keys, hosts: Collection[str], *, cookie: str, tls: bool) -> None:
        self._app = app
        self._keys = keys
        self._hosts = {each.lower() for each in hosts}
        self._cookie = cookie
        self._tls = tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        headers = Headers(scope=scope)
        answer = self._refused(scope, headers)
        path = scope["path"]
        if answer is None and scope["type"] == "http":
            if path == "/enter" and scope["method"] == "GET":
                answer = self._by_key(Request(scope))
            elif path == "/login" and scope["method"] == "POST":
                answer = await self._by_token(Request(scope, receive))
            elif not self._inside(headers) and not path.startswith(_OPEN):
                answer = self._outside(path)
        elif answer is None and not self._inside(headers):
            answer = PlainTextResponse("log in first", 401)
        if answer is not None:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await answer(scope, receive, self._strict(send))
            return
        await self._app(scope, receive, self._strict(send))

    def _strict(self, send: Send) -> Send:
        """Add what browsers are told to forbid."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("content-security-policy", PAGE_POLICY)
                headers.setdefault("cache-control", "no-store")
                headers["x-content-type-options"] = "nosniff"
                # With no-referrer browsers send "Origin: null" with the page's own login form.
                headers["referrer-policy"] = "same-origin"
                headers["x-dns-prefetch-control"] = "off"
                headers["cross-origin-opener-policy"] = "same-origin"
                headers.setdefault("cross-origin-resource-policy", "same-origin")
            await send(message)

        return sent

    # ------------------------------------------------------------------ who asks

    def _refused(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            names = ", ".join(sorted(self._hosts))
            words = f"this page isn't served as {host!r}; it is as {names} (--allow-host adds one)\n"
            return PlainTextResponse(words, 421)
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if (origin is None and changes) or (origin is not None and not self._is_own(origin, host)):
            return PlainTextResponse("this request comes from another page\n", 403)
        site = headers.get("sec-fetch-site", "none")
        # Any site may link to the page, which leads to the form. All other requests must come from the page.
        if site not in ("none", "same-origin") and scope["path"] not in ("/", "/enter", "/login"):
            return PlainTextResponse("this request comes from another page\n", 403)
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        # Behind a proxy that does TLS the browser's scheme isn't ours.
        return origin.lower() in (f"http://{host}", f"https://{host}")

    def _by_tls(self, headers: Headers) -> bool:
        """Tell whether the browser speaks TLS, to us or to a proxy: then its cookie is never sent without TLS."""
        proxied = headers.get("x-forwarded-proto", "").lower() == "https"
        return self._tls or proxied or headers.get("origin", "").lower().startswith("https://")

    def _inside(self, headers: Headers) -> bool:
        cookie = self._cookie_of(headers)
        return cookie is not None and self._keys.is_in(cookie)

    def _cookie_of(self, headers: Headers) -> str | None:
        # Cookies of all that is served by this host come with ours: what stands in those mustn't matter.
        return cookie_parser(headers.get("cookie", "")).get(self._cookie)

    # ------------------------------------------------------------------ ways in

    def _outside(self, path: str) -> Response:
        if path == "/":
            return _page(login_form(self._keys.has_token), 401)
        return PlainTextResponse("log in first\n", 401)

    def _by_key(self, request: Request) -> Response:
        to = request.query_params.get("to", "")
        if self._inside(request.headers):
            # The one-time address was opened a second time, from the history for example.
            return _page(entered(to), 200)
        return self._let_in(request.headers, to, key=request.query_params.get("key", ""))

    async def _by_token(self, request: Request) -> Response:
        data = b""
        try:
            async with asyncio.timeout(_PATIENCE):
                async for piece in request.stream():
                    data += piece
                    if len(data) > _FORM:
                        return PlainTextResponse("this form is too long\n", 413)
            given = parse_qs(data.decode("utf-8", "replace"), max_num_fields=4).get("token", [""])[0]
        except (TimeoutError, ClientDisconnect, ValueError):
            return PlainTextResponse("this form isn't whole, or is another one\n", 400)
        return self._let_in(request.headers, "", token=given.strip())

    def _let_in(self, headers: Headers, to: str, key: str | None = None, token: str | None = None) -> Response:
        wait = self._keys.wait()
        if wait and key is None:
            answer = _page(login_form(self._keys.has_token, f"Too many wrong ones; try again in {wait:.0f} s."), 429)
            answer.headers["retry-after"] = f"{wait:.0f}"
            return answer
        cookie = self._keys.enter(key, token)
        if cookie is None:
            wrong = "That isn't the token." if token is not None else "This address was used, or is of an earlier page."
            return _page(login_form(self._keys.has_token, wrong), 401)
        # Not a redirect: if the link is on another site, browsers wouldn't send the strict cookie after one.
        answer = _page(entered(to), 200)
        answer.set_cookie(
            self._cookie, cookie, httponly=True, samesite="strict", secure=self._by_tls(headers), path="/"
        )
        return answer


def _page(html: str, status: int) -> Response:
    return Response(html, status, media_type="text/html; charset=utf-8")
