"""The page, served in the test's own process and loop, over a mainframe or over rows that were made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from asyncblock.client import Mainframe, SessionInfo
from asyncblock.errors import Unavailable
from asyncblock.viewer import ServedPage, Sources, Watched, serving

from ..report.made import Made

__all__ = ["MadeRuns", "browse", "client_of", "page_of", "tab_of", "until"]

T = TypeVar("T")


class MadeRuns:
    """Sessions of which the rows are made: a page reads them as it reads those of a journal."""

    def __init__(self, **made: Made) -> None:
        self.made = made

    async def sessions(self) -> list[SessionInfo]:
        """List them."""
        return [
            SessionInfo(name, name.title(), "", "succeeded", index, index, None, 0)
            for index, name in enumerate(self.made)
        ]

    @asynccontextmanager
    async def open(self, session_id: str) -> AsyncIterator[Watched]:
        """Open one."""
        if session_id not in self.made:
            raise Unavailable("there is none")
        yield Watched(self.made[session_id].recording())


@asynccontextmanager
async def page_of(
    mainframe: Mainframe | None = None,
    *,
    roles: tuple[str, ...] = ("client",),
    token: str | None = None,
    allowed: tuple[str, ...] = (),
    **made: Made,
) -> AsyncIterator[ServedPage]:
    """Serve the page of a mainframe, or of sessions that were made, on any free port."""
    sources = Sources(mainframe, MadeRuns(**made) if made else None, roles=frozenset(roles))
    async with serving(sources, port=0, token=token, allowed=allowed) as page:
        yield page


@asynccontextmanager
async def client_of(page: ServedPage) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client that has the page's cookie."""
    async with httpx.AsyncClient(base_url=page.url) as client:
        assert (await client.get(page.way_in())).status_code == 200
        yield client


@asynccontextmanager
async def tab_of(
    page: ServedPage, client: httpx.AsyncClient, origin: str | None = None
) -> AsyncIterator[ClientConnection]:
    """Open the websocket that a tab has; ``origin`` is the page's own where none is given, and none where it is empty."""
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    said = page.url.rstrip("/") if origin is None else origin
    place = page.url.replace("http", "ws") + "tab"
    async with connect(place, origin=Origin(said) if said else None, additional_headers={"cookie": cookies}) as socket:
        yield socket


async def browse(act: Callable[..., T], *given: Any) -> T:
    """Drive a browser on a thread, while this loop serves the page."""
    return await asyncio.to_thread(act, *given)


def until(browser: Any, condition: str, *given: Any) -> Any:
    """Wait until a script's expression is true in the page, and return it."""
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.support.wait import WebDriverWait

    try:
        return WebDriverWait(browser, 40, 0.05).until(lambda it: it.execute_script(f"return {condition}", *given))
    except TimeoutException:
        said = [each["message"] for each in browser.get_log("browser")]
        text = browser.execute_script("return document.body.innerText")
        raise AssertionError(f"{condition} never came; the page says {text[:1500]!r}; its console {said}") from None
