"""Run: one session's flow as a pure state machine. No clock, no I/O, no randomness; values are never seen.

It is event-sourced. *Facts* come from outside (a job's output, its end, a cancel); *decisions* follow from the state
(a job to create, a subflow to start, the end of the run). ``feed`` applies a fact and returns the decisions that
follow, each applied as it is made; ``replay`` applies what a journal holds and decides nothing. State changes in the
methods of the table ``_TRANSITIONS`` and nowhere else: ``changing`` has the state and the changes that they are made
of, ``deciding`` what follows.

Inputs are paired first in, first out: a job takes one value from the queue of each connected handle. A node runs at
most ``concurrency`` jobs at once (negative: any number; 0: none, but the first one of a node that nothing feeds). Each
run of a subflow node is a flow of its own, with fresh queues; its outputs go on as they come. A flow is over when no
job is left in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .changing import Holder
from .deciding import MAX_DEPTH, MAX_FLOW_JOBS, DecidingRun
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
from .plan import REMEMBERED, Plan
from .runstate import FlowJob

__all__ = ["MAX_DEPTH", "MAX_FLOW_JOBS", "Holder", "Run"]


class Run(DecidingRun):
    """One session's flow: facts come in, decisions go out."""

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

    def queue(self, job_id: str, handle: str, ref: Ref, count: int, place: int, jobs: int) -> bool:
        """Feed outputs of a job at once, if nothing can be decided because of them now; else change nothing.

        Their references follow each other by one in a place. So it is while their consumers have as many jobs as they
        may, or while no more may be created (``jobs``). A message of 500 took 3.5 ms and takes 1.4 (stall).
        """
        job = self._jobs.get(job_id)
        if job is None or job.node is None or self.finished:
            return False
        waits = self.unsettled and jobs <= 0 and not self._is_pressing
        targets = job.flow.targets.get((job.node.plan.node_id, handle), ())
        found = [(job.flow.nodes[target.node_id], target.handle) for target in targets if target.node_id is not None]
        if not found or len(found) < len(targets):
            return False
        if not waits and (self.unsettled or not all(node.is_full for node, _ in found)):
            return False
        for node, into in found:
            node.push_run(into, ref, count, place)
            if waits:
                self._touched.append(node)
        return True

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
            # They say where to look next, and would grow with the journal: after it, everything is looked at once.
            for queue in (self._touched, self._quiet, self._moved):
                queue.clear()
            self._replayed = True

    @property
    def _is_pressing(self) -> bool:
        """Tell whether anything but jobs is to be decided: that doesn't wait for the next transaction."""
        return self._verdict is not None or bool(self._failing or self._emitted or self._asked)

    # ------------------------------------------------------------------ the transitions

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
        # ``_decide`` gives the oldest one, live, and the journal has them in that order: it is always the first.
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
