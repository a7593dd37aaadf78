"""Run: one session's flow as a pure state machine. No clock, no I/O, no randomness; values are never seen.

It is event-sourced. *Facts* come from outside (a job's output, its end, a cancel); *decisions* follow from the state
(a job to create, the end of the run). ``feed`` applies a fact and returns the decisions that follow, each applied as it
is made; ``replay`` applies what a journal holds and decides nothing. State changes in ``_apply`` and nowhere else.

Inputs are paired first in, first out: a job takes one value from the queue of each connected handle. A node runs at
most ``concurrency`` jobs at once (negative: any number; 0: only the start-up one). A run is over when no job is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from .plan import NodePlan, Plan, Source

__all__ = [
    "Cancelled",
    "ConditionDecided",
    "Decision",
    "Fact",
    "Finished",
    "JobCreated",
    "Output",
    "Ref",
    "Run",
    "RunFinished",
    "Started",
    "decision_from_json",
]

Ref = Any
"""Where a value lies: a JSON-able sequence that the caller made, ``["static", node_id, handle]`` or
``["input", handle]``."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened outside."""


@dataclass(frozen=True, slots=True)
class Started(Fact):
    """The session begins."""


@dataclass(frozen=True, slots=True)
class Output(Fact):
    """A job's value on a handle. Targets, when given, filter the connections it takes."""

    job_id: str
    handle: str
    ref: Ref
    to_node: Any = None
    to_flow: Any = None


@dataclass(frozen=True, slots=True)
class Finished(Fact):
    """A job's end, with its error or its result."""

    job_id: str
    error: str | None = None
    outputs: Mapping[str, Ref] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConditionDecided(Fact):
    """The case that holds for a condition's inputs; None when none does."""

    job_id: str
    handle: str | None
    ref: Ref = None
    """The value that goes on: that of the condition's first input."""


@dataclass(frozen=True, slots=True)
class Cancelled(Fact):
    """Somebody ended the session."""

    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that follows."""

    type: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Return the decision as a journal line."""
        return {"type": self.type, **{f.name: getattr(self, f.name) for f in fields(self)}}


@dataclass(frozen=True, slots=True)
class JobCreated(Decision):
    """A node's inputs are complete: run its block with them."""

    type: ClassVar[str] = "JobCreated"
    job_id: str
    node_id: str
    kind: str
    stacks: list[dict[str, Any]]
    inputs: dict[str, Ref]


@dataclass(frozen=True, slots=True)
class RunFinished(Decision):
    """The run is over: ``succeeded``, ``failed`` or ``cancelled``."""

    type: ClassVar[str] = "RunFinished"
    state: str
    error: str | None
    outputs: dict[str, Ref]
    """The last value of each output of the flow."""


_DECISIONS: dict[str, type[Decision]] = {cls.type: cls for cls in (JobCreated, RunFinished)}


def decision_from_json(obj: Mapping[str, Any]) -> Decision:
    """Read a decision from its journal line."""
    cls = _DECISIONS[obj["type"]]
    return cls(**{f.name: obj[f.name] for f in fields(cls)})


class _Node:
    """A node's queues and jobs."""

    __slots__ = ("constants", "plan", "queues", "running", "started")

    def __init__(self, plan: NodePlan) -> None:
        self.plan = plan
        self.queues: dict[str, deque[Ref]] = {h: deque() for h, each in plan.inputs.items() if each.sources}
        self.constants = {
            h: ["static", plan.node_id, h] for h, each in plan.inputs.items() if not each.sources and each.has_value
        }
        self.running = 0
        self.started = False

    @property
    def complete(self) -> bool:
        """Tell whether every input has a value: a queue that isn't empty, or a constant."""
        return all(self.queues.values()) and len(self.queues) + len(self.constants) == len(self.plan.inputs)

    @property
    def free(self) -> bool:
        """Tell whether another job may run beside those that do."""
        limit = self.plan.concurrency
        return limit < 0 or self.running < max(limit, 0 if self.started else 1)

    @property
    def ready(self) -> bool:
        """Tell whether a job can be created now. A node that nothing feeds runs once, at the start."""
        return self.complete and self.free and (bool(self.queues) or not self.started)


class Run:
    """The state of one session's flow."""

    def __init__(self, plan: Plan, session_id: str) -> None:
        self._plan = plan
        self._session_id = session_id
        self._nodes = {node.node_id: _Node(node) for node in plan.nodes}
        self._targets = _targets_by_source(plan)
        self._jobs: dict[str, _Node] = {}
        self._created = 0
        self._outputs: dict[str, Ref] = {}
        self._touched: deque[_Node] = deque()
        self._begun = False
        self._replayed = False
        self._verdict: tuple[str, str | None] | None = None
        self.finished = False
        """No decision will follow any more."""

    @property
    def open_jobs(self) -> int:
        """How many jobs were created and haven't ended."""
        return len(self._jobs)

    def consumers(self, job_id: str, handle: str) -> bool:
        """Tell whether anybody takes a job's values on a handle. Those without consumers need not be fed."""
        node = self._jobs.get(job_id)
        return node is not None and Source(node.plan.node_id, handle) in self._targets

    def feed(self, fact: Fact) -> list[Decision]:
        """Apply a fact and return what follows from it. A fact about a job that has ended changes nothing."""
        if self.finished:
            return []
        self._apply(fact)
        return self.settle()

    def settle(self) -> list[Decision]:
        """Return the decisions that follow from the state; after a replay, what was left to decide."""
        if self._replayed:
            self._replayed = False
            self._touched.extend(self._nodes.values())
        decisions: list[Decision] = []
        while (decision := self._decide()) is not None:
            self._apply(decision)
            decisions.append(decision)
        return decisions

    def replay(self, entry: Fact | Decision) -> None:
        """Apply a fact or a decision from the journal and decide nothing."""
        if not self.finished:
            self._apply(entry)
            self._touched.clear()
            self._replayed = True

    # ------------------------------------------------------------------ deciding: looks, changes nothing but the list

    def _decide(self) -> Decision | None:
        if self.finished or not self._begun:
            return None
        if self._verdict is not None:
            return RunFinished(*self._verdict, {})
        while self._touched:
            node = self._touched[0]
            if node.ready:
                return self._job_for(node)
            self._touched.popleft()
        return None if self._jobs else RunFinished("succeeded", None, dict(self._outputs))

    def _job_for(self, node: _Node) -> JobCreated:
        inputs: dict[str, Ref] = {}
        for handle in node.plan.inputs:
            queue = node.queues.get(handle)
            inputs[handle] = node.constants[handle] if queue is None else queue[0]
        node_id = node.plan.node_id
        stacks = [{"flow_job_id": self._session_id, "flow": self._plan.path, "node_id": node_id}]
        return JobCreated(f"{self._session_id}.{self._created}", node_id, node.plan.kind, stacks, inputs)

    # ------------------------------------------------------------------ applying: the only place where state changes

    def _apply(self, entry: Fact | Decision) -> None:
        match entry:
            case Output():
                node = self._jobs.get(entry.job_id)
                if node is not None:
                    self._produce(node.plan.node_id, entry.handle, entry.ref, entry.to_node, entry.to_flow)
            case Finished():
                self._finish(entry)
            case ConditionDecided():
                self._decided(entry)
            case JobCreated():
                self._create(entry)
            case Started():
                self._start()
            case Cancelled():
                self._verdict = self._verdict or ("cancelled", f"cancelled: {entry.reason}")
            case RunFinished():
                self.finished = True

    def _start(self) -> None:
        self._begun = True
        self._touched.extend(self._nodes.values())
        for definition in self._plan.inputs_def:
            handle = definition["handle"]
            self._produce(None, handle, ["input", handle])

    def _create(self, created: JobCreated) -> None:
        node = self._nodes[created.node_id]
        for queue in node.queues.values():
            queue.popleft()
        node.running += 1
        node.started = True
        self._jobs[created.job_id] = node
        self._created += 1

    def _finish(self, fact: Finished) -> None:
        node = self._jobs.pop(fact.job_id, None)
        if node is None:
            return
        node.running -= 1
        self._touched.append(node)
        if fact.error is not None:
            self._verdict = self._verdict or ("failed", f"node {node.plan.node_id}: {fact.error}")
            return
        for handle, ref in fact.outputs.items():
            self._produce(node.plan.node_id, handle, ref)

    def _decided(self, fact: ConditionDecided) -> None:
        """A condition hands on the value of its first input; without a case that holds it ends all the same."""
        node = self._jobs.pop(fact.job_id, None)
        if node is None:
            return
        node.running -= 1
        self._touched.append(node)
        if fact.handle is not None:
            self._produce(node.plan.node_id, fact.handle, fact.ref)

    def _produce(self, node_id: str | None, handle: str, ref: Ref, to_node: Any = None, to_flow: Any = None) -> None:
        directed = to_node is not None or to_flow is not None
        for target in self._targets.get(Source(node_id, handle), ()):
            if directed and not _is_meant(target, to_node, to_flow):
                continue
            if target.node_id is None:
                self._outputs[target.handle] = ref
            else:
                node = self._nodes[target.node_id]
                node.queues[target.handle].append(ref)
                self._touched.append(node)


def _targets_by_source(plan: Plan) -> dict[Source, list[Source]]:
    """Return where each source's values go; a target without a node is an output of the flow."""
    targets: dict[Source, list[Source]] = {}
    for node in plan.nodes:
        for handle, each in node.inputs.items():
            for source in each.sources:
                targets.setdefault(source, []).append(Source(node.node_id, handle))
    for handle, sources in plan.outputs.items():
        for source in sources:
            targets.setdefault(source, []).append(Source(None, handle))
    return targets


def _is_meant(target: Source, to_node: Any, to_flow: Any) -> bool:
    if target.node_id is None:
        return any(each.get("output_handle") == target.handle for each in to_flow or () if isinstance(each, dict))
    return any(
        each.get("node_id") == target.node_id and each.get("input_handle") == target.handle
        for each in to_node or ()
        if isinstance(each, dict)
    )
