"""Where a job stands in a trace: ids that follow from those of its session and its attempt, and need not be told.

A mainframe that records spans puts the session's own span into the session's metadata as ``traceparent`` (W3C Trace
Context), and the span that this one stands under into ``tracestate``, as its member ``asyncblock``: there it is after a
restart, too. The span of an attempt follows from its job's id and its number: whoever has the job knows it, before and
after a restart of either side.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "TRACEPARENT",
    "TRACESTATE",
    "Trace",
    "attempt_span",
    "job_span",
    "metadata_of_session",
    "parsed",
    "session_span",
    "session_trace",
    "trace_of_job",
    "trace_of_session",
]

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1
_OURS: Final = "asyncblock="
_SPAN: Final = re.compile("[0-9a-f]{16}")
_MEMBER: Final = re.compile(
    r"([a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MAX_MEMBERS: Final = 32
_MAX_STATE: Final = 512
"""Characters of a tracestate that are passed on: what every participant has to, says the standard."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A place in a trace: what is begun from here has this span as its parent."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    sampled: bool = True
    """The trace is recorded."""
    state: str = ""
    """What other systems have put into ``tracestate``."""

    @property
    def traceparent(self) -> str:
        """The place in the form of the header of that name."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers that tell another service of it; as ``metadata`` they tell a session that is started."""
        return {TRACEPARENT: self.traceparent, **({TRACESTATE: self.state} if self.state else {})}


def parsed(metadata: Mapping[str, Any]) -> Trace | None:
    """Read the place in a trace that metadata or headers name; None without one, or where it is malformed."""
    text, state = metadata.get(TRACEPARENT), metadata.get(TRACESTATE)
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    if not int(found[2], 16) or not int(found[3], 16):
        return None
    known = _well_formed(state) if isinstance(state, str) and len(state) <= _MAX_STATE else ""
    return Trace(found[2], found[3], bool(int(found[4], 16) & _SAMPLED), known)


def _well_formed(state: str) -> str:
    """Return the members that the standard allows: of others OpenTelemetry warns for each span anew."""
    found: dict[str, str] = {}
    for each in _members(state):
        if _MEMBER.fullmatch(each):
            found.setdefault(each.partition("=")[0], each)
    return ",".join([*found.values()][:_MAX_MEMBERS])


def session_span(session_id: str) -> str:
    """Return the id of a session's span."""
    return _digest(f"session {session_id}", 8)


def session_trace(session_id: str) -> str:
    """Return the id of the trace of a session whose starter has named none."""
    return _digest(f"trace {session_id}", 16)


def job_span(job_id: str) -> str:
    """Return the id of the span of a job, or of a run of a subflow."""
    return _digest(f"job {job_id}", 8)


def attempt_span(job_id: str, attempt: int) -> str:
    """Return the id of an attempt's span."""
    return _digest(f"attempt {attempt} {job_id}", 8)


def trace_of_job(metadata: Mapping[str, Any], session_id: str, job_id: str, attempt: int) -> Trace | None:
    """Return where an attempt stands: at its own span where its mainframe records it, else where its starter stood."""
    told = parsed(metadata)
    if told is None or told.span_id != session_span(session_id):
        return told
    return Trace(told.trace_id, attempt_span(job_id, attempt), told.sampled, told.state)


def trace_of_session(metadata: Mapping[str, Any], session_id: str) -> tuple[Trace, str | None] | None:
    """Return a session's own place and the span above it, from the metadata that ``metadata_of_session`` has made."""
    own = parsed(metadata)
    if own is None or own.span_id != session_span(session_id):
        return None
    above = next((each.removeprefix(_OURS) for each in _members(own.state) if each.startswith(_OURS)), None)
    return own, above if above is not None and _SPAN.fullmatch(above) else None


def metadata_of_session(
    metadata: Mapping[str, Any], session_id: str, above: Trace | None, *, sampled: bool
) -> dict[str, Any]:
    """Return a session's metadata with its own place, under that of its starter, if there is one."""
    trace_id = session_trace(session_id) if above is None else above.trace_id
    members = [] if above is None else [each for each in _members(above.state) if not each.startswith(_OURS)]
    if above is not None:
        members = [f"{_OURS}{above.span_id}", *members[: _MAX_MEMBERS - 1]]
    while sum(len(each) + 1 for each in members) > _MAX_STATE:
        members.pop()
    made = {name: value for name, value in metadata.items() if name != TRACESTATE}
    return made | Trace(trace_id, session_span(session_id), sampled, ",".join(members)).headers


def _members(state: str) -> list[str]:
    return [each.strip() for each in state.split(",") if each.strip()]


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
