"""Jobs and their attempts, as the mainframe sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from ..flow.references import References
from ..resources import NOTHING, Resources
from .arguments import Arguments
from .needs import name_of

if TYPE_CHECKING:
    from ..flow.entries import JobCreated
    from .links import LinkState
    from .session import Session

__all__ = ["Attempt", "Job", "JobState", "RetryPolicy"]

MAX_PAUSE = 3600.0
"""Seconds between two attempts at most: whoever wants to wait longer wants another run."""


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


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a failed job is tried again, from the block's manifest."""

    retries: int = 0
    backoff: float = 1.0
    """Seconds before the second attempt; doubled for each further one."""
    not_retried: tuple[str, ...] = ()
    """Names of exception types that end the job at once."""
    stream: bool = False
    """Outputs go downstream as they come, those of attempts that fail too: at least once instead of exactly once."""

    @property
    def holds(self) -> bool:
        """Tell whether outputs are kept back until an attempt has finished."""
        return self.retries > 0 and not self.stream

    @classmethod
    def of(cls, block: Mapping[str, Any]) -> RetryPolicy:
        """Read the policy from a plan's block."""
        spec = block.get("retries")
        if not isinstance(spec, dict):
            return _ONE_ATTEMPT
        return cls(
            int(spec.get("retries", 0)),
            float(spec.get("backoff", 1.0)),
            tuple(spec.get("not_retried", ())),
            spec.get("release") == "stream",
        )

    def pause(self, attempt: int) -> float:
        """Return the seconds between the end of an attempt and the next."""
        return min(self.backoff * 2.0 ** (attempt - 1), MAX_PAUSE)


_ONE_ATTEMPT = RetryPolicy()

_EMPTY: Final[dict[str, Any]] = cast("dict[str, Any]", MappingProxyType({}))
_NONE: Final[set[str]] = cast("set[str]", frozenset())
_NO_ARGUMENTS: Final = Arguments()
"""What jobs have in common that no executor has had yet: of those there may be very many. Nothing can be put in."""


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
    stalled_at: float = float("-inf")
    """The loop's time at which a stall of it was journaled."""
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

    session: Session
    job_id: str
    node_id: str
    stacks: list[Any]
    block: Mapping[str, Any]
    inputs: Mapping[str, Any]
    """References by handle."""
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
    policy: RetryPolicy = field(init=False)
    cancelling: str | None = None
    """The reason of a cancel that was sent and not yet answered."""
    overdue: str | None = None
    """What the job's error will be: it took too long, and was cancelled for that."""
    retry_at: tuple[int, float] | None = None
    """When the next attempt is due, in ms since the epoch, and how many seconds it had to wait for that."""
    consumed: dict[str, bool] = field(default_factory=lambda: _EMPTY)
    """Whether a handle has consumers; asked once for each handle."""

    caller: str | None = None
    """The job that asked for it, when no node did."""
    created: JobCreated | None = None
    """The decision that made it."""
    asked: dict[str, int] = field(default_factory=lambda: _EMPTY)
    """Jobs that it has asked for, each with the offset of the row from which on it may be heard of."""
    blocks: set[str] = field(default_factory=lambda: _NONE)
    """Those of them that haven't ended."""
    arguments: Arguments = field(default_factory=lambda: _NO_ARGUMENTS)
    """Large values that it will ask for jobs with."""

    code: str = field(init=False)
    """What its version is a version of."""
    in_thread: bool = field(init=False)
    """The block is known to be a plain function, which takes a thread of its executor's."""
    resources: Resources = field(init=False)
    """What it takes of its executor while it runs."""
    waits_as: int = 0
    """Its place among all that have waited for resources; 0 when it never has."""
    within: Resources = NOTHING
    """What it may use: beside that, what the job has taken that it runs beside and that waits for it."""

    def __post_init__(self) -> None:
        block = self.block
        self.code = name_of(block)
        self.in_thread = bool(block.get("sync")) and not block.get("spawn") and "service" not in block
        self.policy = RetryPolicy.of(block)
        self.retries_left = self.policy.retries
        if self.recomputes is not None:
            self.deaths_left = _DEATHS
        # A caller shares with the blocks that it waits for what it has: else they would wait for each other.
        needs = Resources.of(block.get("needs"))
        self.resources = needs.beyond(self.within) if needs and self.within else needs
        self.within = needs.at_least(self.within) if self.within else needs

    @property
    def recomputes(self) -> tuple[tuple[str, int], list[int]] | None:
        """Return the job and attempt that it runs again, and the places of the var values that it is to deliver."""
        found = None if self.created is None else self.created.recomputes
        return None if found is None else ((found[0], found[1]), found[2])

    def begins(self) -> None:
        """Have collections of its own: an executor gets it."""
        if self.consumed is _EMPTY:
            self.consumed, self.asked, self.blocks, self.arguments = {}, {}, set(), Arguments()
