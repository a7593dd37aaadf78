"""What a run remembers: runs of flows (the root's and those of subflows), their nodes' queues, and open jobs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .entries import Ref
from .plan import REMEMBERED, FlowPlan, NodePlan
from .references import References

__all__ = ["FlowJob", "NodeState", "RunJob"]


class NodeState:
    """A node's queues and jobs in one run of its flow."""

    __slots__ = (
        "_stacks",
        "constants",
        "empty",
        "extras",
        "feedable",
        "flow",
        "plan",
        "progress",
        "queues",
        "running",
        "started",
    )

    def __init__(self, plan: NodePlan, flow: FlowJob) -> None:
        self.plan = plan
        self.flow = flow
        self._stacks: list[dict[str, Any]] | None = None
        self.queues: dict[str, References] = {}
        self.extras: dict[str, References] = {}
        """Of inputs that the block doesn't declare."""
        self.constants: dict[str, Ref] = {}
        self.feedable = True
        """Every input has a source or a value."""
        for handle, each in plan.inputs.items():
            if each.optional:
                self.extras[handle] = References()
            elif each.sources:
                self.queues[handle] = References()
            elif each.has_value:
                key = [] if flow.key is None else [flow.key]
                self.constants[handle] = ["static", plan.node_id, handle, *key]
            else:
                self.feedable = False
        self.empty = len(self.queues)
        """How many queues are empty."""
        self.running = 0
        self.started = False
        self.progress = 0.0

    @property
    def stacks(self) -> list[dict[str, Any]]:
        """Return those of its jobs, which have them in common: there may be very many."""
        if self._stacks is None:
            self._stacks = self.flow.stacks_of(self.plan.node_id)
        return self._stacks

    @property
    def ready(self) -> bool:
        """Tell whether a job can be created now.

        A node that nothing feeds runs once, at the start, whatever its concurrency; again only for values that it
        doesn't declare.
        """
        if self.empty or not self.feedable:
            return False
        limit = self.plan.concurrency
        if not self.queues:
            if not self.started:
                return True
            if not any(self.extras.values()):
                return False
        return limit < 0 or self.running < limit

    @property
    def is_full(self) -> bool:
        """Tell whether as many of its jobs are open as may be, so that none follows from a value."""
        return 0 <= self.plan.concurrency <= self.running

    def push(self, handle: str, ref: Ref) -> None:
        """Add a value to a handle's queue."""
        self._filled(handle).append(ref)

    def push_run(self, handle: str, ref: Ref, count: int, place: int) -> None:
        """Add values to a handle's queue whose references follow each other by one in a place."""
        self._filled(handle).append_run(ref, count, place)

    def _filled(self, handle: str) -> References:
        """Return a handle's queue, which is about to get a value."""
        queue = self.queues.get(handle)
        if queue is None:
            queue = self.extras[handle]
        elif not queue:
            self.empty -= 1
        return queue

    @property
    def waiting(self) -> list[Ref]:
        """What stands in the queues."""
        return [ref for queue in (*self.queues.values(), *self.extras.values()) for ref in queue]

    @property
    def entries(self) -> int:
        """Return what the queues take."""
        return sum(queue.entries for queue in (*self.queues.values(), *self.extras.values()))

    @property
    def stored(self) -> dict[str, Any]:
        """Return the queues that aren't empty, for a snapshot."""
        return {handle: queue.to_json() for handle, queue in (*self.queues.items(), *self.extras.items()) if queue}

    @property
    def taken(self) -> list[Ref]:
        """Return what the next job would take out of the queues."""
        return [queue.head for queue in (*self.queues.values(), *self.extras.values()) if queue]

    def refill(self, handle: str, refs: References) -> None:
        """Take over the values of a handle's queue from a snapshot."""
        if handle in self.extras:
            self.extras[handle] = refs
            return
        self.empty -= bool(refs) and not self.queues[handle]
        self.queues[handle] = refs

    def pop(self) -> None:
        """Take one value from each queue: a job has them."""
        for queue in self.queues.values():
            queue.popleft()
            if not queue:
                self.empty += 1
        for queue in self.extras.values():
            if queue:
                queue.popleft()

    def heads(self) -> dict[str, Ref]:
        """Return what the next job would take, in the order in which the inputs are declared."""
        inputs = {handle: queue.head for handle, queue in self.queues.items()}
        if not self.constants and not self.extras:
            return inputs
        inputs.update(self.constants)
        inputs.update((handle, queue.head) for handle, queue in self.extras.items() if queue)
        return {handle: inputs[handle] for handle in (*self.plan.inputs, *inputs) if handle in inputs}


@dataclass(slots=True, eq=False)
class RunJob:
    """An open job: a block's, a condition's, or a run of a subflow."""

    job_id: str
    flow: FlowJob
    """The run of the flow in which it counts."""
    node: NodeState | None
    """None for what a block asked for."""
    stacks: list[dict[str, Any]]
    nested: FlowJob | None = None
    """The run of a subflow that it is."""
    held: tuple[Ref, ...] = ()
    """Inputs that must not be released before the job has ended: var values, which another attempt needs again."""


class FlowJob:
    """One run of a flow: the root's, or a subflow's with queues of its own."""

    __slots__ = (
        "done",
        "ended",
        "error",
        "inputs",
        "job_id",
        "jobs",
        "key",
        "nodes",
        "outer",
        "plan",
        "providers",
        "said",
        "stacks",
        "targets",
        "total",
        "weights",
    )  # fmt: skip

    def __init__(
        self,
        job_id: str,
        key: str | None,
        plan: FlowPlan,
        *,
        stacks: list[dict[str, Any]],
        inputs: Mapping[str, Ref],
        providers: tuple[str | None, str] | None = None,
    ) -> None:
        self.job_id = job_id
        self.key = key
        self.plan = plan
        self.stacks = stacks
        """The levels above."""
        self.inputs = inputs
        self.providers = providers
        """Flow and node that provide for its slots."""
        self.outer: RunJob | None = None
        """The job that it is in the flow around it; None for the root."""
        self.jobs: dict[str, RunJob] = {}
        self.nodes = {node.node_id: NodeState(node, self) for node in plan.nodes}
        self.targets = plan.targets
        self.weights = {node.node_id: node.weight for node in plan.nodes}
        self.total = sum(self.weights.values())
        self.done = 0.0
        """The sum of progress by weight; kept, so that a step costs the same in a flow of any size."""
        self.error: str | None = None
        self.ended = False
        self.said = 0
        """The progress that was told last."""
        for name, ref in inputs.items():
            slot, further, handle = name.partition(REMEMBERED)
            node = self.nodes.get(slot) if further else None
            if node is not None and handle not in node.queues:
                node.constants[handle] = ref

    def stacks_of(self, node_id: str) -> list[dict[str, Any]]:
        """Return the stacks of a node's jobs: a level for each flow, this one last."""
        return [*self.stacks, {"flow_job_id": self.job_id, "flow": self.plan.path, "node_id": node_id}]

    @property
    def rate(self) -> int:
        """Return how far it is: whole percents, at most 95."""
        share = self.done / self.total if self.total > 0 else 0.0
        # Weights of journals from before had no bound: a sum of them may be none.
        return min(int(share), 95) if 0 <= share < math.inf else 0

    def advance(self, node: NodeState, rate: float) -> None:
        """Note how far a node is."""
        self.done += self.weights[node.plan.node_id] * (rate - node.progress)
        node.progress = rate

    def weigh(self, node_id: str, weight: float) -> None:
        """Give a node another weight."""
        difference = weight - self.weights[node_id]
        self.weights[node_id] = weight
        self.total += difference
        self.done += difference * self.nodes[node_id].progress

    def unlink(self) -> None:
        """Leave no circles behind, now that it is over: they would stay until the collector comes."""
        self.nodes.clear()
        if self.outer is not None:
            self.outer.nested = None

    # ------------------------------------------------------------------ snapshots

    def to_snapshot(self) -> dict[str, Any]:
        """Return the state as JSON-ready data; nodes that nothing has touched aren't in it."""
        return {
            "job_id": self.job_id,
            "key": self.key,
            "stacks": self.stacks,
            "inputs": dict(self.inputs),
            "providers": self.providers,
            "said": self.said,
            "total": self.total,
            "done": self.done,
            "jobs": [
                [job.job_id, None if job.node is None else job.node.plan.node_id, job.stacks, *job.held]
                for job in self.jobs.values()
            ],
            "started": [node_id for node_id, node in self.nodes.items() if node.started],
            "queues": {
                node_id: node.stored
                for node_id, node in self.nodes.items()
                if len(node.queues) > node.empty or any(node.extras.values())
            },
            "progress": {node_id: node.progress for node_id, node in self.nodes.items() if node.progress},
            "weights": {
                node.node_id: self.weights[node.node_id]
                for node in self.plan.nodes
                if self.weights[node.node_id] != node.weight
            },
        }

    @classmethod
    def from_snapshot(cls, obj: Mapping[str, Any], plan: FlowPlan) -> FlowJob:
        """Return the state that a snapshot holds; its jobs know no nested runs yet."""
        providers = obj["providers"]
        flow = cls(
            obj["job_id"],
            obj["key"],
            plan,
            stacks=obj["stacks"],
            inputs=obj["inputs"],
            providers=None if providers is None else (providers[0], providers[1]),
        )
        flow.said, flow.total, flow.done = obj["said"], obj["total"], obj["done"]
        flow.weights.update(obj["weights"])
        for node_id in obj["started"]:
            flow.nodes[node_id].started = True
        for node_id, queues in obj["queues"].items():
            for handle, entries in queues.items():
                flow.nodes[node_id].refill(handle, References.from_json(entries))
        for node_id, progress in obj["progress"].items():
            flow.nodes[node_id].progress = progress
        for job_id, node_id, stacks, *held in obj["jobs"]:
            node = None if node_id is None else flow.nodes[node_id]
            flow.jobs[job_id] = RunJob(job_id, flow, node, stacks, held=tuple(held))
            if node is not None:
                node.running += 1
        return flow
