"""Dispatch: which executor gets which job, and for how long it holds the lease.

A job goes to a connected executor that has its package with the same hash and a free slot. The lease is the link's: any
byte renews it, and it ends early only by evidence (the process's exit was seen, or a new process says Hello in its
place). Time during which the mainframe was down doesn't count.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Container, Iterable
from functools import partial
from typing import Any

from ...flow.plan import FlowPlan
from ...wire.messages import Close
from ..committing.transaction import Transaction
from ..committing.transactions import Transactions
from ..jobstate.jobs import Attempt, Job, JobState, LinkState
from ..jobstate.lives import Lost
from ..serverlimits import MAX_WORDS
from .absence import Absence
from .dispatchsender import DispatchSender
from .drained import Drained
from .freeslots import free_slots, spend
from .jobqueues import JobQueues, is_to_go_out
from .needs import BESIDE, SPAWN, Need, has_version, need_of
from .placing import Placing
from .returns import Returns
from .sharing import Sharing
from .spawning import Spawning, spawn_slots

__all__ = ["Dispatcher"]

logger = logging.getLogger("asyncblock.server")

_SURE = 2.0
"""Seconds without a word of a process before all of its jobs count as stalled: less may be a busy machine."""

_PUMPED = 50
"""Jobs of a queue that are handed out, or passed because they have ended, in one step of the loop."""


class Dispatcher:
    """Hands out jobs and keeps the leases."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self.links: dict[str, LinkState] = {}
        self._waiting = JobQueues()
        self._pumping: set[Need] = set()
        """Queues that are gone on with in the loop's next turn."""
        self._pins: dict[tuple[str, str], LinkState] = {}
        self._drained = Drained(self._pins)
        self.placing = Placing(self.links, self._free, transactions.settings)
        self.absence = Absence(transactions, self.links, self._waiting, self._drained.takes)
        self.sharing = Sharing(transactions, self.links, self._waiting)
        self.sender = DispatchSender(transactions, self.links)
        self.exports = self.sender.exports
        self.exports.handed_down = self._pump_soon
        self.exports.unheard = self.lost
        self.returns = Returns(transactions, self.links, self.placing, self.enqueue, self.value_lost, self.pump_all)
        self.spawning = Spawning(self._assign, self.enqueue)

    def link(self, link_id: str) -> LinkState:
        """Return a link by its id; one that the journal doesn't know any more is a stranger without jobs."""
        if link_id not in self.links:
            self.links[link_id] = LinkState(link_id, 0, "", "")
        return self.links[link_id]

    # ------------------------------------------------------------------ jobs

    def enqueue(self, transaction: Transaction, job: Job) -> None:
        """Hand a job out, now or when an executor is free."""
        job.queued_at = job.queued_at or self._transactions.loop.time()
        need = need_of(job)
        if need in self._waiting:
            self._waiting.add(need, (job,))
            self._pump(transaction, need)
        elif not self._hand_out(transaction, need, job):
            self._waiting.add(need, (job,))
        if need in self._waiting:
            self.absence.waits(need)
            if need.resources.amounts:
                self.sharing.waits(need, job)

    def enqueue_all(self, transaction: Transaction, jobs: Iterable[Job]) -> None:
        """Hand jobs out, or let them wait, as one after the other would be; a hundred thousand may be (memory)."""
        for need, left in _by_need(jobs, self._transactions.loop.time()).items():
            while left and need not in self._waiting:
                self.enqueue(transaction, left.popleft())
            if left:
                self._waiting.add(need, left)
                self.absence.waits(need)
                for job in left if need.resources.amounts else ():
                    self.sharing.waits(need, job)

    def withdraw(self, job: Job) -> None:
        """Hand a job out no more; its place in the queue is skipped when it comes up."""
        job.state = JobState.ENDED
        self.returns.withdraw(job)
        if self.sharing.keeps_for(need_of(job)):
            # Others may have had to wait for it alone.
            self._transactions.supervisor.soon(self._pump_soon, what="the turn of the next job")

    def _pump_soon(self) -> None:
        with self._transactions.new_transaction() as transaction:
            self.pump_all(transaction)

    def pump_all(self, transaction: Transaction) -> None:
        """Hand out what can be handed out: an executor came, or slots were freed."""
        scarce = []
        for need in list(self._waiting):
            if need.resources.amounts:
                scarce.append(need)
            else:
                self._pump(transaction, need)
        for need in self.sharing.in_turn(scarce):
            self._pump(transaction, need)
            if need in self._waiting:
                self.sharing.keep(need)

    def _pump(self, transaction: Transaction, need: Need) -> None:
        queue = self._waiting[need]
        for _ in range(_PUMPED):
            if not queue:
                del self._waiting[need]
                return
            job = queue.popleft()
            if is_to_go_out(job) and not self._hand_out(transaction, need, job):
                queue.appendleft(job)
                return
        if need not in self._pumping:
            self._pumping.add(need)
            self._transactions.supervisor.soon(self._pump_on, need, what="handing jobs out")

    def _pump_on(self, need: Need) -> None:
        self._pumping.discard(need)
        if need in self._waiting and not self._transactions.supervisor.closed:
            with self._transactions.new_transaction() as transaction:
                self._pump(transaction, need)

    def _hand_out(self, transaction: Transaction, need: Need, job: Job) -> bool:
        """Give a job to an executor, if one is free."""
        link = self._choose(need, job)
        if link is None:
            return False
        if job.session.lives.any:
            has = self.placing.can_come if need.group == SPAWN else self.placing.has
            missing = job.session.lives.missing(job.inputs.values(), partial(has, link))
            if missing:
                transaction.after(self.returns.noted(job, missing))
                return True
        if need.group == SPAWN:
            self.spawning.ask(job, link)
        else:
            self._assign(transaction, job, link)
        return True

    def value_lost(self, transaction: Transaction, job: Job, lost: Lost, reason: str | None = None) -> None:
        """End a job whose input can't be had, for a reason beyond that."""
        job.session.fail_job(transaction, job, _lost_words(job, lost, reason), retry=False, lost=lost)

    def came(self, transaction: Transaction, link: LinkState) -> None:
        """An executor has said what it can do, or was told what it may: hand out what waited for it."""
        self.spawning.arrived(transaction, link)
        self.returns.came(transaction, link)
        self.pump_all(transaction)
        self.absence.review()

    def _choose(self, need: Need, job: Job) -> LinkState | None:
        if need.group == SPAWN:
            return self._choose_host(need, job)
        if need.group is not None and need.group.startswith(BESIDE):
            return self._choose_beside(need, need.group.removeprefix(BESIDE))
        if need.group is not None:
            home = self._pins.get((need.session or "", need.group))
            home = home if home is not None and home.executor is not None else None
            return self.placing.choose(job, need, home, partial(self._choose_any, need))
        return self._choose_any(need)

    def _choose_host(self, need: Need, job: Job) -> LinkState | None:
        """Choose the executor that starts a process for a job: one that its var values can reach, if there is one."""
        hosts = [link for link in self.links.values() if spawn_slots(link) > 0 and self._has_room(link, need)]
        return max(self.placing.nearest(job, need, hosts), key=spawn_slots, default=None)

    def _choose_any(self, need: Need) -> LinkState | None:
        """Choose the executor that has most room."""
        best, most = None, (False, 0)
        for link in self.links.values():
            free = self._free(link, need)
            # Those that run another version instead come last.
            if free > 0 and (rank := (has_version(link, need), free)) > most:
                best, most = link, rank
        return best

    def _choose_beside(self, need: Need, link_id: str) -> LinkState | None:
        """Choose for a job that another one waits for: slots don't count, or all of them might wait for each other."""
        link = self.links.get(link_id)
        if link is not None and link.executor is not None:
            return link if self._has_room(link, need) else None
        serving = [link for link in self.links.values() if link.executor is not None and self._has_room(link, need)]
        return max(serving, key=lambda link: link.executor.slots - link.load if link.executor else 0, default=None)

    def _has_room(self, link: LinkState, need: Need) -> bool:
        """Tell whether a link's executor can run a job and has the resources for it; slots don't count."""
        return self._drained.takes(link, need) and self.sharing.has_room(link, need)

    def _free(self, link: LinkState, need: Need) -> int:
        """Return how many more jobs like this a link's executor can take."""
        if link.executor is None or not self._has_room(link, need):
            return 0
        return free_slots(link, link.executor, in_thread=need.in_thread)

    @property
    def waiting(self) -> int:
        """How many jobs wait for an executor; those that have ended meanwhile may still count."""
        return self._waiting.jobs

    def _assign(self, transaction: Transaction, job: Job, link: LinkState) -> None:
        job.begins()
        job.attempts += 1
        attempt = Attempt(job, job.attempts, link, link.next_channel)
        attempt.assigned_at = now = self._transactions.loop.time()
        self._transactions.timings.queue_wait.observe(now - job.queued_at)
        job.queued_at = 0.0
        link.next_channel += 1
        link.attempts[attempt.channel] = attempt
        link.given = True
        _count(attempt, 1)
        spend(link, job)
        job.attempt, job.state = attempt, JobState.ASSIGNED
        if job.group is not None and not job.block.get("spawn"):
            attempt.away = self._pin(job, link)
        job.session.assign(transaction, job, attempt)
        executor = link.executor
        if executor is not None and executor.accepts and not has_version(link, need_of(job)):
            job.session.goes_on(
                transaction, job, [hash for hash, name in executor.packages.items() if name == job.code]
            )
        transaction.after(lambda: self.sender.send(attempt))

    def _pin(self, job: Job, link: LinkState) -> bool:
        """Let a job's executor be its group's, unless the group has one; tell whether that is another one."""
        key = (job.session.session_id, str(job.group))
        home = self._pins.get(key)
        if home is not None and home.executor is not None and home is not link and not key[1].startswith(BESIDE):
            return True
        self._pins[key] = link
        return False

    def freed(self, transaction: Transaction, attempt: Attempt, *, finished: bool) -> None:
        """An attempt is over: its slot is free. Unless it said so itself, its channel stays for late records."""
        link = attempt.link
        _count(attempt, -1)
        self.spawning.over(link.link_id, "its job has ended")
        if finished:
            transaction.after(lambda: link.attempts.pop(attempt.channel, None))
        if self._waiting:
            self.pump_all(transaction)

    def unpin(self, session_id: str, flow_job_id: str, flow: FlowPlan) -> None:
        """Forget the pins of a subflow's run."""
        for node in flow.nodes:
            if node.group is not None:
                self._pins.pop((session_id, f"{flow_job_id}:{node.group}"), None)

    def forget(self, session: object, links: Iterable[LinkState]) -> None:
        """Close the channels of a session's fenced attempts: what still comes on them has no place any more."""
        for link in links:
            for channel in [ch for ch, attempt in link.attempts.items() if attempt.job.session is session]:
                del link.attempts[channel]

    def session_over(self, session_id: str) -> None:
        """Forget the pins of a session."""
        for key in [key for key in self._pins if key[0] == session_id]:
            del self._pins[key]
        self.exports.session_over(session_id)

    # ------------------------------------------------------------------ leases

    def is_gone(self, link_id: str) -> bool:
        """Tell whether a link's process has ended, or isn't known any more."""
        link = self.links.get(link_id)
        return link is None or not link.is_there

    def stop_timers(self) -> None:
        """Let no lease run out and tell of no absence any more."""
        self.absence.stop()
        self.returns.stop()
        self.sharing.stop()
        for link in self.links.values():
            self.back(link)

    def adopt(self, attempt: Attempt) -> None:
        """After a restart: an open attempt belongs to its link again; its lease begins anew."""
        link = attempt.link
        link.attempts[attempt.channel] = attempt
        link.next_channel = max(link.next_channel, attempt.channel + 1)
        _count(attempt, 1)
        if attempt.job.group is not None and not (attempt.away or attempt.job.block.get("spawn")):
            self._pins[attempt.job.session.session_id, attempt.job.group] = link
        if link.connection is None:
            self.lost(link)

    def lost(self, link: LinkState) -> None:
        """A link has no connection: its lease runs out unless it comes back."""
        if link.executor is not None:
            self.absence.review()
        if link.lease_timer is None and (link.load or self.exports.awaits(link)):
            link.lease_timer = self._transactions.supervisor.later(
                self._transactions.settings.lease, self._expired, link, what="the end of a lease"
            )

    def back(self, link: LinkState) -> None:
        """A link is connected again."""
        if link.lease_timer is not None:
            link.lease_timer.cancel()
            link.lease_timer = None

    def held(self, link_id: str, seconds: float, threads: list[Any], works: bool) -> None:
        """Take in what its parent sees of a process that can't speak for itself: if it works, its lease begins anew.

        ``threads`` are the frames of each, the innermost first, as ``[file, line, function]``; the block that one of
        them stands in is told as stalled, and if that can't be known, all that run there: none of them gets on.
        """
        link = self.links.get(link_id)
        if link is None:
            return
        if works and link.lease_timer is not None:
            self.back(link)
            self.lost(link)
        with self._transactions.new_transaction() as transaction:
            for attempt, where in _noted(link, threads, seconds, self._transactions.loop.time()):
                attempt.job.session.stalled(transaction, attempt, seconds, where)

    def _expired(self, link: LinkState) -> None:
        link.lease_timer = None
        self.gone(link, f"nothing was heard of its executor for {self._transactions.settings.lease:g} s")

    def gone(self, link: LinkState, reason: str, blamed: Container[int] = ()) -> None:
        """End every lease of a link, by evidence or because its time is up.

        Attempts that haven't begun are handed out again as if they had never been, but not those on channels that are
        ``blamed`` for it: the next executor would have the same.
        """
        link.executor = link.host = link.disk = None
        link.expected = False
        with self._transactions.new_transaction() as transaction:
            with_it = self.spawning.host_gone(transaction, link)
            self.exports.maker_gone(transaction, link, reason)
            for attempt in list(link.attempts.values()):
                job = attempt.job
                if attempt.fenced:
                    continue
                link.send(Close(attempt.channel, job.job_id, attempt.number, f"lease lost: {reason}"))
                if job.state is JobState.ASSIGNED and job.cancelling is None and attempt.channel not in blamed:
                    job.session.release(transaction, job, reason)
                else:
                    job.session.fail_job(
                        transaction, job, f"the executor of node {job.node_id} is gone: {reason}", retry=True
                    )
            # What waited for its values finds them elsewhere now, or lost.
            self.pump_all(transaction)
        for link_id in with_it:
            self.process_ended(link_id, f"the process that started it is gone: {reason}")
        self.absence.review()

    def process_ended(self, link_id: str, reason: str) -> None:
        """Take in that a process which was started for one job has ended."""
        with self._transactions.new_transaction() as transaction:
            self.spawning.ended(transaction, link_id, reason)
        link = self.links.get(link_id)
        if link is not None:
            self.gone(link, reason)


def _by_need(jobs: Iterable[Job], now: float) -> dict[Need, deque[Job]]:
    """Return jobs that begin to wait, by what they ask for."""
    found: dict[Need, deque[Job]] = {}
    for job in jobs:
        job.queued_at = job.queued_at or now
        found.setdefault(need_of(job), deque()).append(job)
    return found


def _lost_words(job: Job, lost: Lost, reason: str | None) -> str:
    maker = f"node {lost.node_id} (job {lost.job_id}, attempt {lost.attempt})" if lost.node_id else lost.job_id
    words = f"node {job.node_id} needs the var value of handle {lost.handle!r} of {maker}, which was in the memory "
    words += "of its executor's process: that process has ended, or "
    if job.block.get("spawn"):
        words += "the value can't leave it for the block's own process (spawn: true): then 'stays' in the "
        words += "value's reference says why"
    else:
        words += "can't run this block, or has only a part of what it needs"
    if lost.why is not None:
        words += f". It isn't anywhere else: {lost.why}"
    if reason is not None:
        words += f"; {reason}"
    if lost.node_id:
        words += f". Node {lost.node_id} must run again: asyncblock retry {job.session.session_id}"
        if reason is None:
            words += ". A block that says 'recompute: true' makes such values again by itself"
    return words


def _standing(link: LinkState, threads: list[Any], seconds: float) -> list[tuple[Attempt, str]]:
    """Return the attempts that keep a link's process from speaking, and where each of them stands."""
    running = [each for each in link.attempts.values() if not each.fenced and each.job.state is JobState.RUNNING]
    found = [(attempt, where) for attempt in running if (where := _stands_at(attempt, threads)) is not None]
    if threads and not found and seconds >= _SURE:
        return [(attempt, "code that holds the interpreter's lock") for attempt in running]
    return found


def _noted(link: LinkState, threads: list[Any], seconds: float, now: float) -> list[tuple[Attempt, str]]:
    """Note on a link where its process stands, whether it has jobs or not; return as ``_standing``."""
    standing = _standing(link, threads, seconds)
    if threads:
        link.stall = (now, seconds, standing[0][1] if standing else _innermost(threads))
    return standing


def _innermost(threads: list[Any]) -> str:
    """Return where the first thread stands, in words: of a process that holds the lock it is the main one."""
    for file, line, function in threads[0][:1]:
        return f"{function} ({file}:{line})"[:MAX_WORDS]
    return "code that holds the interpreter's lock"


def _stands_at(attempt: Attempt, threads: list[Any]) -> str | None:
    """Return the innermost line of a block's own file in a thread that runs it, in words."""
    entry = "/" + str(attempt.job.block.get("entry", ""))
    for frames in threads:
        for file, line, function in frames:
            if str(file).endswith(entry):
                return f"{function} ({file}:{line})"
    return None


def _count(attempt: Attempt, change: int) -> None:
    attempt.link.load += change
    if attempt.job.resources.amounts:
        attempt.link.take(attempt.job.resources, change)
    if attempt.job.in_thread:
        attempt.link.sync_load += change
