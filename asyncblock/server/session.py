"""A session: one run of a flow, live. What happens to it becomes lines, which ``fold`` takes in; the flow decides what
follows, and here that is journaled and acted on.

``recovery`` brings it back from its journal, ``deadlines`` has its clocks, ``sessionvalues`` its values. Nothing here
may act on what isn't a line of the same turn.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import orjson

from ..flow import conditions
from ..flow.entries import (
    Cancelled,
    ConditionDecided,
    Decision,
    Fact,
    FlowJobFinished,
    FlowJobOutput,
    FlowJobStarted,
    JobCreated,
    RunFinished,
    SessionBegun,
)
from ..flow.plan import Plan
from ..resources import NOTHING
from ..wire.messages import Cancel, Close, SessionEnded
from ..wire.records import TERMINAL, check
from .blockspec import BlockKind, title_of
from .bounds import INLINE_BYTES
from .deadlines import Deadlines
from .fold import SessionOwner
from .jobs import Attempt, Job, JobState
from .journal import Snapshot
from .lines import ChannelRecords
from .lives import Lost, VarValue
from .needs import BESIDE
from .recomputing import Recomputing
from .recovery import SessionRecovery
from .requests import BlockRequests
from .spill import sizes, spill
from .turn import Turn
from .values import Found

__all__ = ["RunningSession"]

_SNAPSHOT_SHARE = 8
"""How many times its own length the journal grows before the next snapshot."""

_NOT_BEGUN = "its flow was over before an executor had it"

_DROPPED = 200
"""Jobs that wait and are ended in one step of the loop, each in some 8 µs."""


class RunningSession(SessionRecovery):
    """One run of a flow, from its start to its one terminal state."""

    def __init__(
        self,
        owner: SessionOwner,
        number: int,
        session_id: str,
        plan: Plan,
        inputs: dict[str, Any],
        created_at: int,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(owner, number, session_id, plan, inputs, created_at, metadata)
        self.requests = BlockRequests(self, owner)
        self.recomputing = Recomputing(self, owner.dispatch)
        self.deadlines = Deadlines(self, owner)
        self._kinds: dict[tuple[str | None, str], BlockKind] = {}
        """By flow and node, of those that no slot or block chooses."""
        self._unacted: deque[Decision] = deque()
        self._acting = False
        self._settling = False
        self._dropped: deque[Job] = deque()
        """Jobs of a flow that is over, as far as they haven't been looked at."""
        self._snapshot_at = owner.settings.snapshot_bytes
        """Bytes of the session at which the next snapshot is due."""

    def _begin(self, coroutine: Coroutine[Any, Any, None], what: str) -> None:
        self._owner.supervisor.begin(coroutine, what, self)

    # ------------------------------------------------------------------ live events

    def start(self, turn: Turn, title: str, plan: dict[str, Any]) -> None:
        """Begin: the plan, as JSON, goes into the journal whole, then the flow's first decisions."""
        turn.say(
            self,
            "SessionStarted",
            session_id=self.session_id,
            title=title,
            path=self.plan.path,
            plan=plan,
            inputs=self.inputs,
            **({"metadata": self.metadata} if self.metadata else {}),
            t=_now(),
        )
        self.feed(turn, SessionBegun())

    def take(self, turn: Turn, attempt: Attempt, run: ChannelRecords) -> list[tuple[int, str]]:
        """Take in a run of records; return (index, reason) of those that are refused."""
        records, first = run.records, attempt.records
        attempt.records += len(records)
        if self.ended or attempt.finished:
            over = "its session is over" if self.ended else "its job has finished"
            return [(first + i, over) for i in range(len(records))]
        late = attempt.fenced or attempt.job.state is JobState.ENDED
        refused = [] if run.flat is not None and attempt.started else _refused(run, attempt.started or late)
        if run.flat is None:
            refused = attempt.job.arguments.beyond(records, refused)
        # Joined at once: each concatenation would copy all of it (throughput).
        parts = [attempt.prefix, b',"n":%d,"records":' % first, run.raw]
        if refused:
            parts += b',"refused":', orjson.dumps(_once(refused))
        if late:
            parts.append(b',"late":true')
        line = turn.line(self, b"".join((*parts, b"}")))
        if not late:
            size = len(run.raw) // max(len(records), 1)
            if run.flat is not None and not refused and not any(self._consumed(attempt.job, h) for h in run.flat):
                self.counted += len(records)
            else:
                skip = {i for i, _ in refused}
                if self.watch is not None:
                    self.watch.put_out((self.next_offset, line), attempt.job.job_id, attempt.number)
                    if run.flat is None:
                        taken = [record for i, record in enumerate(records) if i not in skip] if skip else records
                        self.watch.took(attempt.job.job_id, attempt.number, taken)
                self._fold_records(turn, attempt, records, (self.next_offset, line), size, skip)
            self._check_size(turn, attempt)
        elif run.flat is None:
            self._note_late(attempt, records, (self.next_offset, line), {i for i, _ in refused})
        return [(first + i, reason) for i, reason in refused]

    def _check_size(self, turn: Turn, attempt: Attempt) -> None:
        """End a job, and with it the flow, whose session takes more of the disk than a session may."""
        limit = self._owner.settings.session_bytes
        if self.bytes > limit and self.state == "running" and not attempt.fenced:
            error = f"disk limit of the session: it has {self.bytes} bytes in the journal, {limit} may be"
            self.fail_job(turn, attempt.job, error, retry=False)
            attempt.link.send(Close(attempt.channel, attempt.job.job_id, attempt.number, error))

    def fail_job(self, turn: Turn, job: Job, error: str, *, retry: bool, lost: Lost | None = None) -> None:
        """End a job's attempt without its word: the lease ended, the time is up, nobody can run it."""
        if job.state is JobState.ENDED:
            return
        turn.say(
            self,
            "JobFailed",
            job_id=job.job_id,
            node_id=job.node_id,
            attempt=job.attempts,
            error=error,
            retry=retry,
            **({} if lost is None else {"lost": lost._asdict()}),
            t=_now(),
        )
        self._fold_failure(turn, job, error, retry, lost=None if lost is None else lost._asdict())

    def cancel(self, turn: Turn, reason: str) -> None:
        """End the session: what waits is dropped, what runs is cancelled."""
        if self.state != "running":
            return
        turn.urgent = True
        turn.say(self, "SessionCancelled", reason=reason, t=_now())
        self.feed(turn, Cancelled(reason))

    def break_off(self, reason: str) -> None:
        """End the session as failed at once: something of ours broke in it, so that its state can't be trusted.

        The run isn't asked any more, and no job is waited for: each one is fenced and its executor told to stop it.
        """
        with self._owner.turn() as turn:
            self._unacted.clear()
            for job in list(self.jobs.values()):
                if (attempt := job.attempt) is not None:
                    attempt.link.send(Close(attempt.channel, job.job_id, attempt.number, reason))
                    self._close_attempt(turn, attempt, "failed", reason, finished=False)
                self._owner.dispatch.withdraw(job)
                job.attempt = None
            self.jobs.clear()
            self.deadlines.stop_all()
            self._finish_with(turn, RunFinished("failed", reason, {}), {})

    def assign(self, turn: Turn, job: Job, attempt: Attempt) -> None:
        """Note that an executor has been given a job."""
        turn.say(
            self,
            "JobAssigned",
            job_id=job.job_id,
            node_id=job.node_id,
            attempt=attempt.number,
            link=attempt.link.link_id,
            channel=attempt.channel,
            **({"away": True} if attempt.away else {}),
            t=_now(),
        )
        job.retry_at = None
        self.links.add(attempt.link)
        self.served.add(job.code)

    def waits(self, turn: Turn, job: Job, reason: str) -> None:
        """Note that no executor can run a job."""
        fields = {"job_id": job.job_id, "node_id": job.node_id, "attempt": job.attempts + 1}
        turn.say(self, "JobWaiting", **fields, version=job.block.get("hash", ""), reason=reason, t=_now())

    def goes_on(self, turn: Turn, job: Job, versions: list[str]) -> None:
        """Note that a job runs another version of its code than that which the session began with."""
        fields = {"job_id": job.job_id, "node_id": job.node_id, "attempt": job.attempts}
        turn.say(self, "VersionAccepted", **fields, version=job.block.get("hash", ""), instead=versions, t=_now())

    def release(self, turn: Turn, job: Job, reason: str) -> None:
        """Take a job back from an executor that never began it; it is handed out again."""
        turn.say(
            self,
            "JobReleased",
            job_id=job.job_id,
            node_id=job.node_id,
            attempt=job.attempts,
            reason=reason,
            t=_now(),
        )
        self._fold_release(turn, job)

    def stalled(self, turn: Turn, attempt: Attempt, seconds: float, where: str) -> None:
        """Note that a block keeps its event loop from running; its lease goes on."""
        job = attempt.job
        turn.say(
            self,
            "JobStalled",
            job_id=job.job_id,
            node_id=job.node_id,
            attempt=attempt.number,
            seconds=seconds,
            where=where,
            t=_now(),
        )

    def journal_broken(self, turn: Turn, epoch: str, reason: str) -> None:
        """Note that rows after this journal's last one may be lost, and end every lease: attempts are fenced by epoch.

        Whether an executor has begun a job, or even finished it, may be what was lost: the retry policy decides.
        """
        turn.say(self, "JournalBroken", epoch=epoch, reason=reason, t=_now())
        words = f"the mainframe's journal was broken ({reason}): what has become of its attempt can't be known"
        for job in [job for job in self.jobs.values() if job.attempt is not None]:
            self.fail_job(turn, job, words, retry=True)

    def cancel_one(self, turn: Turn, job: Job, reason: str) -> None:
        """Cancel a job for somebody outside, whether it runs or waits; that ends its flow as an error does."""
        if job.cancelling is None:
            self.requests.cancel(turn, job.job_id, reason)

    def fail_flow_job(self, turn: Turn, job_id: str, error: str) -> None:
        """End a run of a subflow, or a condition, from outside: its time is up, or its caller cancelled it."""
        self._undecided.pop(job_id, None)
        if self._run.is_open(job_id):
            turn.say(self, "JobFailed", job_id=job_id, attempt=1, error=error, retry=False, t=_now())
            self._feed_failure(turn, error, None, job_id=job_id, **self._node_of(job_id))

    def row_stored(self) -> None:
        """A row has committed: let readers look."""
        self.stored_offset += 1
        self.end_stored = self.ended and self.stored_offset == self.next_offset
        for wake in list(self.readers):
            wake()

    # ------------------------------------------------------------------ folds: live and in a replay

    def _retry_later(self, turn: Turn, job: Job, error: str) -> None:
        """Journal when the next attempt is due: the pause outlives the mainframe."""
        pause = job.policy.pause(job.attempts)
        at = _now() + int(pause * 1000)
        job.retry_at = (at, pause)
        turn.say(
            self,
            "JobRetrying",
            job_id=job.job_id,
            node_id=job.node_id,
            attempt=job.attempts,
            error=error,
            pause=pause,
            at=at,
            t=_now(),
        )
        turn.after(lambda: self._owner.retry_later(job, pause))

    def _forward_preview(self, turn: Turn, job: Job, record: dict[str, Any], link: str) -> None:
        """Show a preview as the subflow node's too, level by level, as long as each flow forwards the node's."""
        flow, node_id, around = job.flow, job.node_id, self.flow_jobs.get(job.stacks[-1]["flow_job_id"])
        shown = {key: record[key] for key in ("payload", "id", "body", "about") if key in record}
        while around is not None and node_id in self.plan.flow(flow).forward_previews:
            turn.say(
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

    # ------------------------------------------------------------------ the flow's decisions

    def feed(self, turn: Turn | None, fact: Fact) -> None:
        """Give the flow a fact. Live (with a turn) it decides, and the decisions are journaled and acted on."""
        if turn is None:
            self._run.replay(fact)
            return
        self._journal_decisions(turn, self._run.feed(fact, turn.jobs))

    def _settle(self) -> None:
        """Go on deciding, in a turn of its own: thousands of jobs may follow from what came together."""
        self._settling = False
        if not (self._owner.supervisor.closed or self.ended):
            with self._owner.turn() as turn:
                self._journal_decisions(turn, self._run.settle(turn.jobs))

    def _journal_decisions(self, turn: Turn, decisions: list[Decision]) -> None:
        turn.jobs -= len(decisions)
        if self._run.unsettled and not self._settling:
            self._settling = True
            self._owner.supervisor.soon(self._settle, what="deciding", session=self)
        for decision in decisions:
            line = decision.to_json()
            line["t"] = _now()
            if isinstance(decision, FlowJobOutput) and (constant := self._constant(decision.ref)) is not None:
                # Readers have the journal's rows and no plan.
                line["value"] = constant.value
            turn.line(self, orjson.dumps(line))
        # What acting leads to (a condition whose values are here is decided at once) comes after what was decided
        # before: the journal has the order in which the run has changed.
        self._unacted.extend(decisions)
        if self._acting:
            return
        self._acting = True
        try:
            while self._unacted:
                self._act(turn, self._unacted.popleft())
        finally:
            self._acting = False

    def _act(self, turn: Turn, decision: Decision) -> None:
        if isinstance(decision, JobCreated):
            if decision.kind == "condition":
                self._undecided[decision.job_id] = decision
                self._resolve(decision.inputs, lambda t, found: self._decide(t, decision, found), turn)
                if self._run.is_open(decision.job_id):
                    self.deadlines.begin_flow(decision)
            else:
                self._owner.dispatch.enqueue(turn, self.create(decision))
        elif isinstance(decision, FlowJobStarted):
            self._open_flow(decision)
        elif isinstance(decision, FlowJobOutput):
            self._fold_flow_output(decision)
        elif isinstance(decision, FlowJobFinished):
            self._fold_flow_end(turn, decision)
        elif isinstance(decision, RunFinished):
            self._conclude(turn, decision)

    def create(self, created: JobCreated, since: int | None = None) -> Job:
        node = self.plan.resolve(created.flow, created.node_id, created.spec)
        group, within = node.group, NOTHING
        if group is not None and created.flow is not None and not group.startswith("*"):
            group = f"{created.stacks[-1]['flow_job_id']}:{group}"
        if group is None and created.caller is not None and created.spec is not None:
            beside = created.spec[2].get("beside", "") if len(created.spec) > 2 else ""
            group = BESIDE + beside
            caller = self.jobs.get(created.caller) if beside else None
            within = NOTHING if caller is None else caller.within
        kind = self._kinds.get((created.flow, created.node_id)) if created.spec is None else None
        if kind is None:
            kind = BlockKind.of(node.block)
            if created.spec is None:
                self._kinds[created.flow, created.node_id] = kind
        job = Job(
            session=self,
            job_id=created.job_id,
            node_id=created.node_id,
            stacks=created.stacks,
            # Neither is changed by anybody; one copy for each of a hundred thousand jobs would be half of their memory.
            kind=kind,
            inputs=created.inputs,
            group=group,
            roams=node.roams,
            timeout=node.timeout,
            flow=created.flow,
            caller=created.caller,
            created=created,
            within=within,
        )
        self.jobs[job.job_id] = job
        if self.watch is not None:
            self._tell_began(created, title_of(node.block), since)
        if job.block.get("recompute"):
            self.lives.remember(created, self.jobs)
        if job.timeout is not None:
            self.deadlines.begin(job, job.timeout, since)
        return job

    def create_again(self, turn: Turn, created: JobCreated) -> None:
        """Let a job run again for values that are lost."""
        self._note_again(created)
        self._journal_decisions(turn, [created])

    def _decide(self, turn: Turn, created: JobCreated, found: dict[str, Found]) -> None:
        if not self._run.is_open(created.job_id):
            return
        self.deadlines.over(created.job_id)
        self._undecided.pop(created.job_id, None)
        block = self.plan.resolve(created.flow, created.node_id, created.spec).block
        tested = conditions.tested(block["cases"])
        large = sorted(handle for handle, each in found.items() if each.body is not None and handle in tested)
        if large:
            self.fail_flow_job(turn, created.job_id, _too_large_to_test(large))
            return
        values = {handle: each.value for handle, each in found.items()}
        handle = conditions.decide(block["cases"], block.get("default"), values)
        ref = next(iter(created.inputs.values()), None)
        turn.say(self, "ConditionDecided", job_id=created.job_id, handle=handle, ref=ref, t=_now())
        self.feed(turn, ConditionDecided(created.job_id, handle, ref))

    def _conclude(self, turn: Turn, verdict: RunFinished) -> None:
        """The flow is over: cancel what still runs, then end."""
        self._verdict = verdict
        self.state = "ending"
        reason = verdict.error or "the flow has finished"
        for link in self.links:
            for attempt in link.attempts.values():
                if attempt.job.session is self and attempt.job.attempt is attempt:
                    self.cancel_job(attempt.job, reason)
        self._dropped.extend(self.jobs.values())
        self._drop_some(turn)
        if self.jobs:
            self.deadlines.abandon_all_later()
        self._end_if_quiet(turn)

    def _drop_some(self, turn: Turn) -> None:
        """End jobs that no executor has, some at a time: there may be a hundred thousand."""
        for _ in range(min(len(self._dropped), _DROPPED)):
            job = self._dropped.popleft()
            if job.attempt is None and job.state is not JobState.ENDED:
                self._owner.dispatch.withdraw(job)
                self._end_job(turn, job, _NOT_BEGUN)
                self._run.drop(job.job_id)
        if self._dropped:
            self._owner.supervisor.soon(self._drop_more, what="the end of jobs", session=self)

    def _drop_more(self) -> None:
        if not self._owner.supervisor.closed:
            with self._owner.turn() as turn:
                self._drop_some(turn)
                self._end_if_quiet(turn)

    def cancel_job(self, job: Job, reason: str) -> None:
        """Tell the executor to cancel a job: at once, it never waits behind data."""
        job.cancelling = reason
        self.say_cancel(job)
        self.requests.cancel_all_soon(job, reason)

    def say_cancel(self, job: Job) -> None:
        """Say the cancel of a job, if there is one. Repeating it changes nothing."""
        if job.cancelling is not None and job.attempt is not None:
            job.attempt.link.send(Cancel(job.job_id, job.attempt.number, job.cancelling, self.deadlines.grace))

    def leave(self) -> None:
        """Leave no circles behind, now that the end is in the journal: they would stay until the collector comes."""
        self._run.close()
        self.lives.close()
        del self.requests, self.recomputing, self.deadlines

    def _end_if_quiet(self, turn: Turn | None) -> None:
        if turn is None or self.state != "ending" or self.jobs or self._verdict is None:
            return
        self.deadlines.all_over()
        self.state = "finishing"
        verdict = self._verdict
        self._resolve(verdict.outputs, lambda t, found: self._finish(t, verdict, found), turn)

    def _finish(self, turn: Turn, verdict: RunFinished, found: dict[str, Found]) -> None:
        if sum(sizes(found).values()) > INLINE_BYTES:
            turn.after(lambda: self._begin(self._finish_large(verdict, found), "the end"))
            return
        self._finish_with(turn, verdict, found)

    async def _finish_large(self, verdict: RunFinished, found: dict[str, Found]) -> None:
        found = await spill(self._owner.journal, self.number, self.session_id, found)
        with self._owner.turn() as turn:
            self._finish_with(turn, verdict, found)

    def _finish_with(self, turn: Turn, verdict: RunFinished, found: dict[str, Found]) -> None:
        self.finished_at = _now()
        self.error = verdict.error
        self.state = verdict.state
        turn.say(
            self,
            "SessionFinished",
            session_id=self.session_id,
            state=verdict.state,
            error=verdict.error,
            **({"failed": self.failed} if self.failed is not None and verdict.state == "failed" else {}),
            outputs={handle: each.value for handle, each in found.items() if each.body is None},
            bodies={handle: each.body for handle, each in found.items() if each.body is not None},
            t=self.finished_at,
        )
        self._owner.ended(turn, self)
        if self.watch is not None:
            self.watch.session_over(verdict.state, verdict.error)
        turn.after(self._tell_executors)

    def _tell_executors(self) -> None:
        for link in self.links:
            link.send(SessionEnded(self.session_id))

    # ------------------------------------------------------------------ values

    def _resolve(self, refs: dict[str, Any], then: Callable[[Turn, dict[str, Found]], None], turn: Turn) -> None:
        """Go on with values: in this turn when they are in memory, else in one of its own after reading."""
        found = self.resolve_now(refs)
        if found is not None:
            then(turn, found)
            return

        async def read() -> None:
            values = await self.resolve(refs)
            with self._owner.turn() as later:
                then(later, values)

        turn.after(lambda: self._begin(read(), "reading values"))

    def value_exported(
        self, turn: Turn, value: tuple[str, int, int], file: tuple[str, str] | None, words: str | None
    ) -> None:
        """Note that a var value is in a file from now on, or (no file) that it can't be, and why."""
        job_id, attempt, place = value
        common = {"job_id": job_id, "attempt": attempt, "place": place}
        if file is None:
            turn.say(self, "ValueStays", **common, reason=words, t=_now())
        else:
            note = {} if words is None else {"note": words}
            turn.say(self, "ValueExported", **common, host=file[0], file=file[1], **note, t=_now())
        self.lives.exported(job_id, attempt, place, file)

    def wait_for(self, turn: Turn, job: Job, missing: list[VarValue]) -> tuple[Lost, str | None] | None:
        """Let a job wait until its missing inputs are made again, or return which of them can't be, and why."""
        return self.recomputing.wait_for(turn, job, missing)

    def files_for(self, attempt: Attempt) -> dict[str, str]:
        """Return the files of an attempt's inputs that are var values of other processes."""
        return self._owner.dispatch.exports.files_for(attempt) or {}

    def release_values(self, turn: Turn) -> None:
        """Let go of var values that nothing holds any more, once it is in the journal why."""
        if self.lives.due and (gone := self.lives.settle()):
            turn.after(lambda: self._owner.releases.add(self.session_id, gone))

    # ------------------------------------------------------------------ recovery

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

    def resume(self, turn: Turn) -> None:
        """Go on after the replay: open attempts belong to their links again, what waits is handed out."""
        for job in list(self.jobs.values()):
            if job.attempt is not None:
                self._owner.dispatch.adopt(job.attempt)
                if job.cancelling is not None and self.state == "running":
                    self.deadlines.abandon_later(job)
            elif self.state == "running" and job.retry_at is not None:
                at, pause = job.retry_at
                # Never longer than the pause: clocks may have been set.
                self._owner.retry_later(job, min(pause, max(0.0, (at - _now()) / 1000)))
            elif self.state == "running":
                self._owner.dispatch.enqueue(turn, job)
            else:
                self._end_job(turn, job, _NOT_BEGUN)
        self._replayed_attempts.clear()
        undecided, self._undecided = self._undecided, {}
        for created in undecided.values():
            if self._run.is_open(created.job_id):
                self._act(turn, created)
        self._journal_decisions(turn, self._run.settle(turn.jobs))
        if self.state == "ending" and self._verdict is not None:
            self._conclude(turn, self._verdict)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _too_large_to_test(handles: list[str]) -> str:
    return (
        f"the condition tests {', '.join(map(repr, handles))}, of more than 64 KiB; the mainframe doesn't "
        "look into such values: let a block before it send what is to be tested"
    )


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


def _once(refused: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Say a reason once where many records in a row have the same: the row is as large as what came, not larger."""
    before = ["", *(reason for _, reason in refused)]
    return [(index, "" if reason == last else reason) for (index, reason), last in zip(refused, before, strict=False)]
