"""Jobs that no connected executor can run: their session is told at once, and they fail when their time is up.

If the code that a session has used before is gone, its jobs wait longer than those of code that was never there:
somebody may bring the old version back, or accept the new one.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ...resources import NOTHING, Resources
from ..committing.transaction import Transaction
from ..committing.transactions import Transactions
from ..jobstate.jobs import Job, LinkState
from ..peers.announcement import ExecutorInfo
from .jobqueues import is_to_go_out
from .needs import SPAWN, Need, serves

__all__ = ["Absence"]

_TELL_AFTER = 0.3
"""Seconds before a session is told: an executor that was just asked to serve the package is about to announce it."""

_NOBODY_YET = 1.5
"""The same while no executor is connected at all: those of a run start together with the mainframe, and need longer."""

_PAUSE = 50e-6
"""Seconds between two looks for each job that waits: the more jobs, the rarer the looks, for each goes through all."""

_LOOKED_AT = 1000
"""Jobs that are looked at in one step of the loop: of 10,000 the longest step took 3 ms, and all of them 45 ms."""

_SAID = 20
"""How many of them one counts for that is told of, or ended, which may be the end of its session."""

_SHOWN = 5
"""Versions or packages that are listed."""

_SHORT = 12
"""Characters of a version that are shown, and are enough to accept it."""


@dataclass(slots=True, eq=False)
class _Lack:
    """A need that no executor can serve."""

    since: float
    """The loop's time at which that was first seen; a job has waited in vain since then, or since it began to wait."""
    told: dict[tuple[str, str], str] = field(default_factory=dict)
    """What was said, by session and node: not again for each of ten thousand jobs."""
    timer: asyncio.TimerHandle | None = None
    due: float = 0.0
    look: _Look | None = None
    """What is seen in the queue, while it is looked through."""


@dataclass(slots=True, eq=False)
class _Look:
    """What has been seen of a queue that is looked through in steps."""

    jobs: deque[Job]
    """Those that haven't been looked at."""
    now: float
    """The loop's time at which it began: all of them are judged by that."""
    tell_after: float
    """Seconds after which a job is told of."""
    waiting: int = 0
    due: float = math.inf
    """When one of them is to be told, or ended."""
    said: dict[tuple[str, bool], str] = field(default_factory=dict)
    """The words for most of them, who may be ten thousand, are the same: by node, and whether its code was there."""
    told: dict[tuple[str, str], str] = field(default_factory=dict)


class Absence:
    """Watches over the queues that no executor serves."""

    def __init__(
        self,
        transactions: Transactions,
        links: Mapping[str, LinkState],
        queues: Mapping[Need, Iterable[Job]],
        takes: Callable[[LinkState, Need], bool],
    ) -> None:
        self._transactions = transactions
        self._links = links
        self._queues = queues
        self._takes = takes
        self._lacks: dict[Need, _Lack] = {}
        self.own = False
        """Executors are started with this mainframe: where none is there yet, none has to be started by hand."""

    def waits(self, need: Need) -> None:
        """Take note that jobs wait; nothing comes of it where an executor will have room."""
        lack, now = self._lacks.get(need), self._transactions.loop.time()
        if lack is None and not self._served(need):
            lack = self._lacks[need] = _Lack(now)
        if lack is None:
            return
        due = now + self._patience
        if lack.look is None:
            self._ring(need, lack, due)
        else:
            # The job isn't among those that are being looked at.
            lack.look.due = min(lack.look.due, due)

    def review(self) -> None:
        """Look at all queues again: executors have come, left, or said something else."""
        for need in list(self._lacks):
            if need not in self._queues or self._served(need):
                self._forget(need)
        for need in self._queues:
            lack = self._lacks.get(need)
            if lack is None:
                self.waits(need)
            elif lack.told or lack.look is not None:
                # There may be another answer now.
                lack.look = None
                self._ring(need, lack, self._transactions.loop.time() + _TELL_AFTER)

    def stop(self) -> None:
        """Let nothing ring any more."""
        for need in list(self._lacks):
            self._forget(need)

    def _forget(self, need: Need) -> None:
        lack = self._lacks.pop(need)
        lack.look = None
        if lack.timer is not None:
            lack.timer.cancel()

    def _served(self, need: Need) -> bool:
        return any(self._takes(link, need) for link in self._links.values())

    def _ring(self, need: Need, lack: _Lack, due: float) -> None:
        if lack.timer is not None:
            if lack.due <= due:
                return
            lack.timer.cancel()
        lack.due = due
        delay = max(0.0, due - self._transactions.loop.time())
        lack.timer = self._transactions.supervisor.later(delay, self._look, need, what="a wait for executors")

    def _look(self, need: Need) -> None:
        lack = self._lacks[need]
        lack.timer = None
        if need not in self._queues or self._served(need):
            self._forget(need)
            return
        lack.look = _Look(deque(self._queues[need]), self._transactions.loop.time(), self._told_after)
        self._look_on(need, lack, lack.look)

    def _look_on(self, need: Need, lack: _Lack, look: _Look) -> None:
        """Look at some of the jobs: there may be a hundred thousand, and each takes a microsecond or two."""
        if self._lacks.get(need) is not lack or lack.look is not look:
            return
        left = _LOOKED_AT
        with self._transactions.new_transaction() as transaction:
            while look.jobs and left > 0:
                left -= _SAID if self._look_at(transaction, need, lack, look, look.jobs.popleft()) else 1
        if self._lacks.get(need) is not lack or lack.look is not look:
            # By what became of those that were ended.
            return
        if look.jobs:
            self._transactions.supervisor.soon(self._look_on, need, lack, look, what="a wait for executors")
            return
        lack.look, lack.told = None, look.told
        if not look.waiting and look.due == math.inf:
            self._forget(need)
        elif look.due < math.inf:
            # Each look goes through all jobs. Where very many wait and more come, it doesn't happen for each of them.
            self._ring(need, lack, max(look.due, look.now + _PAUSE * look.waiting))

    def _look_at(self, transaction: Transaction, need: Need, lack: _Lack, look: _Look, job: Job) -> bool:
        """Look at a job; tell whether something was to be said of it."""
        if not is_to_go_out(job):
            return False
        since = max(lack.since, job.queued_at)
        end = since + self._limit(job)
        if look.now >= end:
            job.session.fail_job(transaction, job, self._end(need, job), retry=False)
            return True
        look.waiting += 1
        look.due = min(look.due, end)
        place = _place(job)
        words = lack.told.get(place)
        if words is not None:
            look.told[place] = words
        tell_at = since + look.tell_after
        if look.now >= tell_at:
            kind = (job.node_id, job.code in job.session.served)
            found = look.said.get(kind)
            if found is None:
                found = look.said[kind] = self._words(need, job)
            if words != found:
                lack.told[place] = look.told[place] = found
                job.session.waits(transaction, job, found)
                return True
        elif words is None:
            look.due = min(look.due, tell_at)
        return False

    @property
    def _told_after(self) -> float:
        return _TELL_AFTER if self._executors() else _NOBODY_YET

    @property
    def _patience(self) -> float:
        """Return the seconds after which a job that waits in vain may be told of, or ended."""
        settings = self._transactions.settings
        return min(self._told_after, settings.version_timeout, settings.no_executor_timeout)

    def _limit(self, job: Job) -> float:
        settings = self._transactions.settings
        return settings.version_timeout if job.code in job.session.served else settings.no_executor_timeout

    def in_vain(self) -> list[tuple[Need, int]]:
        """Return what no executor can serve, and how many jobs wait for it."""
        found = []
        for need in self._lacks:
            count = sum(map(is_to_go_out, self._queues.get(need, ())))
            if count and not self._served(need):
                found.append((need, count))
        return found

    # ------------------------------------------------------------------ in words

    def _executors(self) -> list[ExecutorInfo]:
        connected = [link.executor for link in self._links.values() if link.connection is not None]
        return [executor for executor in connected if executor is not None and not executor.once]

    def _have(self, need: Need) -> list[str]:
        """Return the versions of a block's code that executors have."""
        found = {
            hash[:_SHORT]
            for executor in self._executors()
            for hash, name in executor.packages.items()
            if name == need.package
        }
        return sorted(found)

    def _drained(self, need: Need) -> bool:
        """Tell whether some executors could run a job and take none: no other can, or it wouldn't wait."""
        return any(link.drained and serves(link, need) for link in self._links.values())

    def _near(self, need: Need) -> list[Resources]:
        """Return what those offer that could run a job but for what it needs."""
        if not need.resources:
            return []
        plain = need._replace(resources=NOTHING)
        near = [link.executor for link in self._links.values() if serves(link, plain)]
        return [executor.offers for executor in near if executor is not None]

    @staticmethod
    def _unoffered(need: Need, near: list[Resources]) -> str:
        """Say what is offered too little by those that could run a job otherwise."""
        lacks = [need.resources.lacks(offers) for offers in near]
        # What all of them lack, or else what that one lacks which lacks least.
        lack = min(lacks, key=lambda each: len(each.amounts) + len(each.labels))
        offered = _listed(sorted({str(offers) or "nothing" for offers in near}))
        return (
            f"it needs {need.resources}, and no executor that has its code offers {lack}; they offer {offered}; start "
            f"one with 'asyncblock executor --package DIR {need.resources.as_options()}' ('run' has these options too, "
            "and embedded(), Executor and Flow.run have offers= and labels=)"
        )

    def _words(self, need: Need, job: Job) -> str:
        version, limit = need.version[:_SHORT], self._limit(job)
        executors = self._executors()
        there = sorted({name for executor in executors for name in executor.packages.values()})
        languages = sorted({name for executor in executors for name in executor.languages})
        have = self._have(need)
        if not executors and self.own:
            what = "no executor process is ready yet"
        elif not executors:
            what = f"no executor is connected, for {_described(need, version)}; start one with {_START}"
        elif self._drained(need):
            what = _DRAINED
        elif near := self._near(need):
            what = self._unoffered(need, near)
        elif need.language not in languages:
            what = f"no executor runs {need.language}; those that are connected run {_listed(languages)}"
        elif any(need.version in executor.packages for executor in executors):
            what = (
                "no executor that has its code can start a process of its own for it (spawn: true), as one in another "
                f"program can't; start one with {_START}"
            )
        elif not have:
            what = (
                f"no executor has {_described(need, version)}; have {_listed(there) or 'none'}; start one with {_START}"
            )
        else:
            what = f"no executor has version {version} of node {job.node_id}; have {_listed(have)} of {need.package}; "
            what += self._back(version, job) if job.code in job.session.served else _ANEW
        return f"{what} (it waits {_time(limit)})"

    def _back(self, version: str, job: Job) -> str:
        how = f"asyncblock executor --package DIR --accept {version}, or "
        how += f"ASYNCBLOCK_ACCEPT={version} for a service of your own"
        if self.own:
            how = f"asyncblock resume {job.session.session_id} --accept {version}"
        return f"bring it back, or let the session go on under the code that is there: {how}"

    def _end(self, need: Need, job: Job) -> str:
        package = job.block.get("package")
        if self._drained(need):
            return f"no executor could run node {job.node_id} within {_time(self._limit(job))}: {_DRAINED}"
        if near := self._near(need):
            what = self._unoffered(need, near)
            return f"no executor could run node {job.node_id} within {_time(self._limit(job))}: {what}"
        have = self._have(need)
        held = ", ".join(f"{package!r} {each}" for each in have)
        words = f"executors have {held}" if held else "no connected executor has that package"
        words += f"; start one with {_START}"
        if need.group == SPAWN:
            words += "; it wants a process of its own (spawn: true), which an executor in another program can't start"
        besides = f", and {need.resources}" if need.resources else ""
        return (
            f"no executor could run node {job.node_id} within {_time(self._limit(job))}: it needs {need.language} and "
            f"package {package!r} with hash {need.version[:_SHORT]}{besides}; {words}"
        )


_DRAINED = (
    "every executor that could run it is drained, and takes no new jobs; let one take them again (on the page, under "
    "Executors, or by Mainframe.drain(link, False)), or start another"
)
_START = "'asyncblock executor --package DIR', DIR being the same files"


_ANEW = "start one anew where these files are; 'asyncblock executor --reload' follows edits"


def _place(job: Job) -> tuple[str, str]:
    """Return the session and the node of a job: what is said of one job there holds for all of them."""
    return job.session.session_id, job.node_id


def _described(need: Need, version: str) -> str:
    return f"{need.package} (version {version})" if version else need.package


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _time(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 600 else f"{seconds / 60:g} min"
