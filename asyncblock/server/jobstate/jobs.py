"""Jobs, their attempts, and the links whose executors hold them, as the mainframe sees them: state, and no decisions.

A job belongs to a session, of which ``JobOwner`` is what dispatch needs; an attempt is a job's lease on a link. The
three know each other, so they stand together. ``session`` and ``dispatch`` change them, everything in ``server`` reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, cast

import orjson

from ...flow.entries import BlockRequested, JobCreated, Ref
from ...flow.plan import Plan, Spec
from ...flow.references import References
from ...resources import NOTHING, Resources
from ...wire.bodies import BodyRef
from ...wire.messages import Message
from ..committing.transaction import Transaction
from ..committing.values import Found
from ..peers.announcement import ExecutorInfo
from ..peers.connection import Connection
from ..peers.lines import ChannelRecords
from .arguments import Arguments
from .blockspec import BlockKind, RetryPolicy
from .lives import Lives, Lost, VarValue

__all__ = ["Attempt", "Job", "JobOwner", "JobState", "LinkState", "ValueSources"]

_DEATHS = 2
"""Further attempts of a job that is run again, and whose process ends: whatever killed the first may come once more."""


class JobState(Enum):
    """How far a job has come. ``ENDED`` is final: a job ends in exactly one terminal state."""

    WAITING = "waiting"
    """No executor has it."""
    ASSIGNED = "assigned"
    """An executor holds its lease; its ``JobStarted`` hasn't come."""
    RUNNING = "running"
    ENDED = "ended"


_EMPTY: Final[dict[str, Any]] = cast("dict[str, Any]", MappingProxyType({}))
_NONE: Final[set[str]] = cast("set[str]", frozenset())
_NO_ARGUMENTS: Final = Arguments()
"""What jobs have in common that no executor has had yet: of those there may be very many. Nothing can be put in."""


class ValueSources(NamedTuple):
    """Where an attempt's inputs are that are var values of other processes, by handle; one may be in both."""

    files: dict[str, str] = _EMPTY
    """The names of the files of those that can be opened there."""
    bodies: Mapping[str, BodyRef] = MappingProxyType({})
    """What became of the files of others."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One try at a job, fenced by its number. The channel stands for it on the link that holds the lease."""

    job: Job
    number: int
    link: LinkState
    channel: int
    prefix: bytes = b""
    """The beginning of every line of this attempt's records in the journal."""
    records: int = 0
    """Records seen on the channel: the next one's index."""
    away: bool = False
    """It isn't where its group is at home."""
    fenced: bool = False
    """Its lease ended: what still comes is kept for inspection and changes nothing."""
    started: bool = False
    """Its ``JobStarted`` is in the journal."""
    finished: bool = False
    """Its ``BlockFinished`` is."""
    assigned_at: float = 0.0
    """The loop's time at which an executor was given it; 0 when that was before this mainframe began."""
    stalled_at: float = float("-inf")
    """The loop's time at which a stall of it was journaled."""
    kept_for: Connection | None = None
    """The connection that took no more when its dispatch was to be sent, as long as that waits for it."""
    held: References | None = None
    """Outputs (the reference's items, to_node, to_flow) kept back until a job with retries has finished;
    None until there is one."""

    def __post_init__(self) -> None:
        head = {
            "job_id": self.job.job_id,
            "node_id": self.job.node_id,
            "attempt": self.number,
            "link": self.link.link_id,
        }
        self.prefix = orjson.dumps(head)[:-1]

    def hold(self, output: tuple[Any, ...]) -> None:
        """Keep an output back."""
        if self.held is None:
            self.held = References()
        self.held.append(output)


@dataclass(slots=True, eq=False)
class Job:
    """One run of a block that an executor does."""

    session: JobOwner
    job_id: str
    node_id: str
    stacks: list[Any]
    kind: BlockKind
    given: InitVar[dict[str, Ref]]
    """Its inputs: references by handle."""
    role: str = "task"
    """What of the plan it runs: a task or a service."""
    spec: Spec = None
    """What to run where the plan's node doesn't say it; see ``Plan.resolve``."""
    group: str | None = None
    roams: bool = False
    """It may run wherever its inputs can be had."""
    timeout: float | None = None
    flow: str | None = None
    """The key of the flow that its node stands in."""
    state: JobState = JobState.WAITING
    attempt: Attempt | None = None
    attempts: int = 0
    retries_left: int = 0
    deaths_left: int = 0
    """Attempts that may still end with their process beside, where that does no harm."""
    cancelling: str | None = None
    """The reason of a cancel that was sent and not yet answered."""
    overdue: str | None = None
    """What the job's error will be: it took too long, and was cancelled for that."""
    retry_at: tuple[int, float] | None = None
    """When the next attempt is due, in ms since the epoch, and how many seconds it had to wait for that."""
    consumed: dict[str, bool] = field(init=False)
    """Whether a handle has consumers; asked once for each handle."""

    caller: str | None = None
    """The job that asked for it, when no node did."""
    asked: dict[str, int] = field(init=False)
    """Jobs that it has asked for, each with the offset of the row from which on it may be heard of."""
    blocks: set[str] = field(init=False)
    """Those of them that haven't ended."""
    arguments: Arguments = field(init=False)
    """Large values that it will ask for jobs with."""

    resources: Resources = field(init=False)
    """What it takes of its executor while it runs."""
    queued_at: float = 0.0
    """The loop's time from which on it waits for an executor; 0 while it doesn't."""
    waits_as: int = 0
    """Its place among all that have waited for resources; 0 when it never has."""
    within: Resources = NOTHING
    """What it may use: beside that, what the job has taken that it runs beside and that waits for it."""
    recomputes: tuple[tuple[str, int], list[int]] | None = None
    """The job and attempt that it runs again, and the places of the var values that it is to deliver."""
    _inputs: dict[str, Ref] | bytes = field(init=False)
    """As JSON while it waits."""

    def __post_init__(self, given: dict[str, Ref]) -> None:
        self._inputs = given
        self.consumed = self.asked = _EMPTY
        self.blocks, self.arguments = _NONE, _NO_ARGUMENTS
        self.retries_left = self.policy.retries
        if self.recomputes is not None:
            self.deaths_left = _DEATHS
        # A caller shares with the blocks that it waits for what it has: else they would wait for each other.
        needs = self.kind.needs
        self.resources = needs.beyond(self.within) if needs and self.within else needs
        self.within = needs.at_least(self.within) if self.within else needs

    @property
    def inputs(self) -> dict[str, Ref]:
        """References by handle; never changed."""
        inputs = self._inputs
        return cast("dict[str, Ref]", orjson.loads(inputs)) if isinstance(inputs, bytes) else inputs

    def waits(self) -> None:
        """Take little memory: no executor is free for it, and there may be very many like it.

        A mapping with a list of numbers in it takes four times as much as their JSON (memory), which the journal has,
        too. To read it takes 1 us.
        """
        if not isinstance(self._inputs, bytes):
            # A copy: the encoder's bytes hold 4 KiB.
            self._inputs = bytes(memoryview(orjson.dumps(self._inputs)))

    @property
    def created(self) -> JobCreated:
        """The decision that made it, made once more: kept, it would take 100 bytes of each job that waits (memory)."""
        again = None if self.recomputes is None else [*self.recomputes[0], self.recomputes[1]]
        common = (self.job_id, self.node_id, self.role, self.stacks, self.inputs)
        return JobCreated(*common, self.flow, self.spec, self.caller, again)

    @property
    def block(self) -> Mapping[str, Any]:
        """What it runs."""
        return self.kind.block

    @property
    def code(self) -> str:
        """What its version is a version of."""
        return self.kind.code

    @property
    def in_thread(self) -> bool:
        """The block is known to be a plain function, which takes a thread of its executor's."""
        return self.kind.in_thread

    @property
    def policy(self) -> RetryPolicy:
        """How often it is tried again."""
        return self.kind.policy

    def begins(self) -> None:
        """Have inputs and collections of its own: an executor gets it."""
        self._inputs = self.inputs
        if self.consumed is _EMPTY:
            self.consumed, self.asked, self.blocks, self.arguments = {}, {}, set(), Arguments()


@dataclass(slots=True, eq=False)
class LinkState:
    """What the mainframe knows of a link; it outlives connections and, through the journal, the mainframe."""

    link_id: str
    number: int
    """The link's number in the journal."""
    token_hash: str
    boot: str
    generation: int = 0
    received: int = 0
    """The highest batch taken in; what comes again at or below it is dropped."""
    stored: int = 0
    """The highest batch in the journal."""
    connection: Connection | None = None
    executor: ExecutorInfo | None = None
    understands: frozenset[str] = frozenset()
    """As its executor has announced, which may take no jobs meanwhile."""
    host: str | None = None
    """As its executor has announced: whose files of var values it can open."""
    disk: str | None = None
    """As its executor has announced: whose files on a disk it can open."""
    attempts: dict[int, Attempt] = field(default_factory=dict)
    """Open and fenced attempts by channel."""
    next_channel: int = 1
    bodies: dict[int, int] = field(default_factory=dict)
    """Received bytes of bodies whose record hasn't come yet."""
    whole: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Length and sum of those that are checked and on disk already."""
    unnamed: int = 0
    """The sum of those."""
    seen: float = 0.0
    """The loop's time at which it was there last, or this mainframe began."""
    last_heard: float = 0.0
    """The loop's time at which the last byte came."""
    lease_timer: asyncio.TimerHandle | None = None
    expected: bool = False
    """An earlier mainframe knew it, and it may be back at any moment: what is in its memory isn't lost."""
    drained: bool = False
    """An operator lets it take no new jobs but those of sessions that have values in its memory."""
    stall: tuple[float, float, str] | None = None
    """The loop's time at which it was last told that something keeps it from running, for how long, and where."""
    spawned: set[str] = field(default_factory=set)
    """Link ids of the processes that it was asked to start and that haven't ended."""
    load: int = 0
    """How many open jobs it holds."""
    room: dict[str, int] = field(default_factory=dict)
    """How many more jobs of a kind it takes, where it has other partitions' jobs too; else as many as are announced."""
    taken: dict[str, int] = field(default_factory=dict)
    """What open jobs have of what its executor offers: thousandths by name."""
    pool: str | None = None
    """As its executor has announced, which may take no jobs meanwhile."""
    sync_load: int = 0
    """How many of them run in threads."""
    defects: int = 0
    """Connections in a row that a defect of ours has ended while this was stored:"""
    defect_at: int = -1
    given: bool = False
    """It has had a job, or may have had one before the mainframe began."""
    suspects: frozenset[int] | None = None
    """The channels whose records are being read: if that ends the link, their attempts have begun. None when it is
    nobody's record in particular."""
    held: int = 0
    """Bytes of var values in its process, as it said last."""
    may_hold: int = 0
    """How many there may be."""
    on_disk: int = 0
    """Bytes of its var values on the disk, as it said last."""
    may_take: int = 0
    """How many there may be."""
    carries: bool = False
    """It was asked for a var value as a body, and may still be sending that when nothing waits for it any more."""
    greetings: int = 0
    """Hellos that are being stored: it has no connection yet, and is about to have one."""
    ack_due: bool = False
    """An acknowledgement will be sent in this turn of the loop."""

    def announced(self, executor: ExecutorInfo | None) -> None:
        """Take in what its executor can run now."""
        self.executor, self.expected = executor, False
        if executor is not None:
            self.understands = executor.understands
            self.host = executor.host
            self.disk = executor.disk
            self.pool = executor.pool

    @property
    def places(self) -> set[str]:
        """Return the host and the disk whose files of var values it can open."""
        return {place for place in (self.host, self.disk) if place is not None}

    @property
    def is_there(self) -> bool:
        """Tell whether its process lives, as far as is known, whether it takes jobs or not."""
        return self.executor is not None or self.connection is not None

    def take(self, resources: Resources, change: int) -> None:
        """Count what a job takes of what is offered here (1), or gives back (-1)."""
        for name, amount in resources.amounts:
            left = self.taken.get(name, 0) + change * amount
            if left:
                self.taken[name] = left
            else:
                self.taken.pop(name, None)

    def send(self, message: Message) -> None:
        """Send a control line if there is a connection; after a Welcome commands are derived again."""
        if self.connection is not None:
            self.connection.send(message)

    def send_line(self, line: bytes) -> None:
        """Send a control line that is encoded already."""
        if self.connection is not None:
            self.connection.send_line(line)


class BlockOrders(Protocol):
    """What a job may ask its session for: ``requests.BlockRequests``."""

    def order(self, transaction: Transaction, asked: BlockRequested) -> int:
        """Ask for a block or subflow of the plan's catalog; return the offset of the row that says so."""
        ...

    def weigh(self, transaction: Transaction, job: Job, node_id: str, weight: float) -> None:
        """Give a node of the job's flow another weight in the flow's progress."""
        ...

    def cancel(self, transaction: Transaction, job_id: str, reason: str) -> None:
        """Cancel what a job has asked for."""
        ...


class JobOwner(Protocol):
    """Whose jobs these are: a ``session.RunningSession``, as those know it who hand its jobs out and hear of them."""

    number: int
    session_id: str
    bytes: int
    """What it has in the journal, bodies included."""
    plan: Plan
    metadata: dict[str, Any]
    state: str
    jobs: dict[str, Job]
    """Those that haven't ended."""
    lives: Lives
    """Its var values that something still needs."""
    links: set[LinkState]
    """Those that have had a job of it."""
    served: set[str]
    """Packages, and code blocks, of which an executor has had a job of it."""

    @property
    def requests(self) -> BlockOrders:
        """What its jobs ask it for."""
        ...

    @property
    def ended(self) -> bool:
        """Tell whether it has reached its terminal state."""
        ...

    def break_off(self, reason: str) -> None:
        """End it as failed at once: something of ours broke in it."""
        ...

    def take(self, transaction: Transaction, attempt: Attempt, run: ChannelRecords) -> list[tuple[int, str]]:
        """Take in a run of records; return (index, reason) of those that are refused."""
        ...

    def assign(self, transaction: Transaction, job: Job, attempt: Attempt) -> None:
        """Note that an executor has been given a job."""
        ...

    def waits(self, transaction: Transaction, job: Job, reason: str) -> None:
        """Note that no executor can run a job."""
        ...

    def goes_on(self, transaction: Transaction, job: Job, versions: list[str]) -> None:
        """Note that a job runs another version of its code than that which the session began with."""
        ...

    def release(self, transaction: Transaction, job: Job, reason: str) -> None:
        """Take a job back from an executor that never began it; it is handed out again."""
        ...

    def stalled(self, transaction: Transaction, attempt: Attempt, seconds: float, where: str) -> None:
        """Note that a block keeps its event loop from running; its lease goes on."""
        ...

    def fail_job(
        self, transaction: Transaction, job: Job, error: str, *, retry: bool, lost: Lost | None = None
    ) -> None:
        """End a job's attempt without its word: the lease ended, the time is up, no executor can run it."""
        ...

    def say_cancel(self, job: Job) -> None:
        """Say the cancel of a job, if there is one."""
        ...

    def end_unsent(self, attempt: Attempt) -> None:
        """End a cancelled job whose dispatch waits for values: its executor has never heard of it."""
        ...

    def wait_for(self, transaction: Transaction, job: Job, missing: list[VarValue]) -> tuple[Lost, str | None] | None:
        """Let a job wait until its missing inputs are made again, or return which of them can't be, and why."""
        ...

    def value_exported(
        self, transaction: Transaction, value: tuple[str, int, int], file: tuple[str, str] | None, words: str | None
    ) -> None:
        """Note that a var value is in a file from now on, or (no file) that it can't be, and why."""
        ...

    def value_carried(
        self, transaction: Transaction, value: tuple[str, int, int], body: BodyRef | None, words: str | None
    ) -> None:
        """Note that a var value is a body, too, or (no body) that it can't be had beyond its host, and why."""
        ...

    def value_copied(
        self, transaction: Transaction, value: tuple[str, int, int], link_id: str, file: tuple[str, str]
    ) -> None:
        """Note that a var value came to another host, into a file there."""
        ...

    def sources_for(self, attempt: Attempt) -> ValueSources:
        """Return where an attempt's inputs are that are var values of other processes."""
        ...

    def resolve_now(self, refs: Mapping[str, Any]) -> dict[str, Found] | None:
        """Look values up in memory; None when one of them has to be read."""
        ...

    async def resolve(self, refs: Mapping[str, Any]) -> dict[str, Found]:
        """Look values up, in the journal where need be."""
        ...
