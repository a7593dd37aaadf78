"""Run: one session's flow as a pure state machine. No clock, no I/O, no randomness; values are never seen.

It is event-sourced. *Facts* come from outside (a job's output, its end, a cancel); *decisions* follow from the state
(a job to create, a subflow to start, the end of the run). ``feed`` applies a fact and returns the decisions that
follow, each applied as it is made; ``replay`` applies what a journal holds and decides nothing. State changes in the
methods of the table ``_TRANSITIONS`` and nowhere else.

Inputs are paired first in, first out: a job takes one value from the queue of each connected handle. A node runs at
most ``concurrency`` jobs at once (negative: any number; 0: none, but the first one of a node that nothing feeds). Each
run of a subflow node is a flow of its own, with fresh queues; its outputs go on as they come. A flow is over when no
job is left in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from .entries import (
    BlockRequested,
    Cancelled,
    ConditionDecided,
    Decision,
    Fact,
    Finished,
    FlowJobFinished,
    FlowJobOutput,
    FlowJobProgress,
    FlowJobStarted,
    JobCreated,
    Output,
    Progressed,
    Ref,
    RunFinished,
    SessionBegun,
    Weighed,
)
from .plan import REMEMBERED, NodePlan, Plan, Source, Spec
from .runstate import FlowJob, NodeState, RunJob

__all__ = ["MAX_DEPTH", "MAX_FLOW_JOBS", "Holder", "Run"]

MAX_DEPTH = 50
"""Levels of flows and blocks inside of each other. A subflow that calls itself for ever ends here."""

MAX_FLOW_JOBS = 100_000
"""Runs of subflows that may be open at once; each costs some hundred bytes for every node of its flow."""


class Holder(Protocol):
    """Counts who holds values that are let go when nobody does."""

    def take(self, ref: Ref) -> bool:
        """Count one more; tell whether it is such a value."""
        ...

    def drop(self, ref: Ref) -> None:
        """Count one less."""
        ...


class Run:
    """The state of one session's flow."""

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
        """Tell whether anybody takes a job's values on a handle. Those without consumers need not be fed."""
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

    def feed(self, fact: Fact, jobs: int | None = None) -> list[Decision]:
        """Apply a fact and return what follows from it. A fact about a job that has ended changes nothing.

        With ``jobs`` no more than so many are created: ``unsettled`` tells then that ``settle`` is to be called.
        """
        if self.finished:
            return []
        _TRANSITIONS[type(fact)](self, fact)
        if self.unsettled and jobs is not None and jobs <= 0 and not self._is_pressing:
            return []
        return self.settle(jobs)

    def add(self, created: JobCreated) -> None:
        """Open a job that runs another one again (``recomputes``). It keeps its flow open, and that hears nothing."""
        self._on_job_created(created)

    def settle(self, jobs: int | None = None) -> list[Decision]:
        """Return the decisions that follow from the state; after a replay, what was left to decide."""
        if self._replayed:
            self._replayed = False
            self._look_at_everything()
        decisions: list[Decision] = []
        self.unsettled = False
        while (decision := self._decide()) is not None:
            if jobs is not None and type(decision) in _CREATIONS:
                if jobs <= 0:
                    self.unsettled = True
                    break
                jobs -= 1
            _TRANSITIONS[type(decision)](self, decision)
            decisions.append(decision)
        return decisions

    def replay(self, entry: Fact | Decision) -> None:
        """Apply a fact or a decision from the journal and decide nothing."""
        if not self.finished:
            _TRANSITIONS[type(entry)](self, entry)
            for queue in (self._touched, self._quiet, self._moved):
                queue.clear()
            self._replayed = True

    @property
    def _is_pressing(self) -> bool:
        """Tell whether something else is to be decided than which jobs follow."""
        return self._verdict is not None or bool(self._failing or self._emitted or self._asked)

    # ------------------------------------------------------------------ deciding: looks, changes nothing but the lists

    def _look_at_everything(self) -> None:
        for flow in self._flows.values():
            self._touched.extend(flow.nodes.values())
            self._quiet.append(flow)
            self._moved.append(flow)

    def _decide(self) -> Decision | None:
        if self.finished or not self._begun:
            return None
        if self._verdict is not None:
            return RunFinished(*self._verdict, {})
        while self._failing:
            flow = self._failing[0]
            if not flow.ended:
                return FlowJobFinished(flow.job_id, _node_id(flow), flow.error)
            self._failing.popleft()
        if self._emitted:
            return self._emitted[0]
        if self._asked:
            return self._answer(self._asked[0])
        while self._touched:
            node = self._touched[0]
            if node.ready and not node.flow.ended:
                return self._job_for(node)
            self._touched.popleft()
        return self._decide_flows()

    def _decide_flows(self) -> Decision | None:
        """What follows for whole flows, once every job that can be created was."""
        while self._moved:
            flow = self._moved[0]
            if not flow.ended and flow.outer is not None and (rate := flow.rate) > flow.said:
                return FlowJobProgress(flow.job_id, _node_id(flow), rate)
            self._moved.popleft()
        while self._quiet:
            flow = self._quiet[0]
            if not flow.ended and not flow.jobs:
                if flow.outer is None:
                    return RunFinished("succeeded", None, dict(self._outputs))
                return FlowJobFinished(flow.job_id, _node_id(flow))
            self._quiet.popleft()
        return None

    def _job_for(self, node: NodeState) -> Decision:
        flow, block, spec = node.flow, node.plan, None
        refused = None
        if block.kind == "slot":
            provider = self._provider(flow, block.node_id)
            if provider is None:
                refused = f"nothing provides for its slot {block.node_id!r}"
            else:
                spec, block = provider
        job_id = f"{self._session_id}.{self._created}"
        stacks = node.stacks
        inputs = node.heads()
        if block.kind in ("subflow", "slot"):
            refused = refused or self._refusal(stacks, flow.plan.path)
            return FlowJobStarted(job_id, node.plan.node_id, block.flow, stacks, inputs, flow.key, spec, None, refused)
        return JobCreated(job_id, node.plan.node_id, block.kind, stacks, inputs, flow.key, spec)

    def _provider(self, flow: FlowJob, slot: str) -> tuple[Spec, NodePlan] | None:
        if flow.providers is None:
            return None
        key, node_id = flow.providers
        provider = self._plan.flow(key).node(node_id).slots.get(slot)
        return None if provider is None else (["slot", key, node_id, slot], provider)

    def _refusal(self, stacks: list[Any], path: str | None) -> str | None:
        if len(stacks) > MAX_DEPTH:
            return f"flows and blocks call each other more than {MAX_DEPTH} levels deep" + (
                f" ({path})" if path else ""
            )
        if len(self._flows) > MAX_FLOW_JOBS:
            return f"more than {MAX_FLOW_JOBS} runs of subflows are open"
        return None

    def _answer(self, asked: BlockRequested) -> Decision:
        """A block that a job asked for: its stacks have a level more than the caller's."""
        caller, entry = self._jobs[asked.caller], self._plan.catalog[asked.key]
        node_id = f"run_block::{asked.reference}"
        level = {"flow_job_id": asked.caller, "flow": caller.flow.plan.path, "node_id": node_id}
        stacks = [*caller.stacks, level]
        refused = self._refusal(stacks, caller.flow.plan.path) or entry.block.get("refused")
        key, inputs = caller.flow.key, dict(asked.inputs)
        spec = ["catalog", asked.key] if asked.extra is None else ["catalog", asked.key, asked.extra]
        if entry.kind == "subflow" or refused is not None:
            runs = None if refused is not None else entry.flow
            return FlowJobStarted(asked.job_id, node_id, runs, stacks, inputs, key, spec, asked.caller, refused)
        return JobCreated(asked.job_id, node_id, entry.kind, stacks, inputs, key, spec, asked.caller)

    # ------------------------------------------------------------------ the transitions: the only place of change

    def _on_started(self, _: SessionBegun) -> None:
        self._begun = True
        self._root.inputs = {each["handle"]: ["input", each["handle"]] for each in self._plan.inputs_def}
        self._begin(self._root)

    def _on_output(self, fact: Output) -> None:
        job = self._jobs.get(fact.job_id)
        if job is not None and job.node is not None:
            self._produce(job.flow, job.node.plan.node_id, fact.handle, fact.ref, fact.to_node, fact.to_flow)

    def _on_finished(self, fact: Finished) -> None:
        job = self._jobs.get(fact.job_id)
        if job is None:
            return
        if job.nested is not None:
            self._fail(job.nested, fact.error or "it was ended from outside")
        elif fact.error is not None:
            self._end(job, fact.error)
        else:
            self._remove(job)
            if job.node is not None:
                for handle, ref in fact.outputs.items():
                    self._produce(job.flow, job.node.plan.node_id, handle, ref)

    def _on_condition(self, fact: ConditionDecided) -> None:
        """A condition hands on the value of its first input; without a case that holds it ends all the same."""
        job = self._jobs.get(fact.job_id)
        if job is None or job.node is None:
            return
        self._remove(job)
        if fact.handle is not None:
            self._produce(job.flow, job.node.plan.node_id, fact.handle, fact.ref)

    def _on_cancelled(self, fact: Cancelled) -> None:
        self._verdict = self._verdict or ("cancelled", f"cancelled: {fact.reason}")

    def _on_requested(self, fact: BlockRequested) -> None:
        """A request of a job that has ended, or one that was made before, changes nothing."""
        if fact.caller in self._jobs and fact.job_id not in self._jobs and fact.key in self._plan.catalog:
            self._asked.append(fact)
            self._held(fact.inputs)

    def _on_progressed(self, fact: Progressed) -> None:
        job = self._jobs.get(fact.job_id)
        if job is not None and job.node is not None:
            self._advance(job.node, fact.rate)

    def _on_weighed(self, fact: Weighed) -> None:
        job = self._jobs.get(fact.job_id)
        if job is not None and fact.node_id in job.flow.weights:
            job.flow.weigh(fact.node_id, fact.weight)
            self._moved.append(job.flow)

    def _on_job_created(self, created: JobCreated) -> None:
        self._open(created)

    def _on_flow_started(self, started: FlowJobStarted) -> None:
        job = self._open(started)
        runs, spec = started.runs, started.spec
        plan = self._plan.flow(runs) if runs is not None else _NOTHING
        # A slot's provider and a block's request provide for no slots.
        providers = (started.flow, started.node_id) if spec is None else None
        flow = FlowJob(started.job_id, runs, plan, stacks=started.stacks, inputs=started.inputs, providers=providers)
        flow.outer, job.nested = job, flow
        self._flows[flow.job_id] = flow
        if started.refused is not None:
            self._fail(flow, started.refused)
        else:
            self._begin(flow)
        if job.held:
            # Handed out to its nodes; only what each job of a slot gets goes on being asked for.
            held, job.held = job.held, self._held({k: v for k, v in started.inputs.items() if REMEMBERED in k})
            self._let_go(held)

    def _on_flow_output(self, _: FlowJobOutput) -> None:
        self._let_go((self._emitted.popleft().ref,))

    def _on_flow_progress(self, told: FlowJobProgress) -> None:
        flow = self._flows[told.job_id]
        flow.said = told.rate
        if flow.outer is not None and flow.outer.node is not None:
            self._advance(flow.outer.node, told.rate)

    def _on_flow_finished(self, finished: FlowJobFinished) -> None:
        flow = self._flows[finished.job_id]
        assert flow.outer is not None
        if finished.error is None:
            self._drop(flow)
            self._remove(flow.outer)
        else:
            self._drop(flow)
            self._end(flow.outer, finished.error)

    def _on_run_finished(self, _: RunFinished) -> None:
        self.finished = True

    # ------------------------------------------------------------------ what the transitions do

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
            self._let_go(self._asked.popleft().inputs.values())
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
        """Let go of everything: nobody asks or feeds any more."""
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
    def from_snapshot(cls, plan: Plan, session_id: str, obj: Mapping[str, Any]) -> Run:
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


_NOTHING: Final = Plan("", None, ())
"""The flow of a run that was refused."""

_CREATIONS: Final = frozenset({JobCreated, FlowJobStarted})
"""Decisions of which a single fact, or many that come together, may have any number as consequences."""

_TRANSITIONS: Final[Mapping[type[Fact] | type[Decision], Callable[[Run, Any], None]]] = {
    SessionBegun: Run._on_started,
    Output: Run._on_output,
    Finished: Run._on_finished,
    ConditionDecided: Run._on_condition,
    Cancelled: Run._on_cancelled,
    BlockRequested: Run._on_requested,
    Progressed: Run._on_progressed,
    Weighed: Run._on_weighed,
    JobCreated: Run._on_job_created,
    FlowJobStarted: Run._on_flow_started,
    FlowJobOutput: Run._on_flow_output,
    FlowJobProgress: Run._on_flow_progress,
    FlowJobFinished: Run._on_flow_finished,
    RunFinished: Run._on_run_finished,
}
"""What each fact and each decision does to the state."""


def _node_id(flow: FlowJob) -> str:
    assert flow.outer is not None
    return str(flow.outer.stacks[-1]["node_id"])


def _is_meant(target: Source, to_node: Any, to_flow: Any) -> bool:
    if target.node_id is None:
        return any(each.get("output_handle") == target.handle for each in to_flow or () if isinstance(each, dict))
    return any(
        each.get("node_id") == target.node_id and each.get("input_handle") == target.handle
        for each in to_node or ()
        if isinstance(each, dict)
    )
