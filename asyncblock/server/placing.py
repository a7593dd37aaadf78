"""Placing: which executor runs a job that has var values, or shares them with others.

A value that can't be moved, or was put out by an executor that speaks of no host, stays in its process: jobs go there.
A portable one can be had on all of its host. A job goes to the executor where it costs least: each open job there
counts one, a value that has to be exported first a half, and one more for each GiB of it; one that was exported
already, or is there, costs nothing, and among equals the executor that has the values comes first.

A job whose node doesn't roam (``NodePlan.roams``) shares the executor of its group as long as its node has put out
something that can't be moved, or hasn't shown what it puts out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .jobs import Job, LinkState
from .lives import VarValue
from .needs import Need, serves

__all__ = ["Placing"]

_MOVE = 0.5
_BYTES = 1 << 30
"""What an export costs, beside a job that waits for its turn in an executor that runs another: a process of its own
writes a gigabyte in half a second, and whoever sends it through a busy one waits for that."""


class Placing:
    """Knows what can be had where."""

    def __init__(self, links: Mapping[str, LinkState], free: Callable[[LinkState, Need], int]) -> None:
        self._links = links
        self._free = free

    def has(self, link: LinkState, value: VarValue) -> bool:
        """Tell whether a job on a link can get a value."""
        return value.made.link_id == link.link_id or value.kept or self.can_come(link, value)

    def can_come(self, link: LinkState, value: VarValue) -> bool:
        """Tell whether a value can come to a process on a link's host that isn't its own."""
        host = self._host_of(value)
        return value.kept or (host is not None and host == link.host)

    def _host_of(self, value: VarValue) -> str | None:
        """Return the host on which a value can be moved; None for one that can't be."""
        if value.file is not None:
            return value.file[0]
        maker = self._links.get(value.made.link_id)
        return maker.host if value.size is not None and maker is not None and maker.is_there else None

    def choose(
        self, job: Job, need: Need, home: LinkState | None, otherwise: Callable[[], LinkState | None]
    ) -> LinkState | None:
        """Return the executor for a job of a group; None when it has to wait.

        ``home`` is the one that the group shares, if it is there; ``otherwise`` chooses one that has room: for jobs
        that need none in particular, and those whose values are lost wherever they run.
        """
        at_home = None if home is None else lambda: home if self._free(home, need) > 0 else None
        if "service" in job.block:
            return (at_home or otherwise)()
        lives = job.session.lives
        held = [value for ref in job.inputs.values() if (value := lives.find(ref)) is not None] if lives.any else []
        values = [value for value in held if not value.kept]
        fixed = {value.made.link_id for value in values if self._host_of(value) is None}
        if fixed:
            return self._there(need, fixed, otherwise)
        free_to_go = job.roams or lives.has_proved(job)
        if values:
            return self._near(job, need, values, None if free_to_go else home, otherwise)
        if job.roams or home is None:
            return otherwise()
        if not free_to_go or home.host is None:
            return at_home() if at_home is not None else otherwise()
        return min(self._of_host(home.host, need), key=lambda link: (link.load, link is not home), default=None)

    def _there(self, need: Need, fixed: set[str], otherwise: Callable[[], LinkState | None]) -> LinkState | None:
        """Return the one executor that has what can't be moved."""
        link = self._links.get(min(fixed))
        if len(fixed) == 1 and link is not None and link.executor is not None:
            if link.connection is None:
                return None
            if serves(link, need):
                return link if self._free(link, need) > 0 else None
        return otherwise()

    def _near(
        self,
        job: Job,
        need: Need,
        values: list[VarValue],
        home: LinkState | None,
        otherwise: Callable[[], LinkState | None],
    ) -> LinkState | None:
        """Return the executor that gets portable values soonest."""
        host = self._host_of(values[0])
        if host is None or any(self._host_of(value) != host for value in values):
            return otherwise()
        if home is not None and home.host == host and serves(home, need):
            return home if self._free(home, need) > 0 else None
        ready = self._of_host(host, need)
        if not ready:
            # Full, and worth waiting for; or gone, with all that it had.
            there = any(link.host == host and serves(link, need) for link in self._links.values())
            return None if there else otherwise()
        return min(ready, key=lambda link: (self._cost(link, values), -_had(link, values)))

    def _of_host(self, host: str, need: Need) -> list[LinkState]:
        return [link for link in self._links.values() if link.host == host and self._free(link, need) > 0]

    @staticmethod
    def _cost(link: LinkState, values: list[VarValue]) -> float:
        moved = [value.size or 0 for value in values if value.file is None and value.made.link_id != link.link_id]
        return link.load + sum(_MOVE + size / _BYTES for size in moved)


def _had(link: LinkState, values: list[VarValue]) -> int:
    return sum(value.size or 0 for value in values if value.made.link_id == link.link_id)
