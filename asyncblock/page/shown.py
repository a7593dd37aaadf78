"""What blocks show and say, as a state keeps it: previews, lines of logs, failures, stalls; and how much of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from .. import events
from ..wire.bodies import BodyRef

__all__ = ["Failure", "Gallery", "Lines", "Log", "LogLine", "Preview", "StallView", "StateLimits"]

_BATCH = 10
"""When there are too many previews, one of so many goes at once: looking for them takes a while."""


@dataclass(frozen=True, slots=True)
class StateLimits:
    """How much a state keeps; what is beyond is counted. None is no limit."""

    head: int | None = 500
    """The first lines of each node."""
    tail: int | None = 500
    """Its last ones."""
    lines: int | None = 100_000
    """Lines of all nodes together."""
    line: int | None = 4_000
    """Characters of a line."""
    jobs: int | None = 20_000
    """Jobs that have ended: the longest, and those that failed, stay."""
    failures: int | None = 200
    previews: int | None = 10_000
    payloads: int | None = 64 << 20
    """Bytes of previews that are in events themselves; of later ones only where they are."""

    @classmethod
    def none(cls) -> StateLimits:
        """Keep everything."""
        return cls(None, None, None, None, None, None, None, None)


@dataclass(slots=True)
class LogLine:
    """What a block has said."""

    t: int
    kind: str
    """``stdout``, ``stderr``, a logger's name, ``json``, ``message``, ``warning``, ``error`` or ``notice``."""
    text: str
    job_id: str = ""
    attempt: int = 1
    cut: int = 0
    """Characters that aren't here."""


@dataclass(slots=True)
class Lines:
    """The lines of a node: the first and the last ones."""

    head: list[LogLine] = field(default_factory=list)
    tail: deque[LogLine] = field(default_factory=deque)
    count: int = 0

    @property
    def missing(self) -> int:
        """How many aren't kept; they would be between head and tail."""
        return self.count - len(self.head) - len(self.tail)

    @property
    def missing_before_tail(self) -> bool:
        """Tell whether lines follow on those of the head already."""
        return self.count - 1 > len(self.head)

    def __iter__(self) -> Iterator[LogLine]:
        yield from self.head
        yield from self.tail


@dataclass(slots=True)
class Preview:
    """A preview. One with an ``id`` is superseded by the next of its job with the same."""

    offset: int
    t: int
    node: str
    job_id: str
    attempt: int
    id: str | None = None
    payload: Any = None
    body: BodyRef | None = None
    about: dict[str, Any] | None = None
    superseded: bool = False
    dropped: bool = False
    """The payload isn't kept; it stands in the journal."""
    place: int = 0
    """Where its event is in the journal's order (``Work.place``): no two have the same."""

    @property
    def kind(self) -> str:
        """Its type, as far as it is known."""
        told = self.about if self.about is not None else self.payload
        kind = told.get("type") if isinstance(told, dict) else None
        return kind if isinstance(kind, str) else "value"


@dataclass(slots=True)
class Failure:
    """An attempt that failed, with the author's frames where there are any."""

    t: int
    node: str
    job_id: str
    attempt: int
    error: str
    traceback: str | None = None
    retried: bool = False


@dataclass(slots=True)
class StallView:
    """A block that kept its event loop from running."""

    t: int
    node: str
    job_id: str
    seconds: float
    where: str


class Log:
    """The lines of each node, as many as the limits say."""

    def __init__(self, limits: StateLimits) -> None:
        self._limits = limits
        self.nodes: dict[str, Lines] = {}
        self.kept = 0

    def say(self, path: str, line: LogLine) -> None:
        """Add a line; where there are too many, the oldest of a node's last ones goes."""
        lines = self.nodes.get(path)
        if lines is None:
            lines = self.nodes[path] = Lines()
        lines.count += 1
        limits = self._limits
        full = limits.lines is not None and self.kept >= limits.lines
        if not full and not lines.missing_before_tail and (limits.head is None or len(lines.head) < limits.head):
            lines.head.append(line)
            self.kept += 1
        elif not full and limits.tail is not None and len(lines.tail) < limits.tail:
            lines.tail.append(line)
            self.kept += 1
        elif lines.tail:
            lines.tail.popleft()
            lines.tail.append(line)

    def line(self, event: events.BlockEvent, kind: str, text: str) -> LogLine:
        """Make a line of what a job said, as long as a line may be."""
        limit = self._limits.line
        cut = max(len(text) - limit, 0) if limit is not None else 0
        return LogLine(event.t, kind, text[:limit] if cut else text, event.job_id, event.attempt, cut)

    def to_json(self) -> dict[str, Any]:
        """Return it for a snapshot."""
        return {
            path: {"head": each.head, "tail": list(each.tail), "count": each.count} for path, each in self.nodes.items()
        }

    def restore(self, obj: dict[str, Any]) -> None:
        """Take what ``to_json`` has returned."""
        for path, each in obj.items():
            lines = self.nodes[path] = Lines(
                [LogLine(**line) for line in each["head"]],
                deque(LogLine(**line) for line in each["tail"]),
                each["count"],
            )
            self.kept += len(lines.head) + len(lines.tail)


class Gallery:
    """The previews in their order; those of the same job and id supersede each other."""

    def __init__(self, limits: StateLimits) -> None:
        self._limits = limits
        self._latest: dict[tuple[str, str], Preview] = {}
        self.previews: list[Preview] = []
        self.dropped = 0
        """Previews that aren't in the list any more."""
        self._bytes = 0

    def show(self, preview: Preview) -> None:
        """Add a preview."""
        if preview.id is not None:
            key = (preview.job_id, preview.id)
            if (older := self._latest.get(key)) is not None:
                older.superseded = True
            self._latest[key] = preview
        if preview.payload is not None:
            self._weigh(preview)
        self.previews.append(preview)
        if self._limits.previews is not None and len(self.previews) > self._limits.previews:
            self._drop(self._limits.previews)

    def _weigh(self, preview: Preview) -> None:
        """Leave a payload where it is when those that are kept take too much."""
        size = len(orjson.dumps(preview.payload))
        if self._limits.payloads is not None and self._bytes + size > self._limits.payloads:
            told = preview.payload if isinstance(preview.payload, dict) else {}
            title = {"title": told["title"]} if isinstance(told.get("title"), str) else {}
            preview.about = preview.about or {"type": told.get("type"), "size": size, **title}
            preview.payload, preview.dropped = None, True
        else:
            self._bytes += size

    def _drop(self, limit: int) -> None:
        """Let go of the oldest previews, first of those that are superseded."""
        count = len(self.previews) - limit + limit // _BATCH
        order = sorted(range(len(self.previews)), key=lambda index: (not self.previews[index].superseded, index))
        gone = set(order[:count])
        for index in gone:
            preview = self.previews[index]
            if preview.payload is not None:
                self._bytes -= len(orjson.dumps(preview.payload))
            key = (preview.job_id, preview.id or "")
            if self._latest.get(key) is preview:
                del self._latest[key]
        self.previews = [each for index, each in enumerate(self.previews) if index not in gone]
        self.dropped += len(gone)

    def to_json(self) -> dict[str, Any]:
        """Return it for a snapshot."""
        return {"previews": self.previews, "dropped": self.dropped}

    def restore(self, obj: dict[str, Any]) -> None:
        """Take what ``to_json`` has returned."""
        self.dropped = obj["dropped"]
        for each in obj["previews"]:
            body = each["body"]
            preview = Preview(**{**each, "body": None if body is None else BodyRef(**body)})
            self.previews.append(preview)
            if preview.id is not None:
                self._latest[preview.job_id, preview.id] = preview
            if preview.payload is not None:
                self._bytes += len(orjson.dumps(preview.payload))
