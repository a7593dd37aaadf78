"""RunState: what there is of a session's run (flows, jobs, queues, outputs), and each way in which it changes.

``run`` says when a change is made, ``deciding`` looks at what came of it. Nothing here decides: a snapshot or a journal
brings the same state back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, Self

from .entries import BlockRequested, FlowJobOutput, FlowJobStarted, JobCreated, Ref
from .plan import Plan, Source
from .runstate import FlowJob, NodeState, RunJob

__all__ = ["Holder", "RunState"]


class Holder(Protocol):
    """Counts the holders of values, which are let go with the last one."""

    def take(self, ref: Ref) -> bool:
        """Count one more; tell whether it is such a value."""
        ...

    def drop(self, ref: Ref) -> None:
        """Count one less."""
        ...


class RunState:
    """The flows, jobs and queues of one session, with what has to be looked at before it is settled."""

    holder: Holder | None = None
    """Hears which values stand in queues and are inputs of open jobs; None while there are none to count."""

    def __init__(self, plan: Plan, session_id: str) -> None:
        self._plan = plan
        self._session_id = session_id
        self._root = FlowJob(session_id, None, plan, stacks=[], inputs={})
        self._flows: dict[str, FlowJob] = {session_id: self._root}
        self._jobs: dict[str, RunJob] = {}
        self._created = 0
        self._outputs: dict[str, Ref] = {}
        self._begun = False
        self._replayed = False
        self._verdict: tuple[str, str | None] | None = None
        # What has to be looked at before the state is settled.
        self._touched: deque[NodeState] = deque()
        self._failing: deque[FlowJob] = deque()
        self._quiet: deque[FlowJob] = deque()
        self._moved: deque[FlowJob] = deque()
        self._asked: deque[BlockRequested] = deque()
        self._emitted: deque[FlowJobOutput] = deque()
        self.finished = False
        """No decision will follow any more."""
        self.unsettled = False
        """There is more to decide than was asked for."""

    @property
    def open_jobs(self) -> int:
        """How many jobs were created and haven't ended; runs of subflows count as jobs."""
        return len(self._jobs)

    def is_larger_than(self, size: int) -> bool:
        """Tell whether there are more open jobs and entries of queues than that."""
        left = size - len(self._jobs) - len(self._flows)
        for flow in self._flows.values():
            if left < 0:
                return True
            left -= sum(node.entries for node in flow.nodes.values())
        return left < 0

    def consumers(self, job_id: str, handle: str) -> bool:
        """Tell whether a job's values on a handle have consumers. Those without needn't be fed."""
        job = self._jobs.get(job_id)
        while job is not None and job.node is not None:
            found = job.flow.targets.get((job.node.plan.node_id, handle), ())
            if any(target.node_id is not None for target in found):
                return True
            outer = job.flow.outer
            if not found or outer is None or outer.node is None:
                return bool(found)
            if len(found) > 1:
                return any(self.consumers(outer.job_id, target.handle) for target in found)
            job, handle = outer, found[0].handle
        return False

    def is_open(self, job_id: str) -> bool:
        """Tell whether a job was created and hasn't ended."""
        return job_id in self._jobs

    @property
    def rate(self) -> int:
        """Return how far the flow is, in percent."""
        return self._root.rate

    @property
    def decided(self) -> bool:
        """Tell whether it is settled how the flow ends."""
        return self.finished or self._verdict is not None

    # ------------------------------------------------------------------ changes

    def _begin(self, flow: FlowJob) -> None:
        """Look at a flow's nodes and hand out its inputs, before what waits: recursion goes to its depth first."""
        held, self._touched = self._touched, deque()
        self._touched.extend(node for node in flow.nodes.values() if not node.queues)
        for definition in flow.plan.inputs_def:
            handle = definition["handle"]
            if handle in flow.inputs:
                self._produce(flow, None, handle, flow.inputs[handle])
        held.extendleft(reversed(self._touched))
        self._touched = held
        self._quiet.append(flow)

    def _open(self, entry: JobCreated | FlowJobStarted) -> RunJob:
        node = None
        held = self._held(entry.inputs)
        if isinstance(entry, JobCreated) and entry.recomputes is not None:
            # The run of the flow in which its first one was may be over.
            flow = self._flows.get(entry.stacks[-1]["flow_job_id"], self._root)
        elif entry.caller is None:
            flow = self._flows[entry.stacks[-1]["flow_job_id"]]
            node = flow.nodes[entry.node_id]
            # Equal, but in a replay each job has read its own.
            entry.stacks = node.stacks
            if self.holder is not None:
                self._let_go(node.taken)
            node.pop()
            node.running += 1
            node.started = True
            self._created += 1
        else:
            flow = self._jobs[entry.caller].flow
            while (asked := self._asked.popleft()).job_id != entry.job_id:
                # In a replay: live it was passed over, for its caller had ended.
                self._let_go(asked.inputs.values())
            self._let_go(asked.inputs.values())
        job = RunJob(entry.job_id, flow, node, entry.stacks, held=held)
        flow.jobs[entry.job_id] = self._jobs[entry.job_id] = job
        return job

    def _held(self, inputs: Mapping[str, Ref]) -> tuple[Ref, ...]:
        """Hold inputs; return those that have to be let go some time."""
        holder = self.holder
        return () if holder is None else tuple(ref for ref in inputs.values() if holder.take(ref))

    def _let_go(self, refs: Iterable[Ref]) -> None:
        if self.holder is not None:
            for ref in refs:
                self.holder.drop(ref)

    def _remove(self, job: RunJob) -> None:
        """A job is over without an error."""
        self._forget(job)
        if job.node is not None:
            job.node.running -= 1
            self._touched.append(job.node)
            self._advance(job.node, 100.0)
        self._quiet.append(job.flow)

    def _end(self, job: RunJob, error: str) -> None:
        """A job ended with an error: so does its flow, unless a block asked for the job."""
        if job.node is None:
            self._remove(job)
            return
        self._forget(job)
        job.node.running -= 1
        level = f"node {job.node.plan.node_id}: "
        # A flow that calls itself would say the same fifty times.
        self._fail(job.flow, error if error.startswith(level * 2) else f"{level}{error}")

    def _fail(self, flow: FlowJob, error: str) -> None:
        if flow.outer is None:
            self._verdict = self._verdict or ("failed", error)
        elif flow.error is None:
            flow.error = error
            self._failing.append(flow)

    def _forget(self, job: RunJob) -> None:
        del self._jobs[job.job_id]
        del job.flow.jobs[job.job_id]
        self._let_go(job.held)

    def _drop(self, flow: FlowJob) -> None:
        """A flow is over: whatever is still open in it, at any depth, counts no more."""
        dropped = [flow]
        while dropped:
            each = dropped.pop()
            each.ended = True
            if self.holder is not None:
                for node in each.nodes.values():
                    self._let_go(node.waiting)
            each.unlink()
            self._flows.pop(each.job_id, None)
            for job in each.jobs.values():
                self._jobs.pop(job.job_id, None)
                self._let_go(job.held)
                if job.nested is not None:
                    dropped.append(job.nested)
            each.jobs.clear()

    def _advance(self, node: NodeState, rate: float) -> None:
        if rate > node.progress:
            node.flow.advance(node, rate)
            if node.flow.outer is not None:
                self._moved.append(node.flow)

    def _produce(
        self, flow: FlowJob, node_id: str | None, handle: str, ref: Ref, to_node: Any = None, to_flow: Any = None
    ) -> None:
        directed = to_node is not None or to_flow is not None
        for target in flow.targets.get((node_id, handle), ()):
            if directed and not _is_meant(target, to_node, to_flow):
                continue
            if target.node_id is None:
                self._put_out(flow, target.handle, ref)
            else:
                node = flow.nodes[target.node_id]
                node.push(target.handle, ref)
                self._touched.append(node)
                if self.holder is not None:
                    self.holder.take(ref)

    def _put_out(self, flow: FlowJob, handle: str, ref: Ref) -> None:
        """A value of a flow's output goes on at once: to the flow around it, or to the block that asked."""
        outer = flow.outer
        if outer is None:
            self._held({handle: ref})
            if (before := self._outputs.get(handle)) is not None:
                self._let_go((before,))
            self._outputs[handle] = ref
        elif outer.node is not None:
            self._produce(outer.flow, outer.node.plan.node_id, handle, ref)
        else:
            self._emitted.append(FlowJobOutput(flow.job_id, handle, ref))
            self._held({handle: ref})

    def drop(self, job_id: str) -> None:
        """Let go of a job, now that the run has finished: it need not all be done at once."""
        job = self._jobs.pop(job_id, None)
        if job is not None:
            job.flow.jobs.pop(job_id, None)

    def close(self) -> None:
        """Let go of everything: nothing asks or feeds any more."""
        for flow in self._flows.values():
            flow.unlink()
            flow.jobs.clear()
        self._jobs.clear()

    # ------------------------------------------------------------------ snapshots

    def to_snapshot(self) -> dict[str, Any]:
        """Return the settled state as JSON-ready data; with the plan and what follows it is as good as the journal."""
        return {
            "version": 1,
            "begun": self._begun,
            "created": self._created,
            "finished": self.finished,
            "verdict": self._verdict,
            "outputs": self._outputs,
            "flows": [flow.to_snapshot() for flow in self._flows.values()],
        }

    @classmethod
    def from_snapshot(cls, plan: Plan, session_id: str, obj: Mapping[str, Any]) -> Self:
        """Return the run that a snapshot holds."""
        run = cls(plan, session_id)
        # Not everything may have been decided when it was made.
        run._replayed = True
        run._begun, run._created, run.finished = obj["begun"], obj["created"], obj["finished"]
        run._verdict = None if obj["verdict"] is None else (obj["verdict"][0], obj["verdict"][1])
        run._outputs = dict(obj["outputs"])
        for each in obj["flows"]:
            flow = FlowJob.from_snapshot(each, plan.flow(each["key"]))
            run._flows[flow.job_id] = flow
            run._jobs.update(flow.jobs)
        run._root = run._flows[session_id]
        for flow in run._flows.values():
            if flow is not run._root:
                flow.outer = run._jobs[flow.job_id]
                flow.outer.nested = flow
        return run


def _is_meant(target: Source, to_node: Any, to_flow: Any) -> bool:
    if target.node_id is None:
        return any(each.get("output_handle") == target.handle for each in to_flow or () if isinstance(each, dict))
    return any(
        each.get("node_id") == target.node_id and each.get("input_handle") == target.handle
        for each in to_node or ()
        if isinstance(each, dict)
    )
