"""Whole groups of sessions for a list that is shown anew each second: they are read as rarely as possible."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from ..client import SessionInfo
from ..client.grouped import GroupInfo, of_group

__all__ = ["Group", "Groups"]

_PACE: Final = 0.9
"""Seconds after which a group with running sessions is read again."""

_SHARE: Final = 20
"""A group isn't read again before so many times as long as that took: reading takes a twentieth of the time."""

_LONG: Final = 60.0
"""Seconds after which a group that has ended is read again. If it gets a new session, the list shows that."""

_KEPT: Final = 200
"""Groups that are kept."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group, and its sessions in order."""

    info: GroupInfo
    members: tuple[SessionInfo, ...]


@dataclass(slots=True)
class _Read:
    group: Group
    states: dict[str, str]
    until: float


class Groups:
    """The groups of a list. ``read`` lists all sessions of one."""

    def __init__(self, read: Callable[[str], Awaitable[list[SessionInfo]]]) -> None:
        self._read = read
        self._known: dict[str, _Read] = {}

    async def get(self, group: str, seen: SessionInfo | None = None) -> Group | None:
        """Return a group, with ``seen`` as it is now; None if there is none.

        **Cancellation** is safe. Raises as ``read``.
        """
        now = time.monotonic()
        there = self._known.get(group)
        new = seen is not None and (there is None or there.states.get(seen.session_id) != seen.state)
        running = there is not None and there.group.info.state == "running"
        # A running group gets new sessions all the time, so these don't make it be read sooner.
        if there is None or now >= there.until or (new and not running):
            there = await self._anew(group, now)
        return None if there is None else there.group

    async def _anew(self, group: str, now: float) -> _Read | None:
        members = sorted(await self._read(group), key=lambda each: each.session_id)
        self._known.pop(group, None)
        if not members:
            return None
        info = of_group(group, members)
        took = time.monotonic() - now
        stands = max(_PACE, _SHARE * took) if info.state == "running" else max(_LONG, _SHARE * took)
        states = {each.session_id: each.state for each in members}
        made = self._known[group] = _Read(Group(info, tuple(members)), states, now + took + stands)
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]
        return made
