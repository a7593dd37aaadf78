"""How a mainframe runs: durations and limits, each with its reason. Set once, when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .watching import MainframeWatch

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a mainframe runs. Times are in seconds."""

    synchronous: Literal["normal", "full"] = "normal"
    """``normal`` survives kill -9; ``full`` survives power loss and costs an fsync for each commit."""
    heartbeat: float = 5.0
    """Between signs of life; three of silence end a connection."""
    lease: float = 120.0
    """Without a byte from an executor before its jobs are taken from it: longer than a proxy's restart or a laptop's
    nap. It ends early by evidence. A parent's word for a silent child comes each second, so it is more than that."""
    cancel_grace: float = 10.0
    """That a cancelled block has to clean up."""
    no_executor_timeout: float = 30.0
    """That a job waits for an executor with its package before it fails: a rollout's gap. Told at once."""
    version_timeout: float = 3600.0
    """The same in a session whose jobs have run that package before, in a version that is gone: somebody has to be
    called, who brings it back or accepts the new one."""
    token_file: Path | None = None
    """Further tokens with roles."""
    origins: frozenset[str] = field(default_factory=frozenset)
    """Origins of web pages that may connect."""
    insecure: bool = False
    """Allow to listen beyond loopback without TLS."""

    watch: MainframeWatch | None = None
    """Who is told of sessions, to make spans of them: ``telemetry.exporting``."""

    session_bytes: int = 10 << 30
    """Bytes of journal and bodies that a session may take before it fails: one flow mustn't fill the disk of all."""
    carried_bytes: int = 4 << 30
    """Bytes of a var value that goes to another host as a body; 0: none does. It counts for its session, too."""
    unnamed_bytes: int = 10 << 30
    """Bytes on disk of a link's bodies that no record has named yet: many jobs may send large ones by turns."""
    queue_bytes: int = 64 << 20
    """Bytes that may wait for the disk before batches are read more slowly: one link's window, and seconds of writing.
    With one message more for each link it bounds what the senders' windows alone would not."""
    snapshot_bytes: int = 16 << 20
    """Journal of a session between two snapshots of its state, at least: what a recovery folds in half a second."""
    max_links: int = 10_000
    """Connections at once; each costs about 50 kB."""
    max_sessions: int = 10_000
    """Running sessions; each costs a few kB and its open jobs."""
    max_reads: int = 4096
    """Reads and fetches that a connection may have waiting: an executor has one for each session whose jobs run
    blocks."""
    max_questions: int = 64
    """Questions of a connection that may wait for the disk."""
    link_expiry: float = 86400.0
    """Without a connection before a link without jobs is forgotten: a laptop's night. Links that say goodbye are
    forgotten at once."""
