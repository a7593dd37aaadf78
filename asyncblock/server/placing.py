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
        return value.kept or (host is not None and host in (link.host, link.disk))

    def _host_of(self, value: VarValue) -> str | None:
        """Return the host, or the disk, whose executors can have a value; None for one that can't be moved."""
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
        there = [link for link in self._links.values() if serves(link, need) and self._has_all(link, values)]
        if not there and any(map(self.is_leaving, values)):
            # It puts what can be elsewhere on its disk, and says of the rest why not.
            return None
        if fixed:
            return self._there(need, fixed, otherwise)
        free_to_go = job.roams or lives.has_proved(job)
        if values:
            return self._near(need, values, there, None if free_to_go else home, otherwise)
        if job.roams or home is None:
            return otherwise()
        if not free_to_go or home.host is None:
            return at_home() if at_home is not None else otherwise()
        return min(self._of_host(home.host, need), key=lambda link: (link.load, link is not home), default=None)

    def nearest(self, job: Job, hosts: list[LinkState]) -> list[LinkState]:
        """Return those of the links to which a job's values can come; all if they are lost; none if it has to wait."""
        if not job.session.lives.any:
            return hosts
        values = [value for ref in job.inputs.values() if (value := job.session.lives.find(ref)) is not None]
        near = [link for link in hosts if all(self.can_come(link, value) for value in values)]
        return near or ([] if any(map(self.is_leaving, values)) else hosts)

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
        need: Need,
        values: list[VarValue],
        there: list[LinkState],
        home: LinkState | None,
        otherwise: Callable[[], LinkState | None],
    ) -> LinkState | None:
        """Return the executor that gets portable values soonest."""
        if home is not None and home in there:
            return home if self._free(home, need) > 0 else None
        if not there:
            # Gone, with all that it had.
            return otherwise()
        ready = [link for link in there if self._free(link, need) > 0]
        if not ready:
            # Full, and worth waiting for.
            return None
        return min(ready, key=lambda link: (self._cost(link, values), -_had(link, values)))

    def _has_all(self, link: LinkState, values: list[VarValue]) -> bool:
        return all(self.has(link, value) for value in values)

    def is_leaving(self, value: VarValue) -> bool:
        """Tell whether a value can be had by others soon, or it will be said why not: its maker takes no jobs any more,
        and hands down what it has."""
        maker = self._links.get(value.made.link_id)
        if maker is None or maker.disk is None or maker.executor is not None or not maker.is_there:
            return False
        return value.why is None and (value.file is None or value.file[0] != maker.disk)

    def _of_host(self, host: str, need: Need) -> list[LinkState]:
        return [link for link in self._links.values() if link.host == host and self._free(link, need) > 0]

    @staticmethod
    def _cost(link: LinkState, values: list[VarValue]) -> float:
        moved = [value.size or 0 for value in values if value.file is None and value.made.link_id != link.link_id]
        return link.load + sum(_MOVE + size / _BYTES for size in moved)


def _had(link: LinkState, values: list[VarValue]) -> int:
    return sum(value.size or 0 for value in values if value.made.link_id == link.link_id)
