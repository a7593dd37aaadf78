"""What a run hears (facts) and what follows from it (decisions). Both are rows of a journal, and nothing but data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

from .plan import Spec

__all__ = [
    "BlockRequested",
    "Cancelled",
    "ConditionDecided",
    "Decision",
    "Fact",
    "Finished",
    "FlowJobFinished",
    "FlowJobOutput",
    "FlowJobProgress",
    "FlowJobStarted",
    "JobCreated",
    "Output",
    "Progressed",
    "Ref",
    "RunFinished",
    "SessionBegun",
    "Weighed",
    "decision_from_json",
]

Ref = Any
"""Where a value lies: a JSON-able sequence that the caller made, ``["input", handle]``, or
``["static", node_id, handle]`` (with the flow's key as a fourth item inside of a subflow)."""


@dataclass(slots=True)
class Fact:
    """Something that happened outside."""


@dataclass(slots=True)
class SessionBegun(Fact):
    """The session begins."""


@dataclass(slots=True)
class Output(Fact):
    """A job's value on a handle. Targets, when given, filter the connections it takes."""

    job_id: str
    handle: str
    ref: Ref
    to_node: Any = None
    to_flow: Any = None


@dataclass(slots=True)
class Finished(Fact):
    """A job's end, with its error or its result. About a subflow's job it means: end it from outside, now."""

    job_id: str
    error: str | None = None
    outputs: Mapping[str, Ref] = field(default_factory=dict)


@dataclass(slots=True)
class ConditionDecided(Fact):
    """The case that holds for a condition's inputs; None when none does."""

    job_id: str
    handle: str | None
    ref: Ref = None
    """The value that goes on: that of the condition's first input."""


@dataclass(slots=True)
class Cancelled(Fact):
    """The session was cancelled from outside."""

    reason: str


@dataclass(slots=True)
class BlockRequested(Fact):
    """A running job asks for a block or subflow of the plan's catalog. Whatever becomes of it, no flow fails."""

    caller: str
    """The job that asks."""
    job_id: str
    """The id that the caller chose for the job that it asks for."""
    key: str
    """The catalog's key."""
    reference: str
    """What the caller wrote."""
    inputs: Mapping[str, Ref] = field(default_factory=dict)
    extra: Any = None
    """Further terms for whoever resolves and runs the block: the third item of the job's ``spec``."""


@dataclass(slots=True)
class Progressed(Fact):
    """How far a job is, from 0 to 100. Only jobs inside of a subflow matter."""

    job_id: str
    rate: float


@dataclass(slots=True)
class Weighed(Fact):
    """A job gave a node of its flow another weight in the flow's progress."""

    job_id: str
    node_id: str
    weight: float


@dataclass(slots=True)
class Decision:
    """Something that follows."""

    type: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Return the decision as a journal line. What has its default isn't written."""
        made: dict[str, Any] = {"type": self.type}
        for name, default in _FIELDS[self.type]:
            value = getattr(self, name)
            if default is MISSING or value != default:
                made[name] = value
        return made


@dataclass(slots=True)
class JobCreated(Decision):
    """A node's inputs are complete: run its block with them."""

    type: ClassVar[str] = "JobCreated"
    job_id: str
    node_id: str
    kind: str
    """``task``, ``service`` or ``condition``."""
    stacks: list[dict[str, Any]]
    inputs: dict[str, Ref]
    flow: str | None = None
    """The key of the flow that the node stands in; None is the root."""
    spec: Spec = None
    """What to run; see ``Plan.resolve``."""
    caller: str | None = None
    """The job that asked for it, when no node did."""
    recomputes: Any = None
    """``[job, attempt, places]``: it runs that job again for those of the attempt's var values, which are lost."""


@dataclass(slots=True)
class FlowJobStarted(Decision):
    """A run of a subflow begins: a subflow node's, a slot's, or one that a block asked for."""

    type: ClassVar[str] = "FlowJobStarted"
    job_id: str
    """Names the run; the ``flow_job_id`` of what runs in it."""
    node_id: str
    runs: str | None
    """The key of the flow that it runs."""
    stacks: list[dict[str, Any]]
    inputs: dict[str, Ref]
    flow: str | None = None
    spec: Spec = None
    caller: str | None = None
    refused: str | None = None
    """Why it ends at once, when it can't be run."""


@dataclass(slots=True)
class FlowJobOutput(Decision):
    """A run of a subflow that a block asked for has put out a value."""

    type: ClassVar[str] = "FlowJobOutput"
    job_id: str
    handle: str
    ref: Ref


@dataclass(slots=True)
class FlowJobProgress(Decision):
    """How far a run of a subflow is: the weighted mean of its nodes, at most 95 until it has ended."""

    type: ClassVar[str] = "FlowJobProgress"
    job_id: str
    node_id: str
    rate: int


@dataclass(slots=True)
class FlowJobFinished(Decision):
    """A run of a subflow is over. With an error, whatever still runs in it is to be cancelled."""

    type: ClassVar[str] = "FlowJobFinished"
    job_id: str
    node_id: str
    error: str | None = None


@dataclass(slots=True)
class RunFinished(Decision):
    """The run is over: ``succeeded``, ``failed`` or ``cancelled``."""

    type: ClassVar[str] = "RunFinished"
    state: str
    error: str | None
    outputs: dict[str, Ref]
    """The last value of each output of the flow."""


_DECISIONS: dict[str, type[Decision]] = {
    cls.type: cls for cls in (JobCreated, FlowJobStarted, FlowJobOutput, FlowJobProgress, FlowJobFinished, RunFinished)
}

_FIELDS = {type_: [(f.name, f.default) for f in fields(cls)] for type_, cls in _DECISIONS.items()}
"""Asked once: asking for each decision took a tenth of a dispatch (dispatch)."""


def decision_from_json(obj: Mapping[str, Any]) -> Decision:
    """Read a decision from its journal line."""
    cls = _DECISIONS[obj["type"]]
    return cls(**{name: obj[name] for name, _ in _FIELDS[obj["type"]] if name in obj})
