"""How the journal's threads reach the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["Post", "poster", "settle"]

Post = Callable[..., None]
"""Runs a function with arguments on the event loop, after those posted before by the same thread."""


def poster(loop: asyncio.AbstractEventLoop) -> Post:
    """Return the function that posts to a loop."""

    def post(act: Callable[..., object], *args: Any) -> None:
        # The loop is closed only when nothing waits for an answer any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(act, *args)

    return post


def settle(future: asyncio.Future[Any], outcome: object) -> None:
    """Give a future its result or its error, unless its caller was cancelled."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
