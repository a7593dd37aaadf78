"""What happens to a session and its jobs from outside, as rows of its journal; and the snapshots between them.

Each of these notes a row and folds it in the same transaction. What the flow decides of it is ``session``'s.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any

import orjson

from ...wire.bodies import BodyRef
from ...wire.messages import Cancel, Close
from ...wire.records import TERMINAL, check
from ..committing.transaction import Transaction, now_ms
from ..jobstate.jobs import Attempt, Job, JobState, ValueSources
from ..jobstate.lives import Lost, VarValue
from ..journal import BodyKey, DropBody, Snapshot
from ..peers.lines import ChannelRecords
from ..sessionstate.recovery import SessionRecovery

__all__ = ["SessionRows"]

_SNAPSHOT_SHARE = 8
"""How many times its own length the journal grows before the next snapshot."""


class SessionRows(SessionRecovery):
    """A session as transactions, dispatch and links know it: all of ``jobs.JobOwner`` but its end."""

    _snapshot_at: int
    """Bytes of the session at which the next snapshot is due."""

    # ------------------------------------------------------------------ what blocks have sent

    def take(self, transaction: Transaction, attempt: Attempt, run: ChannelRecords) -> list[tuple[int, str]]:
        """Note a run of records as one line and fold it; return (index, reason) of those that are refused."""
        records, first = run.records, attempt.records
        attempt.records += len(records)
        if self.ended or attempt.finished:
            over = "its session is over" if self.ended else "its job has finished"
            return [(first + i, over) for i in range(len(records))]
        late = attempt.fenced or attempt.job.state is JobState.ENDED
        refused = [] if run.flat is not None and attempt.started else _refused(run, attempt.started or late)
        if run.flat is None:
            refused = attempt.job.arguments.beyond(records, refused)
        line = transaction.line(self, _line(attempt, run, first, refused, late))
        row, skip = (self.next_offset, line), {i for i, _ in refused}
        if not late:
            self._take_in(transaction, attempt, run, row, skip)
            self._check_size(transaction, attempt)
        elif run.flat is None:
            self._note_late(attempt, records, row, skip)
        return [(first + i, reason) for i, reason in refused]

    def _take_in(
        self, transaction: Transaction, attempt: Attempt, run: ChannelRecords, row: tuple[int, int], skip: set[int]
    ) -> None:
        """Fold the records of a line, but for those that were refused: ``skip`` has their places."""
        records = run.records
        if run.flat is not None and not skip and not any(self._consumed(attempt.job, h) for h in run.flat):
            # No node takes these outputs, so only their number counts (throughput).
            self.counted += len(records)
            return
        if self.watch is not None:
            self.watch.put_out(row, attempt.job.job_id, attempt.number)
            if run.flat is None:
                taken = [record for i, record in enumerate(records) if i not in skip] if skip else records
                self.watch.took(attempt.job.job_id, attempt.number, taken)
        size = len(run.raw) // max(len(records), 1)
        # If all of them are outputs by one handle, they are folded without a look at each (throughput).
        flat = next(iter(run.flat)) if run.flat is not None and len(run.flat) == 1 and not skip else ""
        self._fold_records(transaction, attempt, records, row, size, skip, flat)

    def _check_size(self, transaction: Transaction, attempt: Attempt) -> None:
        """End a job, and with it the flow, whose session takes more of the disk than a session may."""
        limit = self._owner.settings.session_bytes
        if self.bytes > limit and self.state == "running" and not attempt.fenced:
            error = f"disk limit of the session: it has {self.bytes} bytes in the journal, {limit} may be"
            self.fail_job(transaction, attempt.job, error, retry=False)
            attempt.link.send(Close(attempt.channel, attempt.job.job_id, attempt.number, error))

    # ------------------------------------------------------------------ what becomes of jobs

    def fail_job(
        self, transaction: Transaction, job: Job, error: str, *, retry: bool, lost: Lost | None = None
    ) -> None:
        """End a job's attempt without its word: the lease ended, the time is up, no executor can run it."""
        if job.state is JobState.ENDED:
            return
        transaction.say(
            self,
            "JobFailed",
            job_id=job.job_id,
            node_id=job.node_id,
            attempt=job.attempts,
            error=error,
            retry=retry,
            **({} if lost is None else {"lost": lost._asdict()}),
            t=now_ms(),
        )
        self._fold_failure(transaction, job, error, retry, lost=None if lost is None else lost._asdict())

    def assign(self, transaction: Transaction, job: Job, attempt: Attempt) -> None:
        """Note that an executor has been given a job."""
        transaction.say(
            self,
            "JobAssigned",
            job_id=job.job_id,
            node_id=job.node_id,
            attempt=attempt.number,
            link=attempt.link.link_id,
            channel=attempt.channel,
            **({"away": True} if attempt.away else {}),
            t=now_ms(),
        )
        job.retry_at = None
        self.links.add(attempt.link)
        self.served.add(job.code)

    def waits(self, transaction: Transaction, job: Job, reason: str) -> None:
        """Note that no executor can run a job."""
        fields = {"job_id": job.job_id, "node_id": job.node_id, "attempt": job.attempts + 1}
        transaction.say(self, "JobWaiting", **fields, version=job.block.get("hash", ""), reason=reason, t=now_ms())

    def goes_on(self, transaction: Transaction, job: Job, versions: list[str]) -> None:
        """Note that a job runs another version of its code than that which the session began with."""
        fields = {"job_id": job.job_id, "node_id": job.node_id, "attempt": job.attempts}
        transaction.say(
            self, "VersionAccepted", **fields, version=job.block.get("hash", ""), instead=versions, t=now_ms()
        )

    def release(self, transaction: Transaction, job: Job, reason: str) -> None:
        """Take a job back from an executor that never began it; it is handed out again."""
        transaction.say(
            self,
            "JobReleased",
            job_id=job.job_id,
            node_id=job.node_id,
            attempt=job.attempts,
            reason=reason,
            t=now_ms(),
        )
        self._fold_release(transaction, job)

    def stalled(self, transaction: Transaction, attempt: Attempt, seconds: float, where: str) -> None:
        """Note that a block keeps its event loop from running; its lease goes on."""
        job = attempt.job
        transaction.say(
            self,
            "JobStalled",
            job_id=job.job_id,
            node_id=job.node_id,
            attempt=attempt.number,
            seconds=seconds,
            where=where,
            t=now_ms(),
        )

    def cancel_one(self, transaction: Transaction, job: Job, reason: str) -> None:
        """Cancel a job from outside, whether it runs or waits; that ends its flow as an error does."""
        if job.cancelling is None:
            self.requests.cancel(transaction, job.job_id, reason)

    def say_cancel(self, job: Job) -> None:
        """Say the cancel of a job, if there is one. Repeating it changes nothing."""
        if job.cancelling is not None and job.attempt is not None:
            job.attempt.link.send(Cancel(job.job_id, job.attempt.number, job.cancelling, self.deadlines.grace))

    def _retry_later(self, transaction: Transaction, job: Job, error: str) -> None:
        """Journal when the next attempt is due: the pause outlives the mainframe."""
        pause = job.policy.pause(job.attempts)
        at = now_ms() + int(pause * 1000)
        job.retry_at = (at, pause)
        transaction.say(
            self,
            "JobRetrying",
            job_id=job.job_id,
            node_id=job.node_id,
            attempt=job.attempts,
            error=error,
            pause=pause,
            at=at,
            t=now_ms(),
        )
        transaction.after(lambda: self._owner.retry_later(job, pause))

    def _forward_preview(self, transaction: Transaction, job: Job, record: dict[str, Any], link: str) -> None:
        """Show a preview as the subflow node's too, level by level, as long as each flow forwards the node's."""
        flow, node_id, around = job.flow, job.node_id, self.flow_jobs.get(job.stacks[-1]["flow_job_id"])
        shown = {key: record[key] for key in ("payload", "id", "body", "about") if key in record}
        while around is not None and node_id in self.plan.flow(flow).forward_previews:
            transaction.say(
                self,
                "BlockPreview",
                job_id=around.job_id,
                node_id=around.node_id,
                from_node=node_id,
                link=link,
                **shown,
                t=record["t"],
            )
            flow, node_id = around.flow, around.node_id
            around = self.flow_jobs.get(around.stacks[-1]["flow_job_id"])

    # ------------------------------------------------------------------ values

    def value_exported(
        self, transaction: Transaction, value: tuple[str, int, int], file: tuple[str, str] | None, words: str | None
    ) -> None:
        """Note that a var value is in a file from now on, or (no file) that it can't be, and why."""
        job_id, attempt, place = value
        common = {"job_id": job_id, "attempt": attempt, "place": place}
        if file is None:
            transaction.say(self, "ValueStays", **common, reason=words, t=now_ms())
        else:
            note = {} if words is None else {"note": words}
            transaction.say(self, "ValueExported", **common, host=file[0], file=file[1], **note, t=now_ms())
        self.lives.exported(job_id, attempt, place, file, words if file is None else None)

    def value_carried(
        self, transaction: Transaction, value: tuple[str, int, int], body: BodyRef | None, words: str | None
    ) -> None:
        """Note that a var value is a body, too, or (no body) that it can't be had beyond its host, and why."""
        job_id, attempt, place = value
        said = {"reason": words} if body is None else {"body": body.to_json()}
        # It makes no recovery longer.
        self._snapshot_at += 0 if body is None else body.length
        transaction.say(self, "ValueCarried", job_id=job_id, attempt=attempt, place=place, **said, t=now_ms())
        self.lives.carried(value, body, words)

    def value_copied(
        self, transaction: Transaction, value: tuple[str, int, int], link_id: str, file: tuple[str, str]
    ) -> None:
        """Note that a var value came to another host, into a file there."""
        job_id, attempt, place = value
        common = {"job_id": job_id, "attempt": attempt, "place": place}
        transaction.say(self, "ValueCopied", **common, link=link_id, host=file[0], file=file[1], t=now_ms())
        self.lives.copied(value, link_id, file)

    def wait_for(self, transaction: Transaction, job: Job, missing: list[VarValue]) -> tuple[Lost, str | None] | None:
        """Let a job wait until its missing inputs are made again, or return which of them can't be, and why."""
        return self.recomputing.wait_for(transaction, job, missing)

    def sources_for(self, attempt: Attempt) -> ValueSources:
        """Return where an attempt's inputs are that are var values of other processes."""
        return self._owner.dispatch.exports.sources_for(attempt) or ValueSources()

    def release_values(self, transaction: Transaction) -> None:
        """Let go of var values that nothing holds any more, once it is in the journal why."""
        if self.lives.due and (gone := self.lives.settle()):
            transaction.after(lambda: self._owner.releases.add(self.session_id, gone))
        if self.lives.spent:
            self._drop_bodies(transaction)

    def _drop_bodies(self, transaction: Transaction) -> None:
        """Drop bodies that nothing will fetch: deleted once that is in the journal, for a restart needs them before.

        After such a restart a body counts as under way: its sender is told of it, or is gone, and the body with it.
        """
        spent, self.lives.spent = self.lives.spent, []
        for body in spent:
            key = BodyKey(body.link or "", body.n)
            transaction.write.drop_body(
                DropBody(session_no=self.number, link_id=key.link_id, n=key.n, length=body.length)
            )
            transaction.after(partial(self._discard, key))
            self.bytes -= body.length
            self._snapshot_at -= body.length

    def _discard(self, key: BodyKey) -> None:
        sender = self._owner.dispatch.links.get(key.link_id)
        if sender is None or key.n not in sender.bodies:
            # One that is sent again, for the answer was lost, is discarded by its sender.
            self._owner.discard_soon(key)

    # ------------------------------------------------------------------ rows and snapshots

    def row_stored(self) -> None:
        """A row has committed: let readers look."""
        self.stored_offset += 1
        self.end_stored = self.ended and self.stored_offset == self.next_offset
        for wake in list(self.readers):
            wake()

    def snapshot_if_due(self) -> Snapshot | None:
        """Return the state between two rows, when enough of the journal has been written since the last time.

        Larger states are written more rarely, so that all snapshots together cost a fraction of the journal.
        """
        if self.state != "running" or self.bytes < self._snapshot_at:
            return None
        if self._is_large():
            # Another process makes it. Where that is busy, the next row asks again.
            if self._owner.refolding.ask(self):
                self.snapshot_made(0)
            return None
        payload = orjson.dumps(self.to_snapshot())
        self.snapshot_made(len(payload))
        return Snapshot(session_no=self.number, offset=self.next_offset, payload=payload)

    def snapshot_made(self, size: int) -> None:
        """Let the next snapshot be due when the journal has grown, by more if this one is large."""
        self._snapshot_at = self.bytes + max(self._owner.settings.snapshot_bytes, _SNAPSHOT_SHARE * size)

    @abstractmethod
    def break_off(self, reason: str) -> None:
        """End the session as failed at once: something of ours broke in it, so that its state can't be trusted."""


def _refused(run: ChannelRecords, started: bool) -> list[tuple[int, str]]:
    """Return which records of a run can't be taken, and why: the form is wrong, or the place."""
    found = []
    finished = False
    for index, record in enumerate(run.records):
        reason = run.bad.get(index) or check(record)
        if reason is None:
            kind = record["type"]
            if finished:
                reason = f"{kind} comes after BlockFinished"
            elif kind == "JobStarted":
                reason = "JobStarted comes twice" if started else None
                started = True
            elif kind == TERMINAL:
                # Without JobStarted, too: the block's code or its inputs can't be had, so it never begins.
                finished = True
            elif not started:
                reason = f"{kind} comes before JobStarted"
        if reason is not None:
            found.append((index, reason[:150]))
    return found


def _line(attempt: Attempt, run: ChannelRecords, first: int, refused: list[tuple[int, str]], late: bool) -> bytes:
    """Return the line that notes a run of records. Joined at once: a concatenation would copy it (throughput)."""
    parts = [attempt.prefix, b',"n":%d,"records":' % first, run.raw]
    if refused:
        parts += b',"refused":', orjson.dumps(_once(refused))
    if late:
        parts.append(b',"late":true')
    return b"".join((*parts, b"}"))


def _once(refused: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Say a reason once where many records in a row have the same: the row is as large as what came, not larger."""
    before = ["", *(reason for _, reason in refused)]
    return [(index, "" if reason == last else reason) for (index, reason), last in zip(refused, before, strict=False)]
