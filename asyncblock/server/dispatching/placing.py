"""Placing: which executor runs a job that has var values, or shares them with others.

A value that can't be moved stays in its process, and so does one from an executor that names no host: jobs go there. A
portable value can be had by all executors of its host through a file, and by other hosts as a body.

A job goes to the executor where it costs least. Each open job there costs 1. A value that has to be exported first
costs a half, and 1 for each GiB. For another host each 128 MiB costs 1 on the way up, unless the value is a body
already, and 1 on the way down. A value costs nothing where it is, or has been exported or fetched to. Among equals the
executor that has the values comes first. If the cheapest executor with room is on another host and costs more than one
that is full, the job waits for that one.

A job of a node that doesn't roam (``NodePlan.roams``) shares the executor of its group as long as its node has put out
something that can't be moved, or hasn't shown yet what it puts out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ...wire.messages import Carry
from ..jobstate.jobs import Job, LinkState
from ..jobstate.lives import VarValue
from ..settings import Settings
from .exports import source_of
from .needs import Need, serves

__all__ = ["Placing"]

_MOVE = 0.5
_BYTES = 1 << 30
"""What an export costs, where 1 is to wait behind a job of an executor: ``_MOVE`` for any, and 1 for so many bytes. A
process of its own writes a gigabyte in half a second; an executor that is busy takes its time to begin."""

_FAR_BYTES = 128 << 20
"""Bytes sent to another host that cost as much as a job to wait behind: what a gigabit line carries in a second."""


class Placing:
    """Knows what can be had where."""

    def __init__(
        self, links: Mapping[str, LinkState], free: Callable[[LinkState, Need], int], settings: Settings
    ) -> None:
        self._links = links
        self._settings = settings
        self._free = free

    def has(self, link: LinkState, value: VarValue) -> bool:
        """Tell whether a job on a link can get a value."""
        return value.made.link_id == link.link_id or value.kept or self.can_come(link, value)

    def can_come(self, link: LinkState, value: VarValue) -> bool:
        """Tell whether a value can come to a process on a link's host that isn't its own."""
        return value.kept or self._is_near(link, value) or self._can_travel(link, value)

    def _is_near(self, link: LinkState, value: VarValue) -> bool:
        """Tell whether a value is on a link's host, or can be in a file there without being sent."""
        host = self._host_of(value)
        return (host is not None and host in link.places) or value.file_for(link.places) is not None

    def _can_travel(self, link: LinkState, value: VarValue) -> bool:
        """Tell whether a value can come to a link's host as a body."""
        if Carry.op not in link.understands:
            return False
        if value.body is not None:
            return True
        source = source_of(value, self._links)
        return source is not None and Carry.op in source.understands and self._why_not(value) is None

    def why_not_far(self, missing: list[VarValue]) -> str | None:
        """Say why values can't come to executors that can't open their files; None where that isn't what is wrong."""
        for value in missing:
            source = source_of(value, self._links)
            if source is not None and Carry.op in source.understands and (why := self._why_not(value)) is not None:
                return f"it can't go to another host: {why}"
        return None

    def _why_not(self, value: VarValue) -> str | None:
        """Return why a value can't become a body; None where it can."""
        limit = self._settings.carried_bytes
        if value.size is None:
            return value.why or "it isn't portable"
        if value.size > limit:
            return f"it has about {value.size} bytes, and {limit} may go there (the mainframe's setting carried_bytes)"
        return value.grounded

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
        if "service" in job.block:
            # A service may keep what it was told: its calls stay together, whatever their values are.
            return self._at_home(need, home, otherwise)
        values = self._inputs_to_place(job)
        if not values:
            return self._without_values(job, need, home, otherwise)
        there = [link for link in self._links.values() if serves(link, need) and self._has_all(link, values)]
        if not there and any(map(self._may_come, values)):
            # The values' executor may return, or is handing them down. Choosing now would count them as lost.
            return None
        fixed = {value.made.link_id for value in values if self._host_of(value) is None and value.body is None}
        if fixed:
            return self._there(need, fixed, otherwise)
        free_to_go = job.roams or job.session.lives.has_proved(job)
        return self._near(need, values, there, None if free_to_go else home, otherwise)

    @staticmethod
    def _inputs_to_place(job: Job) -> list[VarValue]:
        """Return a job's var values that not every executor can get; those in the cache can be had anywhere."""
        lives = job.session.lives
        if not lives.any:
            return []
        found = [value for ref in job.inputs.values() if (value := lives.find(ref)) is not None]
        return [value for value in found if not value.kept]

    def _at_home(
        self, need: Need, home: LinkState | None, otherwise: Callable[[], LinkState | None]
    ) -> LinkState | None:
        """Return the executor that the group shares, None while it is full; any with room if the group has none."""
        if home is None:
            return otherwise()
        return home if self._free(home, need) > 0 else None

    def _without_values(
        self, job: Job, need: Need, home: LinkState | None, otherwise: Callable[[], LinkState | None]
    ) -> LinkState | None:
        """Return the executor for a job that needs no value of another process.

        Its own values matter instead. As long as they may turn out to be unmovable it stays at home; once all of them
        could be moved, any executor of that host will do, for the group's next job can open their files there.
        """
        if job.roams or home is None:
            return otherwise()
        if home.host is None or not job.session.lives.has_proved(job):
            return self._at_home(need, home, otherwise)
        return min(self._of_host(home.host, need), key=lambda link: (link.load, link is not home), default=None)

    def nearest(self, job: Job, need: Need, hosts: list[LinkState]) -> list[LinkState]:
        """Return those of the links to which a job's values can come; all if they are lost; none if it has to wait."""
        if not job.session.lives.any:
            return hosts
        values = [value for ref in job.inputs.values() if (value := job.session.lives.find(ref)) is not None]
        near = [link for link in hosts if self._can_all_come(link, values)]
        if near or not values:
            return near or hosts
        # An executor that is full can get the values: the job waits for it.
        full = any(serves(link, need) and self._can_all_come(link, values) for link in self._links.values())
        return [] if full or any(map(self._may_come, values)) else hosts

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
        """Return the executor that gets portable values soonest; None if waiting for a full one is better."""
        if home is not None and home in there:
            return home if self._free(home, need) > 0 else None
        if not there:
            # No executor can get the values any more: wherever the job goes, they are reported as lost.
            return otherwise()
        ready = [link for link in there if self._free(link, need) > 0]
        if not ready:
            # All that can get the values are full, and one will have room soon.
            return None
        best = min(ready, key=lambda link: (self._cost(link, values), -_had(link, values)))
        if all(self._is_at_hand(best, value) for value in values):
            return best
        # The values would come from another host: that must cost no more than the wait for an executor that is full.
        costs = [self._cost(link, values) for link in there if link.load and link not in ready]
        return best if self._cost(best, values) <= min(costs, default=math.inf) else None

    def _can_all_come(self, link: LinkState, values: list[VarValue]) -> bool:
        return all(self.can_come(link, value) for value in values)

    def _has_all(self, link: LinkState, values: list[VarValue]) -> bool:
        return all(self.has(link, value) for value in values)

    def _may_come(self, value: VarValue) -> bool:
        """Tell whether a value that can't be had now is worth waiting for: that of a link which isn't back yet, too."""
        maker = self._links.get(value.made.link_id)
        expected = maker is not None and maker.expected and value.file is None and value.body is None
        return expected or self._is_leaving(value)

    def _is_leaving(self, value: VarValue) -> bool:
        """Tell whether a value can be had by others soon, or it will be said why not: its maker takes no jobs any more,
        and hands down what it has."""
        maker = self._links.get(value.made.link_id)
        if maker is None or maker.disk is None or maker.executor is not None or not maker.is_there:
            return False
        if value.body is not None:
            return False
        return value.why is None and (value.file is None or value.file[0] != maker.disk)

    def _of_host(self, host: str, need: Need) -> list[LinkState]:
        return [link for link in self._links.values() if link.host == host and self._free(link, need) > 0]

    def _is_at_hand(self, link: LinkState, value: VarValue) -> bool:
        """Tell whether a value need not come from another host."""
        return value.made.link_id == link.link_id or self._is_near(link, value)

    def _cost(self, link: LinkState, values: list[VarValue]) -> float:
        return link.load + sum(self._way(link, value) for value in values)

    def _way(self, link: LinkState, value: VarValue) -> float:
        """Return what it costs to have a value at an executor."""
        size = value.size or 0
        if value.made.link_id == link.link_id or value.file_for(link.places) is not None:
            return 0.0
        if self._is_near(link, value):
            return _MOVE + size / _BYTES
        if value.body is not None:
            return value.body.length / _FAR_BYTES
        return (0.0 if value.file is not None else _MOVE) + 2 * size / _FAR_BYTES


def _had(link: LinkState, values: list[VarValue]) -> int:
    return sum(value.size or 0 for value in values if value.made.link_id == link.link_id)
