"""What a run under chaos found."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from .audit import Audit
from .streamaudit import StreamAudit

__all__ = ["Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found."""

    seed: int
    audit: Audit
    faults: dict[str, int]
    """How often each kind came."""
    cuts: int
    finished: int
    flows: dict[str, int]
    """How many sessions of each flow have ended."""
    hanging: int
    failed: dict[str, str] = field(default_factory=dict)
    """Why sessions ended otherwise than they were to, by id."""
    stream: StreamAudit | None = None
    """What the stream of a set holds."""
    owners: int = 0
    """Terms of a set's owners that were heard."""
    broken: tuple[str, ...] = ()
    """Members and nodes that ended by an error of their own."""
    seconds: float = 0.0
    """How long the storm went on."""

    @property
    def clean(self) -> bool:
        """Tell whether every promise was kept."""
        kept = self.audit.clean and (self.stream is None or self.stream.clean)
        return kept and not self.hanging and not self.failed and not self.broken

    @property
    def words(self) -> list[str]:
        """What was found, for people."""
        stream = [] if self.stream is None else self.stream.words
        return [*self.broken, *stream[:50], *self.audit.words[:50], *list(self.failed.values())[:20]]

    def to_json(self) -> bytes:
        """Return the outcome as one line."""
        found = self.audit
        of_set = {}
        if self.stream is not None:
            of_set = {
                "commits": self.stream.commits,
                "fenced": self.stream.fenced,
                "commits_repeated": self.stream.repeated,
                "owners": self.owners,
                "broken": len(self.broken),
            }
        return orjson.dumps(
            {
                "outputs": found.journaled,
                "acked": found.acked,
                "journaled": found.journaled,
                "effects": found.effects,
                "lost": found.lost + found.damaged + found.unfounded,
                "duplicated": found.duplicated + found.mixed + found.repeated,
                "reordered": found.reordered + found.missed,
                **of_set,
                "frames": found.frames,
                "wrong": found.wrong,
                "swapped": found.swapped,
                "moved": found.moved,
                "made_again": found.made_again,
                "faults": self.faults,
                "kills": sum(self.faults.get(kind, 0) for kind in _KILLS),
                "cuts": self.cuts,
                "sessions_finished": self.finished,
                "sessions_by_flow": self.flows,
                "sessions_failed": len(self.failed),
                "sessions_hanging": self.hanging,
                "seconds": self.seconds,
                "seed": self.seed,
            }
        )


_KILLS = ("mainframe", "executor", "child", "oom", "owner", "member", "node", "leader", "nodes", "machine")
