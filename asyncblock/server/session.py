"""A session: one run of a flow. Its state is a fold over its journal, live and after a restart by the same code.

Lines of records and the mainframe's own lines go through ``_fold_*``; live, each fold is followed by the flow's
decisions, which become lines too; in a replay the decisions come from the journal and nothing is decided again.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import orjson

from ..flow import conditions
from ..flow.entries import (
    BlockRequested,
    Cancelled,
    ConditionDecided,
    Decision,
    Fact,
    Finished,
    FlowJobFinished,
    FlowJobOutput,
    FlowJobStarted,
    JobCreated,
    Output,
    Progressed,
    RunFinished,
    SessionBegun,
    Weighed,
    decision_from_json,
)
from ..flow.plan import Plan
from ..flow.run import Run
from ..resources import NOTHING
from ..wire.messages import Cancel, Close, SessionEnded
from ..wire.records import TERMINAL, check
from .bounds import INLINE_BYTES
from .dispatch import BESIDE, Dispatcher
from .jobs import Attempt, Job, JobState, LinkState
from .journal import Snapshot
from .lines import ChannelRecords
from .lives import Lives, Lost, VarValue
from .recomputing import Recomputing
from .refolding import LARGE, Refolding
from .releases import Releases
from .requests import BlockRequests
from .snapshots import VERSION, attempt_from_json, created_from_json, job_to_json, restore_job, unpacked
from .spill import sizes, spill
from .transactions import Transactions
from .turn import Turn
from .values import Found

__all__ = ["RunningSession", "SessionOwner"]

_BACK = 4.0
"""Heartbeats that a job whose time ran out while the mainframe was away has to tell that it ended in time."""

_SNAPSHOT_SHARE = 8
"""How many times its own length the journal grows before the next snapshot."""

_ASKED_HANDLES = 1000
"""Handles of a job of which is remembered whether anybody takes their values."""

_DROPPED = 200
"""Jobs that wait and are ended in one step of the loop, each in some 8 µs."""

_GRACE_MARGIN = 5.0
"""Seconds beyond the grace that an executor has to tell how a cancelled job ended."""


class SessionOwner(Transactions, ABC):
    """Who has this session among others: ``sessions.Sessions``, of which a session asks no more than this."""

    dispatch: Dispatcher
    releases: Releases
    refolding: Refolding

    @abstractmethod
    def ended(self, turn: Turn, session: RunningSession) -> None:
        """A session has reached its terminal state: its row changes with the same transaction."""

    @abstractmethod
    def retry_later(self, job: Job, delay: float) -> None:
        """Hand a failed job out again after its pause."""


class RunningSession:
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
        self._owner = owner
        self.number = number
        self.session_id = session_id
        self.plan = plan
        self.inputs = inputs
        self.created_at = created_at
        self.metadata = metadata or {}
        """What whoever started it said of it; its jobs have it."""
        self.state = "running"
        """``running``, ``ending``, then ``succeeded``, ``failed`` or ``cancelled``."""
        self.error: str | None = None
        self.failed: dict[str, Any] | None = None
        """The job that failed the session: its node, and the row that has its error."""
        self.next_offset = 0
        self.stored_offset = 0
        """Rows below this offset are in the journal: what readers may see."""
        self.end_stored = False
        """The last row is in the journal."""
        self.bytes = 0
        self.counted = 0
        """Outputs that nobody consumes."""
        self.jobs: dict[str, Job] = {}
        """Jobs that haven't ended."""
        self.flow_jobs: dict[str, FlowJobStarted] = {}
        """Runs of subflows that haven't ended."""
        self.readers: set[Callable[[], None]] = set()
        self.finished_at: int | None = None
        self.requests = BlockRequests(self, owner)
        self._run = Run(plan, session_id)
        self.lives = Lives(session_id, self._count_holders)
        """Which var values may still be asked for."""
        self.recomputing = Recomputing(self, owner.dispatch)
        self._again = 0
        """How many jobs there were that ran again for values that were lost."""
        self._verdict: RunFinished | None = None
        self._replaying = False
        self._undecided: dict[str, JobCreated] = {}
        self._unacted: deque[Decision] = deque()
        self._acting = False
        self._settling = False
        self._dropped: deque[Job] = deque()
        """Jobs of a flow that is over, as far as they haven't been looked at."""
        self._replayed_attempts: dict[tuple[str, int], Attempt] = {}
        self.links: set[LinkState] = set()
        """Those that have had a job of this session."""
        self.served: set[str] = set()
        """Packages, and code blocks, of which an executor has had a job of this session."""
        self._deadline: asyncio.TimerHandle | None = None
        self._timeouts: dict[str, asyncio.TimerHandle] = {}
        self._since: dict[str, int] = {}
        """When the clocks of jobs and of runs of subflows began, in ms since the epoch."""
        self._snapshot_at = owner.settings.snapshot_bytes
        """Bytes of the session at which the next snapshot is due."""

    @property
    def _grace(self) -> float:
        return self._owner.settings.cancel_grace

    @property
    def rate(self) -> int:
        """Return how far the flow is, in percent."""
        return self._run.rate

    @property
    def ended(self) -> bool:
        """Tell whether the session has reached its terminal state."""
        return self.state in ("succeeded", "failed", "cancelled")

    def _later(self, delay: float, act: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        return self._owner.supervisor.later(delay, act, *args, what="a timer", session=self)

    def _begin(self, coroutine: Coroutine[Any, Any, None], what: str) -> None:
        self._owner.supervisor.begin(coroutine, what, self)

    @classmethod
    def from_first_row(cls, owner: SessionOwner, number: int, payload: bytes) -> RunningSession:
        """Make a session from the first row of its journal, to be filled by ``replay_row``."""
        started = orjson.loads(payload.split(b"\n", 1)[0])
        plan = Plan.from_json(started["plan"])
        metadata = started.get("metadata")
        return cls(owner, number, started["session_id"], plan, started["inputs"], started["t"], metadata)

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
                    self._close_attempt(turn, attempt, finished=False)
                self._owner.dispatch.withdraw(job)
                job.attempt = None
            self.jobs.clear()
            self.stop_timers()
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

    def _node_of(self, flow_job_id: str) -> dict[str, Any]:
        flow = self.flow_jobs.get(flow_job_id)
        return {} if flow is None else {"node_id": flow.node_id}

    def row_stored(self) -> None:
        """A row has committed: let readers look."""
        self.stored_offset += 1
        self.end_stored = self.ended and self.stored_offset == self.next_offset
        for wake in list(self.readers):
            wake()

    # ------------------------------------------------------------------ folds: live and in a replay

    def _fold_records(
        self,
        turn: Turn | None,
        attempt: Attempt,
        records: list[Any],
        place: tuple[int, int],
        size: int,
        skip: set[int],
    ) -> None:
        job = attempt.job
        for index, record in enumerate(records):
            if index in skip:
                continue
            kind = record["type"]
            if job.recomputes is not None and kind in ("BlockOutput", "BlockOutputs"):
                self._fold_again(turn, attempt, (*place, index), record)
            elif kind == "BlockOutput":
                handle = record["handle"]
                if self._consumed(job, handle):
                    targets = (record.get("to_node"), record.get("to_flow"))
                    self._fold_value(turn, attempt, (*place, index), record, handle, size, targets)
                else:
                    self._fold_unconsumed(attempt, (*place, index), handle, record.get("output"))
            elif kind == "BlockOutputs":
                for handle in (*record["outputs"], *record.get("bodies", ())):
                    self._fold_value(turn, attempt, (*place, index), record, handle, size, (None, None))
            elif kind == "JobStarted":
                attempt.started = True
                if job.state is JobState.ASSIGNED:
                    job.state = JobState.RUNNING
            elif kind == "BlockFinished":
                self._fold_finish(turn, attempt, (*place, index), record, size)
                return
            elif kind == "BlockArguments":
                self._fold_arguments(attempt, (*place, index), record, size)
            elif kind == "BlockProgress":
                self.feed(turn, Progressed(job.job_id, record["rate"]))
            elif kind == "BlockPreview" and turn is not None and len(job.stacks) > 1:
                self._forward_preview(turn, job, record, attempt.link.link_id)

    def _consumed(self, job: Job, handle: str) -> bool:
        """Tell whether anybody consumes a handle of a job; asked of the flow once."""
        consumed = job.consumed.get(handle)
        if consumed is None:
            consumed = self._run.consumers(job.job_id, handle)
            # A peer may make handles up, one for each output.
            if len(job.consumed) < _ASKED_HANDLES:
                job.consumed[handle] = consumed
        return consumed

    def _fold_arguments(self, attempt: Attempt, place: tuple[int, int, int], record: dict[str, Any], size: int) -> None:
        """Large values for a block that the job will ask for."""
        self._owner.values.keep((self.number, *place), record, attempt.link.link_id, size)
        attempt.job.arguments.add(record["id"], place, [*record["values"], *record.get("bodies", ())])
        for handle, value in record["values"].items():
            if self.lives.note(attempt, place, handle, value):
                # Until the order comes that names it.
                self.lives.take_for(record["id"], ("record", *place, handle))

    def _fold_value(
        self,
        turn: Turn | None,
        attempt: Attempt,
        place: tuple[int, int, int],
        record: dict[str, Any],
        handle: str,
        size: int,
        targets: tuple[Any, Any],
    ) -> None:
        value = record.get("output") if record["type"] == "BlockOutput" else record["outputs"].get(handle)
        if not self._run.consumers(attempt.job.job_id, handle):
            self._fold_unconsumed(attempt, place, handle, value)
            return
        self._owner.values.keep((self.number, *place), record, attempt.link.link_id, size)
        ref = ("record", *place, handle)
        is_var = type(value) is dict and self.lives.note(attempt, place, handle, value)
        if attempt.job.policy.holds:
            attempt.hold((*ref, *targets))
            if is_var:
                self.lives.take(ref)
        else:
            self.feed(turn, Output(attempt.job.job_id, handle, ref, *targets))

    def _fold_again(
        self, turn: Turn | None, attempt: Attempt, place: tuple[int, int, int], record: dict[str, Any]
    ) -> None:
        """Outputs of a job that runs again: those that were lost stand for what is lost, the others are nobody's."""
        for handle, value in _values_of(record):
            if self.lives.note(attempt, place, handle, value):
                ref = ("record", *place, handle)
                if attempt.job.policy.holds and record["type"] != "BlockFinished":
                    attempt.hold((*ref, None, None))
                    self.lives.take(ref)
                else:
                    self.recomputing.came(turn, attempt.job, ref)

    def _fold_unconsumed(self, attempt: Attempt, place: tuple[int, int, int], handle: str, value: Any) -> None:
        """A value that no node takes: the job may have it that has asked for this one."""
        self.counted += 1
        if type(value) is dict and self.lives.note(attempt, place, handle, value):
            self._keep_for_caller(attempt.job.caller, ("record", *place, handle))

    def _keep_for_caller(self, caller: str | None, ref: Any) -> None:
        """A job may ask, as long as it runs, for what the blocks have put out that it has asked for."""
        if caller is not None and caller in self.jobs:
            self.lives.take_for(caller, ref)

    def _note_late(self, attempt: Attempt, records: list[Any], place: tuple[int, int], skip: set[int]) -> None:
        """Of an attempt that doesn't count any more nobody takes anything: its var values can go."""
        for index, record in enumerate(records):
            if index not in skip and record["type"] in ("BlockOutput", "BlockOutputs", "BlockFinished"):
                for handle, value in _values_of(record):
                    self.lives.note(attempt, (*place, index), handle, value)

    def _fold_finish(
        self, turn: Turn | None, attempt: Attempt, place: tuple[int, int, int], record: dict[str, Any], size: int
    ) -> None:
        job = attempt.job
        attempt.finished = True
        error = record.get("error")
        if record.get("cancelled"):
            error = job.overdue or f"cancelled: {job.cancelling or 'by its executor'}"
        elif error is not None and job.overdue is not None:
            error = f"{job.overdue}; its clean-up failed: {error}"
        if error is not None:
            # Cancelled by its executor, because that leaves: another attempt may do better.
            ours = bool(record.get("cancelled")) and job.cancelling is not None
            retried = record.get("error_type") not in job.policy.not_retried and not ours
            self._fold_failure(turn, job, error, retried, finished=True, offset=place[0])
            return
        self._close_attempt(turn, attempt, finished=True)
        if job.recomputes is not None:
            for *ref, _, _ in attempt.held or ():
                self.recomputing.came(turn, job, tuple(ref))
            self._fold_again(turn, attempt, place, record)
            self._end_job(turn, job)
            self.feed(turn, Finished(job.job_id, None, {}))
            self.recomputing.over(turn, job, None)
            self._end_if_quiet(turn)
            return
        outputs = {h: ("record", *place, h) for h in (*record.get("result", ()), *record.get("bodies", ()))}
        if any(self._run.consumers(job.job_id, handle) for handle in outputs):
            self._owner.values.keep((self.number, *place), record, attempt.link.link_id, size)
        for handle, value in _values_of(record):
            if self.lives.note(attempt, place, handle, value):
                self._keep_for_caller(job.caller, outputs[handle])
        for *ref, to_node, to_flow in attempt.held or ():
            self.feed(turn, Output(job.job_id, ref[4], tuple(ref), to_node, to_flow))
        self._end_job(turn, job)
        self.requests.tell(turn, job, None)
        self.feed(turn, Finished(job.job_id, None, outputs))
        self._end_if_quiet(turn)

    def _fold_failure(
        self,
        turn: Turn | None,
        job: Job,
        error: str,
        retry: bool,
        *,
        finished: bool = False,
        offset: int | None = None,
        lost: dict[str, Any] | None = None,
    ) -> None:
        if job.attempt is not None:
            self._close_attempt(turn, job.attempt, finished=finished)
        self.requests.cancel_all(turn, job, f"the job that asked for it has ended ({error})")
        # It may run again as often as need be, says its block; only what it fails of itself counts as its attempts.
        died = retry and not finished and job.deaths_left > 0
        if retry and (died or job.retries_left > 0) and self.state == "running" and job.cancelling is None:
            if died:
                job.deaths_left -= 1
            else:
                job.retries_left -= 1
            job.attempt = None
            job.state = JobState.WAITING
            if turn is not None:
                self._retry_later(turn, job, error)
            return
        self._end_job(turn, job)
        self.requests.tell(turn, job, error)
        who: dict[str, Any] = {"node_id": job.node_id, "attempt": job.attempts, **({"lost": lost} if lost else {})}
        self._feed_failure(turn, error, offset, job_id=job.job_id, **who)
        self.recomputing.over(turn, job, error)
        self._end_if_quiet(turn)

    def _feed_failure(self, turn: Turn | None, error: str, offset: int | None, *, job_id: str, **who: Any) -> None:
        """Feed a job's error, and keep in mind whose it was if the flow fails of it."""
        if not self._run.decided:
            self.failed = {"job_id": job_id, **who, **({} if offset is None else {"offset": offset})}
        self.feed(turn, Finished(job_id, error, {}))
        if not self._run.decided:
            self.failed = None

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

    def _fold_release(self, turn: Turn | None, job: Job) -> None:
        if job.attempt is not None:
            self._close_attempt(turn, job.attempt, finished=False)
        self.requests.cancel_all(turn, job, "the job that asked for it begins anew")
        job.attempt = None
        job.state = JobState.WAITING
        if turn is not None:
            self._owner.dispatch.enqueue(turn, job)

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

    def _fold_flow_output(self, output: FlowJobOutput) -> None:
        started = self.flow_jobs.get(output.job_id)
        if started is not None:
            self._keep_for_caller(started.caller, output.ref)

    def _fold_flow_end(self, turn: Turn | None, ended: FlowJobFinished) -> None:
        """A run of a subflow is over; after an error, what still runs in it is cancelled."""
        started = self.flow_jobs.pop(ended.job_id, None)
        self._since.pop(ended.job_id, None)
        self._stop_timer(ended.job_id)
        if started is None:
            return
        self.requests.forget(started)
        if started.runs is not None:
            self._owner.dispatch.unpin(self, ended.job_id, self.plan.flow(started.runs))
        if ended.error is None:
            return
        for inner in [each for each in self.flow_jobs.values() if _is_inside(each.stacks, ended.job_id)]:
            del self.flow_jobs[inner.job_id]
            self._since.pop(inner.job_id, None)
            self.requests.forget(inner)
            self.requests.tell(turn, inner, ended.error)
            self._stop_timer(inner.job_id)
        for job in [each for each in self.jobs.values() if _is_inside(each.stacks, ended.job_id)]:
            if job.attempt is None:
                self._owner.dispatch.withdraw(job)
                self._end_job(turn, job)
                self.requests.tell(turn, job, ended.error)
            elif turn is None:
                job.cancelling = ended.error
            else:
                self.cancel_job(job, ended.error)
                self.abandon_later(job)

    def abandon_later(self, job: Job) -> None:
        """Give a cancelled job of a flow that is over its time, and no more."""
        self._stop_timer(job.job_id)
        self._timeouts[job.job_id] = self._later(self._grace + _GRACE_MARGIN, self._abandon, [job])

    def _stop_timer(self, job_id: str) -> None:
        timer = self._timeouts.pop(job_id, None)
        if timer is not None:
            timer.cancel()

    def _close_attempt(self, turn: Turn | None, attempt: Attempt, *, finished: bool) -> None:
        """Fence an attempt: it is over, whatever still comes of it."""
        attempt.fenced = True
        self.lives.attempt_over(attempt)
        if turn is not None:
            self._owner.dispatch.freed(turn, attempt, finished=finished)

    def _end_job(self, turn: Turn | None, job: Job) -> None:
        job.state = JobState.ENDED
        # The attempt stays with its link as long as records may come; it knows its job, and must not be in a circle.
        job.attempt = None
        self.jobs.pop(job.job_id, None)
        self._since.pop(job.job_id, None)
        self._stop_timer(job.job_id)
        self.lives.caller_over(job.job_id)
        self.requests.forget(job)

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
                    self._limit(decision)
            else:
                self._owner.dispatch.enqueue(turn, self._create(decision))
        elif isinstance(decision, FlowJobStarted):
            self._open_flow(decision)
        elif isinstance(decision, FlowJobOutput):
            self._fold_flow_output(decision)
        elif isinstance(decision, FlowJobFinished):
            self._fold_flow_end(turn, decision)
        elif isinstance(decision, RunFinished):
            self._conclude(turn, decision)

    def _create(self, created: JobCreated, since: int | None = None) -> Job:
        node = self.plan.resolve(created.flow, created.node_id, created.spec)
        group, within = node.group, NOTHING
        if group is not None and created.flow is not None and not group.startswith("*"):
            group = f"{created.stacks[-1]['flow_job_id']}:{group}"
        if group is None and created.caller is not None and created.spec is not None:
            beside = created.spec[2].get("beside", "") if len(created.spec) > 2 else ""
            group = BESIDE + beside
            caller = self.jobs.get(created.caller) if beside else None
            within = NOTHING if caller is None else caller.within
        job = Job(
            session=self,
            job_id=created.job_id,
            node_id=created.node_id,
            stacks=created.stacks,
            # Neither is changed by anybody; one copy for each of a hundred thousand jobs would be half of their memory.
            block=node.block,
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
        if job.block.get("recompute"):
            self.lives.remember(created, self.jobs)
        self._since[job.job_id] = since if since is not None else _now()
        if job.timeout is not None:
            left = self._left(job.timeout, since)
            self._timeouts[job.job_id] = self._later(left, self._time_is_up, job)
        return job

    def fresh_job_id(self) -> str:
        """Return an id for a job that runs again."""
        return f"{self.session_id}.again{self._again}"

    def create_again(self, turn: Turn, created: JobCreated) -> None:
        """Let a job run again for values that are lost."""
        self._note_again(created)
        self._journal_decisions(turn, [created])

    def _note_again(self, created: JobCreated) -> None:
        self._again += 1
        self.recomputing.revive(created)
        self._run.add(created)

    def _left(self, timeout: float, since: int | None) -> float:
        """Return the seconds that a job has left which was created at a time that the journal tells.

        The time counts on while the mainframe is away, for the block runs on; what ended in time can still say so.
        """
        if since is None:
            return timeout
        spent = max(0.0, (_now() - since) / 1000)
        return min(timeout, max(timeout - spent, _BACK * self._owner.settings.heartbeat))

    def _open_flow(self, started: FlowJobStarted, since: int | None = None) -> None:
        self.flow_jobs[started.job_id] = started
        self._since[started.job_id] = since if since is not None else _now()
        self._limit(started, since)

    def _limit(self, opened: FlowJobStarted | JobCreated, since: int | None = None) -> None:
        """Start the clock of a subflow's run, or of a condition that waits for its values."""
        timeout = self.plan.resolve(opened.flow, opened.node_id, opened.spec).timeout
        if timeout is not None:
            text = f"Timeout: it took longer than {timeout:g} s"
            left = self._left(timeout, since)
            self._timeouts[opened.job_id] = self._later(left, self._flow_is_late, opened, text)

    def _flow_is_late(self, opened: FlowJobStarted | JobCreated, error: str) -> None:
        with self._owner.turn() as turn:
            self.fail_flow_job(turn, opened.job_id, error)

    def _decide(self, turn: Turn, created: JobCreated, found: dict[str, Found]) -> None:
        if not self._run.is_open(created.job_id):
            return
        self._stop_timer(created.job_id)
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

    def _time_is_up(self, job: Job) -> None:
        if job.state is JobState.ENDED:
            return
        with self._owner.turn() as turn:
            error = f"Timeout: node {job.node_id} took longer than {job.timeout:g} s"
            if job.attempt is None:
                self.fail_job(turn, job, error, retry=False)
            elif job.cancelling is None:
                turn.urgent = True
                turn.say(self, "JobCancelling", job_id=job.job_id, reason=error, overdue=True, t=_now())
                job.overdue = error
                self.cancel_job(job, error)
                self.abandon_later(job)

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
            self._deadline = self._later(self._grace + _GRACE_MARGIN, self._abandon_jobs)
        self._end_if_quiet(turn)

    def _drop_some(self, turn: Turn) -> None:
        """End jobs that no executor has, some at a time: there may be a hundred thousand."""
        for _ in range(min(len(self._dropped), _DROPPED)):
            job = self._dropped.popleft()
            if job.attempt is None and job.state is not JobState.ENDED:
                self._owner.dispatch.withdraw(job)
                self._end_job(turn, job)
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
            job.attempt.link.send(Cancel(job.job_id, job.attempt.number, job.cancelling, self._grace))

    def leave(self) -> None:
        """Leave no circles behind, now that the end is in the journal: they would stay until the collector comes."""
        self._run.close()
        self.lives.close()
        del self.requests, self.recomputing

    def stop_timers(self) -> None:
        """Let no timer of this session fire any more."""
        for timer in (self._deadline, *self._timeouts.values()):
            if timer is not None:
                timer.cancel()

    def _abandon_jobs(self) -> None:
        self._abandon(list(self.jobs.values()))

    def _abandon(self, jobs: list[Job]) -> None:
        with self._owner.turn() as turn:
            for job in jobs:
                if job.attempt is not None:
                    job.attempt.link.send(
                        Close(job.attempt.channel, job.job_id, job.attempt.number, "it didn't end when cancelled")
                    )
                words = f"it was cancelled and didn't end within {self._grace:g} s of that"
                self.fail_job(turn, job, words if job.overdue is None else f"{job.overdue}; {words}", retry=False)

    def _end_if_quiet(self, turn: Turn | None) -> None:
        if turn is None or self.state != "ending" or self.jobs or self._verdict is None:
            return
        if self._deadline is not None:
            self._deadline.cancel()
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
        turn.after(self._tell_executors)

    def _tell_executors(self) -> None:
        for link in self.links:
            link.send(SessionEnded(self.session_id))

    # ------------------------------------------------------------------ values

    def resolve_now(self, refs: Mapping[str, Any]) -> dict[str, Found] | None:
        """Look values up in memory; None when one of them has to be read."""
        found: dict[str, Found] = {}
        for handle, ref in refs.items():
            value = self._renamed(ref) or self._constant(ref)
            if value is None:
                value = self._owner.values.recall(self._key(ref), ref[4])
            if value is None:
                return None
            found[handle] = value
        return found

    def _renamed(self, ref: Any) -> Found | None:
        """Return what stands for a var value that was made again."""
        value = self.lives.find(ref)
        return None if value is None or value.key is None else Found(value.key)

    async def resolve(self, refs: Mapping[str, Any]) -> dict[str, Found]:
        """Look values up, in the journal where need be."""
        found: dict[str, Found] = {}
        for handle, ref in refs.items():
            found[handle] = (
                self._renamed(ref) or self._constant(ref) or await self._owner.values.load(self._key(ref), ref[4])
            )
        return found

    def _key(self, ref: Any) -> tuple[int, int, int, int]:
        return (self.number, ref[1], ref[2], ref[3])

    def _constant(self, ref: Any) -> Found | None:
        if ref[0] == "record":
            return None
        if ref[0] == "given":
            return Found(ref[1])
        if ref[0] == "input":
            return Found(self.inputs.get(ref[1]))
        return Found(self.plan.static_value(ref))

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

    def _count_holders(self) -> None:
        self._run.holder = self.lives

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

    def _is_large(self) -> bool:
        """Tell whether to write the state down would hold up the loop."""
        left = LARGE - len(self.jobs) - self.lives.count
        held = (job.attempt.held for job in self.jobs.values() if job.attempt is not None)
        return left < 0 or self._run.is_larger_than(left - sum(each.entries for each in held if each is not None))

    def to_snapshot(self) -> dict[str, Any]:
        """Return the state as JSON-ready data; with the first row and those that follow it is as good as all rows."""
        return {
            "version": VERSION,
            "run": self._run.to_snapshot(),
            "counted": self.counted,
            "jobs": [job_to_json(job) for job in self.jobs.values()],
            "flow_jobs": [each.to_json() for each in self.flow_jobs.values()],
            "undecided": [each.to_json() for each in self._undecided.values() if self._run.is_open(each.job_id)],
            "since": self._since,
            "lives": self.lives.to_json(),
            "again": self._again,
            "links": sorted(link.link_id for link in self.links),
            "served": sorted(self.served),
        }

    def restore(self, snapshot: Snapshot) -> bool:
        """Take over the state of a snapshot, if it is of a form that is known; tell whether it was."""
        obj = unpacked(snapshot.payload)
        if obj is None:
            return False
        self.next_offset = self.stored_offset = snapshot.offset
        self.counted = obj["counted"]
        self._run = Run.from_snapshot(self.plan, self.session_id, obj["run"])
        self.lives.restore(obj.get("lives"))
        for each in obj["flow_jobs"]:
            started = decision_from_json(each)
            assert isinstance(started, FlowJobStarted)
            self._open_flow(started, obj["since"].get(started.job_id))
        for each in obj["jobs"]:
            created = created_from_json(each["created"])
            job = self._create(created, obj["since"].get(created.job_id))
            restore_job(job, each)
            if each["attempt"] is not None:
                attempt = attempt_from_json(job, self._owner.dispatch.link(each["attempt"]["link"]), each["attempt"])
                job.attempt = self._replayed_attempts[job.job_id, attempt.number] = attempt
        for each in obj["undecided"]:
            created = created_from_json(each)
            self._undecided[created.job_id] = created
        self.links = {self._owner.dispatch.link(link_id) for link_id in obj["links"]}
        self._again = obj.get("again", 0)
        self.served = set(obj.get("served", ()))
        return True

    def replay_row(self, offset: int, payload: bytes) -> None:
        """Fold a row of the journal after a restart."""
        self.next_offset = self.stored_offset = offset + 1
        self.bytes += len(payload)
        for line, text in enumerate(payload.split(b"\n")):
            obj = orjson.loads(text)
            if "records" in obj:
                self._replay_records(obj, (offset, line), len(text))
            else:
                self._replay_line(obj)
        if self.lives.due:
            self.lives.settle()

    def _replay_records(self, obj: dict[str, Any], place: tuple[int, int], size: int) -> None:
        attempt = self._replayed_attempts.get((obj["job_id"], obj["attempt"]))
        if attempt is None:
            return
        records = obj["records"]
        attempt.records = obj["n"] + len(records)
        skip = {index for index, _ in obj.get("refused", ())}
        if not obj.get("late"):
            self._fold_records(None, attempt, records, place, size // max(len(records), 1), skip)
        else:
            self._note_late(attempt, records, place, skip)

    def _replay_line(self, obj: dict[str, Any]) -> None:
        job = self.jobs.get(obj.get("job_id", ""))
        match obj["type"]:
            case "SessionStarted":
                self.feed(None, SessionBegun())
            case "SessionCancelled":
                self.feed(None, Cancelled(obj["reason"]))
            case "ConditionDecided":
                self._undecided.pop(obj["job_id"], None)
                self.feed(None, ConditionDecided(obj["job_id"], obj["handle"], obj["ref"]))
            case "BlockRequested":
                names = ("caller", "job_id", "key", "reference", "inputs", "extra")
                asked = BlockRequested(**{name: obj[name] for name in names})
                self.requests.note(asked, self.next_offset - 1)
                self.feed(None, asked)
                self.lives.caller_over(asked.job_id)
            case "NodeWeighed":
                self.feed(None, Weighed(obj["job_id"], obj["node_id"], obj["weight"]))
            case "JobAssigned" if job is not None:
                self._replay_assignment(job, obj)
            case "JobReleased" if job is not None:
                self._fold_release(None, job)
            case "JobCancelling" if job is not None:
                job.cancelling = obj["reason"]
                job.overdue = obj["reason"] if obj.get("overdue") else None
            case "JobRetrying" if job is not None:
                job.retry_at = (obj["at"], obj["pause"])
            case "JobFailed" if job is not None:
                self._fold_failure(None, job, obj["error"], obj["retry"], lost=obj.get("lost"))
            case "ValueExported":
                self.lives.exported(obj["job_id"], obj["attempt"], obj["place"], (obj["host"], obj["file"]))
            case "ValueStays":
                self.lives.exported(obj["job_id"], obj["attempt"], obj["place"], None)
            case "SessionFinished":
                self.state, self.error, self.finished_at = obj["state"], obj["error"], obj["t"]
            case "JobFailed":
                self._undecided.pop(obj["job_id"], None)
                self._feed_failure(None, obj["error"], None, job_id=obj["job_id"], **self._node_of(obj["job_id"]))
            case "JournalBroken":
                pass
            case "JobStalled" | "JobAssigned" | "JobReleased" | "BlockPreview" | "BlockJobFinished":
                pass
            case "JobCancelling" | "JobRetrying" | "JobWaiting" | "VersionAccepted":
                pass
            case _:
                self._replay_decision(obj)

    def _replay_assignment(self, job: Job, obj: dict[str, Any]) -> None:
        link = self._owner.dispatch.link(obj["link"])
        job.begins()
        attempt = Attempt(job, obj["attempt"], link, obj["channel"], away=obj.get("away", False))
        job.attempt, job.attempts, job.state = attempt, obj["attempt"], JobState.ASSIGNED
        job.retry_at = None
        self._replayed_attempts[job.job_id, attempt.number] = attempt
        self.links.add(link)
        self.served.add(job.code)

    def _replay_decision(self, obj: dict[str, Any]) -> None:
        decision = decision_from_json(obj)
        if isinstance(decision, JobCreated) and decision.recomputes is not None:
            self.recomputing.revive(decision)
            self._again += 1
        self._run.replay(decision)
        if isinstance(decision, JobCreated):
            if decision.kind == "condition":
                self._undecided[decision.job_id] = decision
            else:
                self._create(decision, obj.get("t"))
        elif isinstance(decision, FlowJobStarted):
            self._open_flow(decision, obj.get("t"))
        elif isinstance(decision, FlowJobOutput):
            self._fold_flow_output(decision)
        elif isinstance(decision, FlowJobFinished):
            self._fold_flow_end(None, decision)
        elif isinstance(decision, RunFinished):
            self._verdict = decision
            self.state = "ending"

    def resume(self, turn: Turn) -> None:
        """Go on after the replay: open attempts belong to their links again, what waits is handed out."""
        for job in list(self.jobs.values()):
            if job.attempt is not None:
                self._owner.dispatch.adopt(job.attempt)
                if job.cancelling is not None and self.state == "running":
                    self.abandon_later(job)
            elif self.state == "running" and job.retry_at is not None:
                at, pause = job.retry_at
                # Never longer than the pause: clocks may have been set.
                self._owner.retry_later(job, min(pause, max(0.0, (at - _now()) / 1000)))
            elif self.state == "running":
                self._owner.dispatch.enqueue(turn, job)
            else:
                self._end_job(turn, job)
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


def _values_of(record: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the values that stand in a record of outputs, by handle."""
    if record["type"] == "BlockOutput":
        return [(record.get("handle", ""), record.get("output"))]
    values = record.get("outputs" if record["type"] == "BlockOutputs" else "result")
    return list(values.items()) if isinstance(values, dict) else []


def _is_inside(stacks: list[dict[str, Any]], flow_job_id: str) -> bool:
    return any(level["flow_job_id"] == flow_job_id for level in stacks)


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
