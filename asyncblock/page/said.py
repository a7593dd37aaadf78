"""The part of a session's state that tells what is said and shown: lines of logs, warnings, previews, stalls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import orjson

from .. import events
from ..wire.bodies import BodyRef
from .jobviews import NodeView
from .shown import Gallery, Log, LogLine, Preview, StallView, StateLimits
from .work import Work

__all__ = ["SAID", "SESSION", "SaidState"]

_STALLS = 200
SESSION: Final = ""
"""The node under which the session's own lines stand."""


class SaidState(Work):
    """What people read and look at. ``State`` says which event does what."""

    def __init__(self, limits: StateLimits, feeds: Mapping[str, Collection[str]]) -> None:
        super().__init__(limits, feeds)
        self.gallery = Gallery(self._limits)
        self.log = Log(self._limits)
        self.stalls: list[StallView] = []
        self.stalls_count = 0

    def _notice(self, t: int, text: str) -> None:
        self.log.say(SESSION, LogLine(t, "notice", text))

    def _preview(self, event: events.BlockPreview) -> None:
        node = self.nodes[self.known(event).node]
        node.previews += 1
        shown = (event.id, event.payload, event.body, event.about)
        about = (event.offset, event.t, node.path, event.job_id, event.attempt)
        self.gallery.show(Preview(*about, *shown, place=self.place()))

    def _line(self, event: events.BlockLog) -> None:
        self._tell(event, event.stdio, event.log)

    def _log_json(self, event: events.BlockLogJSON) -> None:
        self._tell(event, "json", _value(event.json, event.body))

    def _message(self, event: events.BlockMessage) -> None:
        self._tell(event, "message", _value(event.payload, event.body))

    def _warning(self, event: events.BlockWarning) -> None:
        self._tell(event, "warning", event.warning).warnings += 1

    def _error(self, event: events.BlockError) -> None:
        self._tell(event, "error", event.error).errors += 1

    def _cache(self, event: events.BlockCache) -> None:
        self._tell(event, "cache", f"{event.state}: {event.why}" if event.why else event.state)

    def _tell(self, event: events.BlockEvent, kind: str, text: str) -> NodeView:
        node = self.nodes[self.known(event).node]
        node.lines += 1
        self.log.say(node.path, self.log.line(event, kind, text))
        return node

    def _stalled(self, event: events.JobStalled) -> None:
        job = self.known(event)
        last = self.stalls[-1] if self.stalls else None
        if (
            last is not None
            and (last.job_id, last.where) == (event.job_id, event.where)
            and event.seconds > last.seconds
        ):
            # Told again while it lasts.
            last.seconds = event.seconds
            return
        self.stalls_count += 1
        self.node(job.node).stalls += 1
        if len(self.stalls) < _STALLS:
            self.stalls.append(StallView(event.t, job.node, event.job_id, event.seconds, event.where))


def _value(value: Any, body: BodyRef | None) -> str:
    if body is not None:
        return f"a large value of {body.length:,} bytes"
    return orjson.dumps(value, default=str).decode()


SAID: Final[dict[str, Callable[[SaidState, Any], None]]] = {
    "JobStalled": SaidState._stalled,
    "BlockLog": SaidState._line,
    "BlockLogJSON": SaidState._log_json,
    "BlockMessage": SaidState._message,
    "BlockWarning": SaidState._warning,
    "BlockError": SaidState._error,
    "BlockPreview": SaidState._preview,
    "BlockCache": SaidState._cache,
}
"""What is done with each of these events."""
