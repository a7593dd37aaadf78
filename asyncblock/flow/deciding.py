"""What follows from the state of a run: which job to create, which subflow to start or to end, the end of all.

It looks, and changes nothing but the lists of what is still to be looked at.
"""

from __future__ import annotations

from typing import Any

from .changing import RunState
from .entries import (
    BlockRequested,
    Decision,
    FlowJobFinished,
    FlowJobProgress,
    FlowJobStarted,
    JobCreated,
    RunFinished,
)
from .plan import NodePlan, Spec
from .runstate import FlowJob, NodeState

__all__ = ["MAX_DEPTH", "MAX_FLOW_JOBS", "DecidingRun"]

MAX_DEPTH = 50
"""Levels of flows and blocks inside of each other. A subflow that calls itself for ever ends here."""

MAX_FLOW_JOBS = 100_000
"""Runs of subflows that may be open at once; each costs some hundred bytes for every node of its flow."""


class DecidingRun(RunState):
    """A run that can say what follows from its state."""

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
        while self._asked:
            if self.is_open(self._asked[0].caller):
                return self._answer(self._asked[0])
            # Its caller has ended before there was room for another job.
            self._let_go(self._asked.popleft().inputs.values())
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


def _node_id(flow: FlowJob) -> str:
    assert flow.outer is not None
    return str(flow.outer.stacks[-1]["node_id"])
