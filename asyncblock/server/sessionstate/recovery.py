"""How a session comes back: from the rows of its journal, or from a snapshot and the rows after it.

Lines go through ``fold``, as they do live; decisions are lines too, so nothing is decided again. ``snapshots`` says how
jobs are written down.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import Any, Self

import orjson

from ...flow.entries import (
    BlockRequested,
    Cancelled,
    ConditionDecided,
    FlowJobFinished,
    FlowJobOutput,
    FlowJobStarted,
    JobCreated,
    RunFinished,
    SessionBegun,
    Weighed,
    decision_from_json,
)
from ...flow.plan import Plan
from ...flow.run import Run
from ...wire.bodies import BodyRef
from ..jobstate.jobs import Attempt, Job, JobState
from ..journal import Snapshot
from .fold import SessionFold, SessionOwner
from .refolding import LARGE
from .snapshots import VERSION, attempt_from_json, created_from_json, job_to_json, restore_job, unpacked

__all__ = ["SessionRecovery"]


class SessionRecovery(SessionFold):
    """A session that can be written down and read again."""

    @classmethod
    def from_first_row(cls, owner: SessionOwner, number: int, payload: bytes) -> Self:
        """Make a session from the first row of its journal, to be filled by ``replay_row``."""
        started = orjson.loads(payload.split(b"\n", 1)[0])
        plan = Plan.from_json(started["plan"])
        metadata = started.get("metadata")
        return cls(owner, number, started["session_id"], plan, started["inputs"], started["t"], metadata)

    def to_snapshot(self) -> dict[str, Any]:
        """Return the state as JSON-ready data; with the first row and those that follow it is as good as all rows."""
        return {
            "version": VERSION,
            "run": self._run.to_snapshot(),
            "counted": self.counted,
            "jobs": [job_to_json(job) for job in self.jobs.values()],
            "flow_jobs": [each.to_json() for each in self.flow_jobs.values()],
            "undecided": [each.to_json() for each in self._undecided.values() if self._run.is_open(each.job_id)],
            "since": self.deadlines.since,
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
            job = self.create(created, obj["since"].get(created.job_id))
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
            if self.watch is not None:
                self.watch.put_out(place, attempt.job.job_id, attempt.number)
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
                self.lives.exported(obj["job_id"], obj["attempt"], obj["place"], None, obj.get("reason"))
            case "ValueCarried":
                body = BodyRef.from_json(obj.get("body"))
                self.lives.carried((obj["job_id"], obj["attempt"], obj["place"]), body, obj.get("reason"))
            case "ValueCopied":
                file = (obj["host"], obj["file"])
                self.lives.copied((obj["job_id"], obj["attempt"], obj["place"]), obj["link"], file)
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
        ago = max(0, time.time_ns() // 1_000_000 - obj["t"]) / 1000
        attempt.assigned_at = self._owner.loop.time() - ago
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
                self.create(decision, obj.get("t"))
        elif isinstance(decision, FlowJobStarted):
            self._open_flow(decision, obj.get("t"))
        elif isinstance(decision, FlowJobOutput):
            self._fold_flow_output(decision)
        elif isinstance(decision, FlowJobFinished):
            self._fold_flow_end(None, decision)
        elif isinstance(decision, RunFinished):
            self._verdict = decision
            self.state = "ending"

    def _note_again(self, created: JobCreated) -> None:
        self._again += 1
        self.recomputing.revive(created)
        self._run.add(created)

    def fresh_job_id(self) -> str:
        """Return an id for a job that runs again."""
        return f"{self.session_id}.again{self._again}"

    def _is_large(self) -> bool:
        """Tell whether to write the state down would hold up the loop."""
        left = LARGE - len(self.jobs) - self.lives.count
        held = (job.attempt.held for job in self.jobs.values() if job.attempt is not None)
        return left < 0 or self._run.is_larger_than(left - sum(each.entries for each in held if each is not None))

    def _open_flow(self, started: FlowJobStarted, since: int | None = None) -> None:
        self.flow_jobs[started.job_id] = started
        self.deadlines.begin_flow(started, since)
        if self.watch is not None:
            self._tell_began(started, started.runs or started.node_id, since)

    def _tell_began(self, decision: JobCreated | FlowJobStarted, name: str, since: int | None) -> None:
        """Say to who watches that a job, or a run of a subflow, is to be done, and under what it stands."""
        if self.watch is None:
            return
        parent = ("", 0)
        if decision.caller is not None:
            caller = self.jobs.get(decision.caller)
            parent = (decision.caller, 1 if caller is None else max(caller.attempts, 1))
        elif decision.flow is not None:
            parent = (decision.stacks[-1]["flow_job_id"], 0)
        self.watch.job_began(decision.job_id, name, decision.node_id, parent, decision.inputs, since)

    @abstractmethod
    def create(self, created: JobCreated, since: int | None = None) -> Job:
        """Make a job of a decision; its clock began at ``since``, in ms since the epoch, or begins now."""

    def _node_of(self, flow_job_id: str) -> dict[str, Any]:
        flow = self.flow_jobs.get(flow_job_id)
        return {} if flow is None else {"node_id": flow.node_id}
