"""Requests: each method with its parameters, its answer, who may ask, its errors, and what asking again does.

A *running job* asks in the name of an open attempt that its link holds; the others are for whoever has the role.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from .checking import Bounds, Loose, Text, WrongField, checker
from .fields import Count, HandleDef, Json, Object, PlanFields, ReferenceField, Windows, Words

__all__ = ["ERRORS", "METHODS", "Method", "misfit", "plan_misfit", "result_misfit"]

SessionId = Annotated[str, Text(1, 64, "^[0-9A-Za-z]{1,64}$")]


class SessionParams(TypedDict):
    """A session."""

    session_id: str


class Start(TypedDict):
    """A flow to run."""

    session_id: SessionId
    """Chosen by whoever starts it, at random; letters and digits."""
    plan: Annotated[Object, Loose(PlanFields)]
    inputs: NotRequired[Object]
    """By handle; small ones, for they are part of this message."""
    title: NotRequired[str]
    """The flow's own, if missing. Of it and of reasons the first 500 characters count."""
    metadata: NotRequired[Object]
    """What is said of the session, by name: texts, numbers, booleans and null; at most 16 KiB."""


class Cancel(SessionParams):
    """A session to cancel."""

    reason: NotRequired[str]


class CancelJob(SessionParams):
    """A job to cancel."""

    job_id: str
    prefix: NotRequired[bool]
    """``job_id`` is the beginning of an id."""
    reason: NotRequired[str]


class MessageService(SessionParams):
    """Something to say to a service."""

    node_id: str
    payload: NotRequired[Json]
    job_id: NotRequired[str | None]
    """The call that it is about."""


class List(TypedDict):
    """Which sessions are listed, the newest first."""

    limit: NotRequired[int]
    """100 if missing, 1000 at most."""
    state: NotRequired[str | None]
    """``running``, ``succeeded``, ``failed`` or ``cancelled``."""
    prefix: NotRequired[str]
    """How ids begin."""
    before: NotRequired[tuple[int, str] | None]
    """``[created_at, session_id]`` of the last session of the page before."""


class Prune(TypedDict):
    """Which sessions are deleted: those over ``older_ms``, but never the ``keep`` newest. One field is needed."""

    older_ms: NotRequired[Count | None]
    keep: NotRequired[Count | None]
    before: NotRequired[tuple[int, str] | None]
    """``[created_at, session_id]``: only those that a list has behind this one."""


class ExecutorHeld(TypedDict):
    """What whoever started a process sees of it, while the interpreter's lock is held in it."""

    link: str
    secret: NotRequired[str | None]
    seconds: float
    threads: list[list[tuple[str, int, str]]]
    """The frames of each thread, the innermost first: file, line, function."""
    works: bool
    """It isn't deadlocked: its leases go on."""


class Drain(TypedDict):
    """An executor that is to take no new jobs, or to take them again."""

    link: str
    drained: NotRequired[bool]
    """True if missing."""


class JobParams(TypedDict):
    """Who asks: an open attempt that the link holds."""

    session_id: str
    job_id: str
    attempt: Annotated[int, Bounds(1)]


class RunBlock(JobParams):
    """A block to run."""

    block_job_id: Words
    """The caller's id, its attempt, and a name without dots, joined by dots."""
    block: str
    """``self::NAME``, ``PACKAGE::NAME``, a name, or a path from the flow's file."""
    inputs: NotRequired[Object]
    """By handle; more than ``inline`` bytes of them went ahead in a BlockArguments record with this id."""
    additional_inputs_def: NotRequired[list[HandleDef] | None]
    additional_outputs_def: NotRequired[list[HandleDef] | None]


class CancelBlock(JobParams):
    """What was asked for, to be cancelled."""

    block_job_id: str
    reason: str


class GiveBack(JobParams):
    """A job that hasn't begun."""

    reason: str
    full: NotRequired[bool]
    """The executor has no slot for it: jobs of other partitions have them all."""


class Free(TypedDict):
    """Slots that an executor offers which had none."""

    kind: Literal["loop", "threads"]
    """For async jobs, or for those in threads."""
    slots: NotRequired[Annotated[int, Bounds(0, 1_000_000)] | None]
    """How many more jobs it takes; if missing, as many as it has announced."""


class HandedOut(TypedDict):
    """What the executor gets for the slots that it has offered."""

    jobs: list[tuple[str, int]]
    """Ids and attempts."""


class QueryBlock(JobParams):
    """A block to describe."""

    block: str


class QueryDownstream(JobParams):
    """Outputs of the asking job's node; all if ``handles`` is missing."""

    handles: NotRequired[list[str] | None]


class Exported(TypedDict):
    """A value that stays, in a file or not."""

    session_id: str
    job_id: str
    attempt: int
    place: int
    file: NotRequired[str | None]
    """Its name: 1 to 200 letters, digits, ``.``, ``_``, ``-``; missing where there is an error."""
    error: NotRequired[str | None]
    """Why the value stays."""
    note: NotRequired[str | None]
    """For people."""
    lasting: NotRequired[bool | None]
    """The file is on the disk that is announced as ``disk``, and stays when its executor has left."""


class Carried(TypedDict):
    """The body of a value's file, or why there is none."""

    session_id: str
    job_id: str
    attempt: int
    place: int
    body: NotRequired[ReferenceField | None]
    """Of this link; missing where there is an error."""
    error: NotRequired[str | None]
    """Why the value can't be had beyond its host."""


class StillAsked(TypedDict):
    """What is still asked for."""

    lives: NotRequired[bool]
    """False of a value that nobody asks for any more: its file can go."""


class UpdateNodeWeight(JobParams):
    """What a node of the asking job's flow counts in its progress."""

    node_id: str
    weight: Annotated[float, Bounds(0, 1_000_000_000)]


class Started(TypedDict):
    """The session."""

    session_id: str


class Nothing(TypedDict):
    """An empty object."""


class Told(TypedDict):
    """How many executors it was sent to."""

    executors: int


class SessionRow(TypedDict):
    """A session. Times are ms since the epoch."""

    session_id: str
    title: str
    path: str
    state: str
    created_at: int
    finished_at: int | None
    error: str | None
    bytes: int
    """Of its journal and bodies."""
    progress: float | None
    """In percent, while it runs."""
    rows: NotRequired[int]
    """Of its journal, so far."""


class Listed(TypedDict):
    """Sessions."""

    sessions: list[SessionRow]


class Pruned(TypedDict):
    """What has gone."""

    sessions: list[str]
    bytes: int
    more: NotRequired[bool]
    """Not all of them yet: ask again."""


class ExecutorSlots(TypedDict):
    """Jobs by where they run."""

    loop: int
    threads: int
    processes: int
    """Of their own."""


class ExecutorJob(TypedDict):
    """A job that an executor has."""

    session_id: str
    job_id: str
    node_id: str
    attempt: int
    running: bool
    """It has begun."""
    seconds: float | None
    """Since it was handed out; null where that was before this mainframe began."""


class ExecutorStall(TypedDict):
    """What kept a process from running, as it was told last."""

    ago: float
    """Seconds since that was told."""
    seconds: float
    """How long it had lasted then."""
    where: str


class ExecutorRow(TypedDict):
    """An executor."""

    link: str
    connected: bool
    quiet: float | None
    """Seconds since something was heard of it."""
    drained: bool
    """It takes no new jobs but those of sessions that have values in its memory."""
    once: bool
    """It was started for one job."""
    languages: list[str]
    packages: dict[str, str]
    """Names by hash: the first ones."""
    package_count: Count
    slots: ExecutorSlots
    """How many it takes at once."""
    load: ExecutorSlots
    """How many it has."""
    offers: Object
    held_bytes: Count
    """Of var values."""
    job_count: Count
    jobs: list[ExecutorJob]
    """The oldest ones, 20 at most."""
    stall: ExecutorStall | None


class Roster(TypedDict):
    """Who is there."""

    count: Count
    waiting: Count
    """Jobs that wait for an executor."""
    executors: list[ExecutorRow]
    """200 at most."""


class VarValues(TypedDict):
    """Bytes of var values in connected executors, as they said last."""

    held_bytes: Count
    limit_bytes: Count
    """How many they may hold."""
    disk_bytes: NotRequired[Count]
    """Bytes of those that are on executors' disks for want of memory."""
    disk_limit_bytes: NotRequired[Count]
    """How many of the disks they may take."""


class SessionCounts(TypedDict):
    """Sessions in the journal."""

    known: Count
    running: Count


class InfoLimits(TypedDict):
    """Some of what a Welcome names."""

    message: Count
    sessions: Count
    windows: Windows


class JournalState(TypedDict):
    """How the journal is."""

    epoch: str
    schema: int
    synchronous: str
    """SQLite's setting: ``full``, or what the mainframe was told."""
    database_bytes: Count
    wal_bytes: Count
    session_bytes: Count
    """Of all sessions' rows and bodies."""
    free_bytes: Count
    """What the disk has left."""
    trouble: str | None
    """Why it can't be written at the moment."""


class Offer(TypedDict):
    """What an executor offers. Each further key is the name of a resource, and how much there is of it."""

    packages: list[str]
    """Their hashes; of very many those that have room."""
    labels: NotRequired[list[str]]


class InVain(TypedDict):
    """Jobs that wait, and nobody is there who could run them."""

    jobs: Count
    package: str
    version: str
    needs: Object
    """As a block's ``needs``."""


class Info(TypedDict):
    """How the mainframe is."""

    version: str
    """Of the program, for people."""
    now: int
    """Its clock, in ms since the epoch."""
    roles: list[str]
    """Of the asking token."""
    executors: int
    """Connected ones."""
    offers: list[Offer]
    """What each of them offers, up to 100: amounts by name, ``labels``, and the hashes of its ``packages``."""
    in_vain: list[InVain]
    """What jobs wait for and nobody can serve: how many ``jobs``, ``package``, ``version``, and ``needs``."""
    languages: list[str]
    """That they have announced."""
    var_values: NotRequired[VarValues]
    sessions: SessionCounts
    limits: InfoLimits
    journal: JournalState


class Ordered(TypedDict):
    """Where the session's journal tells of the job from; ``BlockJobFinished`` or ``FlowJobFinished`` is its end."""

    offset: int
    ignored: NotRequired[list[str]]
    """Inputs that the block doesn't declare."""
    held: NotRequired[bool]
    """The block has retries: what an attempt puts out counts when that attempt has finished."""


class Described(TypedDict):
    """A block."""

    type: str
    """``task`` or ``subflow``."""
    description: NotRequired[str]
    inputs_def: NotRequired[list[HandleDef]]
    outputs_def: NotRequired[list[HandleDef]]
    has_slot: NotRequired[bool]
    additional_inputs: NotRequired[bool]
    additional_outputs: NotRequired[bool]


class ToNode(TypedDict):
    """An input of a node that takes an output."""

    node_id: str
    description: NotRequired[str]
    """That of the node's block."""
    input_handle: str
    input_handle_def: NotRequired[HandleDef]


class ToFlow(TypedDict):
    """An output of the flow that takes one of a node."""

    output_handle: str
    output_handle_def: NotRequired[HandleDef]


class Targets(TypedDict):
    """Who takes an output. A key is missing where there is nobody."""

    to_node: NotRequired[list[ToNode]]
    to_flow: NotRequired[list[ToFlow]]


class Downstream(TypedDict):
    """Where outputs go, by handle; what goes nowhere isn't there."""

    downstream: dict[str, Targets]


@dataclass(frozen=True, slots=True)
class Method:
    """One thing that can be asked."""

    params: Any
    result: Any
    roles: frozenset[str]
    words: str
    errors: tuple[str, ...]
    again: str
    """What the same request does when it comes again."""
    of_jobs: bool = False
    """A running job asks it."""


_CLIENT: Final = frozenset({"client"})
_WATCH: Final = frozenset({"client", "observer"})
_EXECUTOR: Final = frozenset({"executor"})
_ALL: Final = _CLIENT | _WATCH | _EXECUTOR

_LOOKS: Final = "answered anew"
_KEPT: Final = "gets the answer that is kept by its id, for a day"

METHODS: Final[dict[str, Method]] = {
    "start": Method(
        Start,
        Started,
        _CLIENT,
        "Run a flow. The answer means that the session is in the journal.",
        ("session_id", "partition", "invalid_flow", "too_large", "overload"),
        "the session of that id is left as it is",
    ),
    "cancel": Method(
        Cancel, Nothing, _CLIENT, "End a session; its blocks may clean up.", ("unknown_session",), "changes nothing"
    ),
    "cancel_job": Method(
        CancelJob, Nothing, _CLIENT, "End one job; an error of its node follows.", ("unknown_job",), _KEPT
    ),
    "message_service": Method(
        MessageService,
        Told,
        _CLIENT,
        "Say something to the service of a node, once, to those executors that have it.",
        ("unknown_session", "unknown_node", "overload"),
        _KEPT,
    ),
    "session": Method(SessionParams, SessionRow, _WATCH, "Say how a session is.", ("unknown_session",), _LOOKS),
    "sessions": Method(List, Listed, _WATCH, "List sessions.", (), _LOOKS),
    "prune": Method(Prune, Pruned, _CLIENT, "Delete sessions that have ended.", ("prune",), "deletes what is left"),
    "info": Method(Nothing, Info, _ALL, "Say how the mainframe is.", (), _LOOKS),
    "executors": Method(Nothing, Roster, _WATCH, "Say which executors are there.", (), _LOOKS),
    "drain": Method(
        Drain,
        Nothing,
        _CLIENT,
        "Let an executor take no new jobs, or take them again, as long as it and this mainframe live.",
        ("unknown_executor",),
        "changes nothing",
    ),
    "executor_held": Method(
        ExecutorHeld, Nothing, _EXECUTOR, "Speak for a process that can't.", ("unauthorized",), "a sign of life again"
    ),
    "exported": Method(
        Exported,
        StillAsked,
        _EXECUTOR,
        "Answer an ``export``, or tell of a file of what was carried here.",
        (),
        "changes nothing",
    ),
    "carried": Method(
        Carried, StillAsked, _EXECUTOR, "Answer a ``carry``, when its body is kept.", ("unkept",), "changes nothing"
    ),
    "run_block": Method(
        RunBlock,
        Ordered,
        _EXECUTOR,
        "Run a block or subflow that the plan has in its catalog.",
        ("not_held", "unknown_block", "invalid_inputs", "refused_block", "too_many_blocks", "too_large"),
        "the job of that id is left as it is",
        True,
    ),
    "cancel_block": Method(
        CancelBlock, Nothing, _EXECUTOR, "Cancel what run_block has begun.", ("not_held",), "changes nothing", True
    ),
    "give_back": Method(
        GiveBack,
        Nothing,
        _EXECUTOR,
        "Give a job back that hasn't begun; another executor gets it.",
        ("not_held", "begun"),
        "gets not_held",
        True,
    ),
    "free": Method(
        Free,
        HandedOut,
        _EXECUTOR,
        "Offer slots again, after a ``give_back`` for want of them; say which jobs get them.",
        (),
        "hands out what is there then",
    ),
    "query_block": Method(
        QueryBlock,
        Described,
        _EXECUTOR,
        "Describe a block of the catalog.",
        ("not_held", "unknown_block", "refused_block"),
        _LOOKS,
        True,
    ),
    "query_downstream": Method(
        QueryDownstream, Downstream, _EXECUTOR, "Say where outputs go.", ("not_held",), _LOOKS, True
    ),
    "update_node_weight": Method(
        UpdateNodeWeight,
        Nothing,
        _EXECUTOR,
        "Let a node count more or less in its flow's progress.",
        ("not_held", "unknown_node"),
        "changes nothing",
        True,
    ),
}

ERRORS: Final[dict[str, str]] = {
    "begun": "the job has begun",
    "failed": "the mainframe failed at it: its log says more. It may be asked again",
    "invalid_flow": "the plan or its inputs are wrong: every problem is told",
    "invalid_inputs": "the block lacks inputs, or takes no additional ones",
    "method": "there is no such method",
    "unkept": "the body that is named isn't whole on the disk yet; ask again after its ``kept``",
    "not_held": "the link holds no open attempt of that number of that job",
    "overload": "too much of it waits or runs; try later",
    "params": "a parameter is missing, or of another type, or its JSON can't be taken",
    "partition": "the session is for another partition of the set",
    "prune": "a session couldn't be deleted",
    "refused_block": "the block can't be run in this flow",
    "session_id": "a session's id is 1 to 64 letters and digits",
    "too_large": "the plan, the inputs or the answer don't fit",
    "too_many_blocks": "the job has 1000 blocks running",
    "unauthorized": "the token has no role for it, or the secret is wrong",
    "unknown_block": "the catalog has no such block",
    "unknown_executor": "no such executor is there",
    "unknown_job": "no such job runs",
    "unknown_node": "the flow has no such node",
    "unknown_session": "there is no such session, or it doesn't run",
}
"""What codes of errors mean. ``method``, ``params``, ``unauthorized`` and ``failed`` may answer each request."""


def misfit(method: str, params: Object) -> WrongField | None:
    """Compare a request's parameters with their types. A plan isn't looked into: ``plan_misfit`` does."""
    known = METHODS.get(method)
    check = None if known is None else checker(known.params)
    return None if check is None else check(params)


def result_misfit(method: str, result: object) -> WrongField | None:
    """Compare the answer to a request with its type."""
    known = METHODS.get(method)
    check = None if known is None else checker(known.result)
    return None if check is None else check(result)


def plan_misfit(plan: object) -> WrongField | None:
    """Compare a plan with its type."""
    check = checker(PlanFields)
    assert check is not None
    return check(plan)
