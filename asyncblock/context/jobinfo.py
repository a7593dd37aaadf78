"""JobInfo: what the mainframe said of a job when it handed it out, and what its process lends it.

The executor makes one for each attempt; contexts and what they are built of read it. It does nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..varvalues.depot import Depot
from .engine import Engine
from .jobdirectories import JobDirectories
from .secrecy import CredentialInput, Secrecy

__all__ = ["JobInfo"]


@dataclass(slots=True)
class JobInfo:
    """Which job this is: what the mainframe said when it handed the job out. It never changes."""

    session_id: str
    job_id: str
    attempt: int = 1
    stacks: tuple[Mapping[str, Any], ...] = ()
    block_path: str | None = None
    inputs_def: Mapping[str, Mapping[str, Any]] | None = None
    outputs_def: Mapping[str, Mapping[str, Any]] | None = None
    var_handles: frozenset[str] = field(default_factory=frozenset)
    """Output handles whose values stay in this process."""
    bin_handles: frozenset[str] = field(default_factory=frozenset)
    """Output handles whose values are bytes."""
    package: str = ""
    """The name of the block's package."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the session was started with besides its inputs."""
    directories: JobDirectories = field(default_factory=JobDirectories)
    secrecy: Secrecy = field(default_factory=Secrecy)
    credential: Callable[[CredentialInput], dict[str, str]] | None = None
    """Looks a credential up; on a worker thread."""
    room: Callable[[int], Coroutine[Any, Any, str | None]] | None = None
    """Waits until a var value of some bytes has room; returns what to warn of. None where values go only with the
    job's end: to wait for that would be for ever."""
    depot: Depot | None = None
    """Where its arrays in shared memory are; None where there is none."""
    engine: Engine | None = None
    """What the job may ask; None for one without a mainframe."""
