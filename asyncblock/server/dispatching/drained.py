"""Drained executors: they take no new jobs, so that they can be ended without harm."""

from __future__ import annotations

from collections.abc import Mapping

from ..jobstate.jobs import LinkState
from .needs import BESIDE, Need, serves

__all__ = ["Drained"]


class Drained:
    """Knows what a drained executor still takes: what could run nowhere else without something being lost."""

    def __init__(self, pins: Mapping[tuple[str, str], LinkState]) -> None:
        self._pins = pins

    def takes(self, link: LinkState, need: Need) -> bool:
        """Tell whether a link's executor can run a job, if it has room, and takes any."""
        return serves(link, need) and (not link.drained or self._is_bound(link, need))

    def _is_bound(self, link: LinkState, need: Need) -> bool:
        """Tell whether a job needs this very executor: its session shares memory there, or a job there waits for it."""
        if need.group is not None and need.group.startswith(BESIDE):
            return need.group.removeprefix(BESIDE) == link.link_id
        return need.session is not None and any(
            home is link and session_id == need.session for (session_id, _), home in self._pins.items()
        )
