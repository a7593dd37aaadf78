"""Handover: what the link says to an executor, handed over from the I/O thread to the executor's loop.

Nothing here may wait, and nothing may touch what is the loop's, but for what says of itself that any thread may.
"""

from __future__ import annotations

import secrets
from typing import Any

from ..errors import AsyncBlockError, RemoteProtocolError
from ..link import JobSender, Link
from ..wire.messages import Cancel, Carry, Close, Dispatch, Export, Live, Release, ServiceMessage, Spawn, Unspawn
from .attachment import Attachment
from .attempts.job import started_record
from .code.jobtemplates import JobTemplate, slim
from .offering import announced_offers
from .spawner import SPAWN_SLOTS

__all__ = ["Handover"]


class Handover:
    """The ``link.Host`` of an attachment, for one of its links. All of it is called on the I/O thread."""

    def __init__(self, attachment: Attachment, link: Link, partition: int) -> None:
        self._attachment = attachment
        self._link = link
        self._partition = partition
        self._port = attachment.loop_port(link)
        self._inbox = attachment.inbox
        executor = attachment.executor
        self._offers = announced_offers(executor.offers, executor.labels, executor.pool)

    def announcement(self) -> dict[str, Any] | None:
        if self._attachment.draining:
            return None
        executor, depot = self._attachment.executor, self._attachment.depot
        return {
            "languages": ["python"],
            "packages": executor.catalog.packages(),
            "slots": {
                "async": executor.async_slots,
                "sync": executor.sync_slots,
                "spawn": SPAWN_SLOTS if executor.spawner is not None and not executor.once else 0,
            },
            "once": executor.once,
            "understands": [Release.op, Live.op, *([Carry.op] if depot.host is not None else [])],
            **self._offers,
            **({"accepts": [*executor.catalog.accepts]} if executor.catalog.accepts else {}),
            **({"host": depot.host} if depot.host is not None else {}),
            **({"disk": depot.disk} if depot.disk is not None else {}),
        }

    def dispatch(self, message: Dispatch, sender: JobSender) -> None:
        if self._attachment.links.of(message.session_id) is not self._link:
            # What the job asks for would be asked of another partition.
            words = f"session {message.session_id!r} isn't in partition {self._partition}, which has sent a job of it"
            raise RemoteProtocolError(words)
        slots = self._attachment.slots
        if slots is not None and not slots.take(self._partition, message):
            return
        template = self._attachment.templates.of(message)
        if self._begins_at_once(message, template):
            # Said from here, it is on its way by the time the loop gets to the job: two wake-ups less (dispatch).
            sender.start(started_record())
        self._inbox.post(self._attachment.begin, slim(message, template), template, sender, self._port)

    def _begins_at_once(self, message: Dispatch, template: JobTemplate) -> bool:
        """Tell whether nothing has to be loaded, fetched or waited for before the author's code runs."""
        if "service" in message.block or message.bodies or message.carried:
            return False
        binding = self._attachment.catalog.cached(template.binding_key)
        return binding is not None and binding.is_async

    def reconnects(self) -> None:
        if self._attachment.slots is not None:
            self._attachment.slots.reconnects(self._partition)

    def cancel(self, message: Cancel) -> None:
        self._never_comes(message)
        self._inbox.post(self._attachment.with_job, message, lambda job: job.cancel(message.reason, message.grace))

    def spawn(self, message: Spawn) -> None:
        # A mainframe that gives no secret asks for none.
        secret = message.secret or secrets.token_hex(16)
        self._inbox.post(self._attachment.processes.start, self._link, self._partition, message.link, secret)

    def unspawn(self, message: Unspawn) -> None:
        self._inbox.post(self._attachment.processes.end, message.link)

    def _never_comes(self, message: Cancel | Close) -> None:
        if self._attachment.slots is not None:
            self._attachment.slots.ended(message)

    def close(self, message: Close) -> None:
        self._never_comes(message)
        self._inbox.post(self._attachment.with_job, message, lambda job: job.fence(message.reason))

    def session_ended(self, session_id: str) -> None:
        self._attachment.session_ended(session_id)

    def release(self, message: Release) -> None:
        self._attachment.carriage.release(message)
        self._inbox.post(self._attachment.upkeep.release, message)

    def live(self, message: Live) -> None:
        self._inbox.post(self._attachment.upkeep.live, message, self._link)

    def export(self, message: Export) -> None:
        self._attachment.exports.export(message)

    def carry(self, message: Carry) -> None:
        self._attachment.carriage.carry(message)

    def service_message(self, message: ServiceMessage) -> None:
        self._inbox.post(self._attachment.services.message, message)

    def lag(self) -> float:
        return self._attachment.watchdog.lag

    def held(self) -> tuple[int, int, int, int]:
        store, budget = self._attachment.store, self._attachment.budget
        return store.size, budget.limit, store.on_disk, budget.spilling.limit

    def link_over(self, error: AsyncBlockError) -> None:
        if self._attachment.slots is not None:
            self._attachment.slots.link_over(self._partition)
        self._inbox.post(self._attachment.lose_everything, self._link, error)
