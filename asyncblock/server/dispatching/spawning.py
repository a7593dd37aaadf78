"""Processes for single jobs (``spawn: true``): asked for at an executor that can start them, and given their one job.

The process is a link of its own, whose id is chosen here. It gets its job when it says Hello; whoever started it sees
its exit and reports that. What is asked for isn't journaled: after a restart of the mainframe a waiting job asks again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from ...wire.messages import Spawn, Unspawn
from ..committing.transaction import Transaction
from ..jobstate.jobs import Job, JobState, LinkState

__all__ = ["Spawning", "spawn_slots"]


@dataclass(frozen=True, slots=True)
class _Asked:
    job: Job
    host: LinkState
    secret: str


def spawn_slots(link: LinkState) -> int:
    """Return how many more processes a link's executor can start."""
    return link.executor.spawn_slots - len(link.spawned) if link.executor is not None else 0


class Spawning:
    """The processes that were asked for, by link id, and their hosts."""

    def __init__(
        self, assign: Callable[[Transaction, Job, LinkState], None], enqueue: Callable[[Transaction, Job], None]
    ) -> None:
        self._assign = assign
        self._enqueue = enqueue
        self._asked: dict[str, _Asked] = {}
        self._hosts: dict[str, LinkState] = {}

    def ask(self, job: Job, host: LinkState) -> None:
        """Ask an executor to start a process for a job."""
        link_id = secrets.token_hex(8)
        host.spawned.add(link_id)
        # Until the process is there and takes it over.
        host.take(job.resources, 1)
        asked = self._asked[link_id] = _Asked(job, host, secrets.token_hex(16))
        self._hosts[link_id] = host
        host.send(Spawn(link_id, job.job_id, asked.secret))

    def ask_again(self, host: LinkState) -> None:
        """Repeat what an executor was asked, after a new Hello of its: asking twice changes nothing."""
        for link_id, asked in self._asked.items():
            if asked.host is host:
                host.send(Spawn(link_id, asked.job.job_id, asked.secret))

    def secret_of(self, link_id: str) -> str | None:
        """Return what a process proves by that it is the one that was asked for; None when none was."""
        asked = self._asked.get(link_id)
        return None if asked is None else asked.secret

    def arrived(self, transaction: Transaction, link: LinkState) -> None:
        """Give a process that was asked for its job, unless it isn't wanted any more."""
        if link.executor is None or not link.executor.once:
            return
        asked = self._pop(link.link_id)
        if asked is None:
            return
        if asked.job.state is JobState.WAITING:
            self._assign(transaction, asked.job, link)
        else:
            self.over(link.link_id, "its job has ended")

    def _pop(self, link_id: str) -> _Asked | None:
        asked = self._asked.pop(link_id, None)
        if asked is not None:
            asked.host.take(asked.job.resources, -1)
        return asked

    def over(self, link_id: str, reason: str) -> None:
        """End a process whose job is over; one that was never asked for is left alone."""
        host = self._hosts.pop(link_id, None)
        if host is not None:
            host.spawned.discard(link_id)
            host.send(Unspawn(link_id, reason))

    def hosts(self, host: LinkState, link_id: str) -> bool:
        """Tell whether a process was asked for at that executor."""
        return self._hosts.get(link_id) is host

    def ended(self, transaction: Transaction, link_id: str, reason: str) -> None:
        """Take in that a process has ended; a job that it hadn't been given yet fails, unless its executor leaves."""
        asked = self._pop(link_id)
        self.over(link_id, reason)
        if asked is not None and asked.job.state is JobState.WAITING:
            job = asked.job
            if asked.host.executor is None:
                # Its executor leaves, and has told it to: another one is asked.
                self._enqueue(transaction, job)
                return
            words = f"the process of node {job.node_id} ended before it took its job: {reason}"
            job.session.fail_job(transaction, job, words, retry=True)

    def host_gone(self, transaction: Transaction, host: LinkState) -> list[str]:
        """Ask elsewhere for what a lost executor hadn't started; return the processes that end with it."""
        for link_id in [link_id for link_id, asked in self._asked.items() if asked.host is host]:
            asked = self._pop(link_id)
            self._hosts.pop(link_id, None)
            if asked is not None and asked.job.state is JobState.WAITING:
                self._enqueue(transaction, asked.job)
        with_it = [link_id for link_id, each in self._hosts.items() if each is host]
        for link_id in with_it:
            del self._hosts[link_id]
        host.spawned.clear()
        return with_it
