"""Following a session to its end: events to the display, an interrupt to the session, its state to the exit code."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from .. import events
from ..client import Session
from ..errors import AsyncBlockError
from .display import Display
from .interrupts import INTERRUPTED, Interrupts

__all__ = ["EXIT_CODES", "NotCancelled", "end_session", "follow"]

_TAKE_PATIENCE = 5.0
"""Seconds that a mainframe has to accept a cancel. It can't while it is away or its disk is full."""

_END_PATIENCE = 20.0
"""Seconds that the session then has to end: ten for its blocks' clean-up, five for their executors to tell of it, and
as many again."""

EXIT_CODES = {"succeeded": 0, "failed": 1, "cancelled": INTERRUPTED}


class NotCancelled(Exception):
    """A session was cancelled, and it isn't known to have ended. The words say why."""


async def follow(session: Session, display: Display, interrupts: Interrupts, *, cancel: bool, offset: int = 0) -> int:
    """Show a session's events to its end and return the exit code; an interrupt cancels it, or only stops watching.

    Raises ``NotCancelled`` when a cancelled session isn't known to have ended in time.
    """
    asked = asyncio.Event()
    interrupts.restore = display.restore
    watching = asyncio.create_task(_show(session, display, offset))
    asking = asyncio.create_task(asked.wait())
    with interrupts.handled_by(asked.set):
        try:
            await asyncio.wait({watching, asking}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                return watching.result()
            if not cancel:
                return INTERRUPTED
            display.note("cancelling; once more to leave at once")
            await _cancel(session, watching)
            return INTERRUPTED
        finally:
            for task in (watching, asking):
                task.cancel()
            await asyncio.wait({watching, asking})


async def _cancel(session: Session, watching: asyncio.Task[int]) -> None:
    try:
        async with asyncio.timeout(_TAKE_PATIENCE):
            await session.cancel("interrupted")
    except TimeoutError:
        words = f"the mainframe didn't take the cancel within {_TAKE_PATIENCE:g} s: it is away, or can't write"
        raise NotCancelled(words) from None
    await asyncio.wait([watching], timeout=_END_PATIENCE)
    if not watching.done():
        raise NotCancelled(f"the session didn't end within {_END_PATIENCE:g} s of its cancel")
    watching.result()


async def end_session(session: Session, reason: str) -> None:
    """Cancel a session and wait for its end, as far as its mainframe and its blocks' clean-up allow in time."""
    try:
        async with asyncio.timeout(_TAKE_PATIENCE + _END_PATIENCE):
            await session.cancel(reason)
            await session.wait()
    except (TimeoutError, AsyncBlockError):
        # Its executors end what is left of it.
        return


async def _show(session: Session, display: Display, offset: int) -> int:
    code = 1
    async for event in session.events(offset):
        if isinstance(event, events.SessionFinished):
            code = EXIT_CODES.get(event.state, 1)
            values = {handle: await session.fetch(ref) for handle, ref in event.bodies.items()}
            event = replace(event, outputs={**event.outputs, **values}, bodies={})
        display.show(event)
    return code
