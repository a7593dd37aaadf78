"""The engine's jobs, each from its message to the broker's word for its end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..wire.messages import Dispatch
from .blockplaces import BlockPlace
from .enginewords import EXECUTOR, JobWords, defs_of
from .executorlink import ExecutorLink, TakenBatch

__all__ = ["EngineJob", "block_of"]

PROGRESS_PAUSE = 0.3
"""Seconds between two of a job's progress messages: as often as theirs."""


@dataclass(eq=False, slots=True)
class EngineJob:
    """One job. Lives on the bridge's loop."""

    words: JobWords
    place: BlockPlace
    service: dict[str, Any] | None
    inputs: asyncio.Future[dict[str, Any]]
    """What the engine says of its inputs."""
    asked_at: float | None = None
    """When BlockReady was said last."""
    asked: int = 0
    """How often it was."""
    given: dict[str, Any] = field(default_factory=dict)
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Inputs that are too large for a dispatch: references."""
    definitions: dict[str, Any] = field(default_factory=dict)
    link: ExecutorLink | None = None
    channel: int = 0
    begun: bool = False
    """Its code may have run."""
    tries: int = 0
    """Processes that had it and have ended before."""
    over: bool = False
    unsent: int = 0
    """Its messages that the broker hasn't acknowledged."""
    end: Callable[[], None] | None = None
    """Says its end, once there are none."""
    waiting: deque[tuple[dict[str, Any], TakenBatch]] = field(default_factory=deque)
    """Records that came while bytes of an earlier one were being written."""
    writing: bool = False
    written: dict[str, int] = field(default_factory=dict)
    """How many values each handle has put into files."""
    arguments: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Inputs of blocks that it will ask for."""
    progress_at: float = float("-inf")
    progress: float | None = None
    """What waits for its time."""
    timer: asyncio.TimerHandle | None = None
    orders: list[str] = field(default_factory=list)
    """Ids of the blocks that it has asked for."""
    numbers: list[int] = field(default_factory=list)
    """Bodies that are kept for it."""

    def dispatch(self, channel: int) -> Dispatch:
        """Say it to an executor."""
        return Dispatch(
            job_id=self.words.job_id,
            attempt=1,
            channel=channel,
            session_id=self.words.session_id,
            node_id=self.words.node_id,
            stacks=self.words.stacks,
            block=block_of(self),
            inputs=self.given,
            bodies=self.bodies,
            block_path=self.words.block_path,
        )


def block_of(job: EngineJob) -> dict[str, Any]:
    """Return a job's block as a dispatch has it."""
    place, said = job.place, job.definitions
    block: dict[str, Any] = {
        "language": EXECUTOR,
        "package": place.root.name,
        "hash": place.digest,
        "root": str(place.root),
        "dir": place.dir,
        "entry": place.entry,
        "function": place.function,
        "inputs_def": defs_of(said.get("inputs_def")),
        "outputs_def": said["outputs_def"],
    }
    patch = said.get("inputs_def_patch")
    if isinstance(patch, Mapping):
        block["inputs_def_patch"] = dict(patch)
    if job.service is not None:
        block["service"] = job.service
    return block
