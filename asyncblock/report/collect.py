"""A folded session, with what else a report needs: its plan, and the time up to which it is shown."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..errors import AsyncBlockError
from ..flow.plan import Plan
from ..page import State, StateLimits
from ..page.views import feeds_of
from .recording import Recording

__all__ = ["Collected", "collect"]


@dataclass(frozen=True, slots=True)
class Collected:
    """What was read of a session."""

    recording: Recording
    state: State
    plan: Plan | None
    """None if the journal has it in a form that this version doesn't know."""
    now: int
    """Until when open jobs are counted, in ms since the epoch."""

    @property
    def word(self) -> str:
        """The session's state for people: ``interrupted`` when its process was killed."""
        return "interrupted" if self.recording.interrupted and not self.state.over else self.state.state


async def collect(recording: Recording, limits: StateLimits | None = None) -> Collected:
    """Read a session up to now.

    **Cancellation** is safe. Raises as ``Recording.events``.
    """
    try:
        plan = await recording.plan()
    except AsyncBlockError:
        plan = None
    state = State(limits, feeds_of(plan) if plan is not None else None)
    async for event in recording.events():
        state.take(event)
    running = not state.over and not recording.interrupted
    return Collected(recording, state, plan, max(int(time.time() * 1000), state.now) if running else state.now)
