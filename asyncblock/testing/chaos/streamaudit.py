"""What the stream of a set may hold: each commit once, whole or cut at its end, of whoever owned the set just then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ...server.jetstream import PartitionNames
from ...server.jetstream.natsstore import NatsStore, StoredMessage
from ...server.jetstream.streammessages import COMMIT, END

__all__ = ["StreamAudit", "audit_stream"]


@dataclass(slots=True)
class StreamAudit:
    """What was found; ``fenced`` and ``repeated`` must be 0."""

    commits: int = 0
    cut: int = 0
    """Commits that have no end, and count for nothing."""
    takeovers: int = 0
    fenced: int = 0
    """Messages of an owner that had lost the set."""
    repeated: int = 0
    """Commits that stand more than once."""
    words: list[str] = field(default_factory=list)
    """What was found, for people."""

    @property
    def clean(self) -> bool:
        """Tell whether every promise was kept."""
        return not (self.fenced or self.repeated)

    def take_in(self, names: PartitionNames, messages: Iterable[StoredMessage]) -> None:
        """Look at all messages, in order; their headers are enough."""
        term, owned, begun = 0, False, ""
        seen: set[str] = set()
        for message in messages:
            if message.subject == names.own:
                self.takeovers += not owned
                term, owned = message.seq, True
                continue
            owned = False
            commit = message.headers.get(COMMIT, "")
            of_term = commit.partition(".")[0]
            if of_term != str(term):
                self.fenced += 1
                self.words.append(f"message {message.seq} is of term {of_term or '?'}; the owner's was {term}")
            if commit != begun:
                self.cut += bool(begun)
                if commit in seen:
                    self.repeated += 1
                    self.words.append(f"commit {commit} stands again at message {message.seq}")
            begun = commit
            if END in message.headers:
                self.commits += 1
                seen.add(commit)
                begun = ""


async def audit_stream(store: NatsStore, names: PartitionNames) -> StreamAudit:
    """Look at a partition that nobody writes to. **Cancellation** is safe. Raises ``NatsRefused``, ``NatsUnsure``."""
    last = await store.last_seq(names.stream)
    subjects = [names.own, names.meta, names.entries("*"), names.snapshots("*")]
    found = StreamAudit()
    found.take_in(names, [each async for each in store.read(names.stream, subjects, last, headers_only=True)])
    return found
