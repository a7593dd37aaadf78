"""Lives: which var values of a session may still be asked for. The others can go, and their executors are told so.

A value is held by the queues it waits in, by jobs that have it as an input and haven't ended (they may be tried again),
by the attempt at whose end it goes downstream, by the job that runs the block which has put it out, and, the last one
of each output of the flow, by the session. What nothing holds at the end of a turn is released.

All of this follows from the journal, so a mainframe that comes back knows it again. What an executor didn't hear is
said in another way after its next Welcome: what was seen of each attempt, and what of that lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..wire.ranges import Ranges
from ..wire.stored import EXECUTOR_NAME, StoreKey

if TYPE_CHECKING:
    from ..flow.entries import Ref
    from .jobs import Attempt, Job

__all__ = ["Gone", "Lives", "Lost", "VarValue"]

Place = tuple[int, int, int, str]
"""Where a reference to a value stands in the journal: row, line, record, and the handle."""
Gone = tuple[str, str, int, int]
"""A value that can go: the link of its executor, its job, attempt, and place there."""


class Lost(NamedTuple):
    """A value that a job needs and that can't be had any more."""

    handle: str
    """Where it was put out; empty where that isn't known."""
    node_id: str
    """The node that has put it out and must run again; empty where that isn't known."""
    job_id: str
    attempt: int


class Made:
    """What one attempt has put out."""

    __slots__ = ("attempt", "closed", "job_id", "link_id", "node_id", "seen", "values")

    def __init__(self, job_id: str, attempt: int, link_id: str, node_id: str) -> None:
        self.job_id = job_id
        self.node_id = node_id
        self.attempt = attempt
        self.link_id = link_id
        self.closed = False
        """Nothing comes of it any more."""
        self.seen = Ranges()
        self.values: dict[int, VarValue] = {}


class VarValue:
    """A value that lives."""

    __slots__ = ("file", "holds", "kept", "made", "number", "places", "size")

    def __init__(self, made: Made, number: int, kept: bool, size: int | None) -> None:
        self.made = made
        self.number = number
        self.kept = kept
        """There is a file of it for later runs, too."""
        self.size = size
        """Bytes that move when another process takes it; None for one that stays in its own."""
        self.file: tuple[str, str] | None = None
        """The host and the name of the file that it was exported into."""
        self.holds = 0
        self.places: tuple[Place, ...] = ()
        """Where references to it stand; more than one when it was sent on as it came."""


class Lives:
    """The var values of one session. ``begin`` is called when there is the first."""

    def __init__(self, session_id: str, begin: Callable[[], object]) -> None:
        self._session_id = session_id
        self._begin = begin
        self.complete = True
        """Every value is known here; False for a session that goes on from a snapshot without them."""
        self._made: dict[tuple[str, int], Made] = {}
        self._places: dict[Place, VarValue] = {}
        self._callers: dict[str, list[Ref]] = {}
        """What jobs hold of the blocks that they run."""
        self._idle: list[VarValue] = []
        self._portable: dict[str, bool] = {}
        """Whether all values of a node's handle could be moved so far."""

    @property
    def any(self) -> bool:
        """Tell whether there are values."""
        return bool(self._made)

    # ------------------------------------------------------------------ values come

    def note(self, attempt: Attempt, place: tuple[int, int, int], handle: str, value: object) -> bool:
        """Look at a value in a record; tell whether it is a var value that lives."""
        found = self._known(attempt, value)
        if found is None:
            return False
        at = (*place, handle)
        if at not in self._places:
            self._places[at] = found
            found.places += (at,)
        return True

    def note_given(self, attempt: Attempt, refs: Mapping[str, Ref]) -> None:
        """Look at the inputs of a block that a job runs."""
        for ref in refs.values():
            if ref[0] == "given":
                self._known(attempt, ref[1])

    def _known(self, attempt: Attempt, value: object) -> VarValue | None:
        if type(value) is not dict or value.get("executor") != EXECUTOR_NAME:
            return None
        key = StoreKey.match(value)
        if key is None or key.place is None or key.attempt is None or key.session_id != self._session_id:
            return None
        made = self._made.get((key.job_id, key.attempt))
        if (key.job_id, key.attempt) != (attempt.job.job_id, attempt.number):
            # Sent on as it came.
            return None if made is None else made.values.get(key.place)
        if made is None:
            if not self._made:
                self._begin()
            made = self._made[key.job_id, key.attempt] = Made(
                key.job_id, key.attempt, attempt.link.link_id, attempt.job.node_id
            )
            made.closed = attempt.fenced
        found = made.values.get(key.place)
        if found is None:
            if key.place in made.seen:
                return None
            made.seen.add(key.place)
            found = made.values[key.place] = VarValue(made, key.place, key.cache is not None, key.portable)
            self._idle.append(found)
            source = _source(attempt.job, key.handle)
            self._portable[source] = key.portable is not None and self._portable.get(source, True)
        return found

    # ------------------------------------------------------------------ who holds them

    def take(self, ref: Ref) -> bool:
        """Hold the value that a reference stands for; tell whether it is a var value that lives."""
        found = self._find(ref)
        if found is None:
            return False
        found.holds += 1
        return True

    def drop(self, ref: Ref) -> None:
        """Hold it no more."""
        found = self._find(ref)
        if found is not None:
            found.holds -= 1
            if found.holds <= 0:
                self._idle.append(found)

    def _find(self, ref: Ref) -> VarValue | None:
        if not self._made:
            return None
        if ref[0] == "record":
            return self._places.get((ref[1], ref[2], ref[3], ref[4]))
        key = StoreKey.match(ref[1]) if ref[0] == "given" else None
        if key is None or key.place is None or key.attempt is None or key.session_id != self._session_id:
            return None
        made = self._made.get((key.job_id, key.attempt))
        return None if made is None else made.values.get(key.place)

    def take_for(self, caller: str, ref: Ref) -> None:
        """Let a job hold what a block has put out that it runs."""
        if self.take(ref):
            self._callers.setdefault(caller, []).append(ref)

    def caller_over(self, job_id: str) -> None:
        """A job asks for nothing any more that its blocks have put out."""
        for ref in self._callers.pop(job_id, ()):
            self.drop(ref)

    def attempt_over(self, attempt: Attempt) -> None:
        """An attempt is over: what waited for its end goes downstream now, or never."""
        if not self._made:
            return
        for held in attempt.held or ():
            self.drop(held)
        job = attempt.job
        made = self._made.get((job.job_id, attempt.number))
        if made is not None:
            made.closed = True
            self._tidy(made)
        for never_asked in job.arguments.keys() - job.asked.keys():
            self.caller_over(never_asked)
        self.caller_over(job.job_id)

    def find(self, ref: Ref) -> VarValue | None:
        """Return the value that a reference stands for, if it is a var value that lives."""
        return self._find(ref)

    def missing(self, refs: Iterable[Ref], has: Callable[[VarValue], bool]) -> Lost | None:
        """Return an input that can't be had where the others are; None if there is none."""
        for ref in refs:
            found = self._find(ref)
            if found is not None and not has(found):
                handle = found.places[0][3] if found.places else ""
                return Lost(handle, found.made.node_id, found.made.job_id, found.made.attempt)
        return None

    def has_proved(self, job: Job) -> bool:
        """Tell whether everything that a job's node has put out by its var handles, all of them, could be moved."""
        handles = [
            each["handle"]
            for each in job.block.get("outputs_def") or ()
            if isinstance(each, Mapping) and is_var(each.get("json_schema"))
        ]
        return all(self._portable.get(_source(job, handle), False) for handle in handles)

    # ------------------------------------------------------------------ values are exported

    def value(self, job_id: str, attempt: int, place: int) -> VarValue | None:
        """Return a value that lives."""
        made = self._made.get((job_id, attempt))
        return None if made is None else made.values.get(place)

    def exported(self, job_id: str, attempt: int, place: int, file: tuple[str, str] | None) -> None:
        """Take in that a value was exported, or (None) that it can't be."""
        found = self.value(job_id, attempt, place)
        if found is not None:
            found.file = file
            if file is None:
                found.size = None

    # ------------------------------------------------------------------ values go

    @property
    def due(self) -> bool:
        """Tell whether there is something to settle."""
        return bool(self._idle)

    def settle(self) -> list[Gone]:
        """Return the values that nothing holds, and forget them."""
        idle, self._idle = self._idle, []
        gone: list[Gone] = []
        for value in idle:
            made = value.made
            if value.holds > 0 or made.values.get(value.number) is not value:
                continue
            del made.values[value.number]
            for place in value.places:
                del self._places[place]
            gone.append((made.link_id, made.job_id, made.attempt, value.number))
            self._tidy(made)
        return gone

    def _tidy(self, made: Made) -> None:
        if made.closed and not made.values:
            self._made.pop((made.job_id, made.attempt), None)

    def of_link(self, link_id: str) -> list[list[Any]]:
        """Return what an executor may keep: job, attempt, what was seen (None: all there will be), what lives of it."""
        return [
            [made.job_id, made.attempt, None if made.closed else made.seen.to_json(), Ranges(made.values).to_json()]
            for made in self._made.values()
            if made.link_id == link_id
        ]

    def close(self) -> None:
        """Leave no circles behind: the session is over."""
        for made in self._made.values():
            made.values.clear()
        del self._begin

    # ------------------------------------------------------------------ snapshots

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON-ready data."""
        return {
            "complete": self.complete,
            "callers": self._callers,
            "portable": self._portable,
            "made": [
                [made.job_id, made.attempt, made.link_id, made.closed, made.seen.to_json(),
                 [[each.number, each.kept, each.holds, each.places, each.size, each.file]
                  for each in made.values.values()], made.node_id]
                for made in self._made.values()
            ],
        }  # fmt: skip

    def restore(self, obj: Mapping[str, Any] | None) -> None:
        """Take over what ``to_json`` gave; None for a snapshot that has nothing of it."""
        if obj is None:
            self.complete = False
            return
        self.complete = obj["complete"]
        self._portable = dict(obj.get("portable", {}))
        self._callers = {caller: list(refs) for caller, refs in obj["callers"].items()}
        for job_id, attempt, link_id, closed, seen, values, *node_id in obj["made"]:
            # A snapshot of before doesn't say whose they are.
            made = self._made[job_id, attempt] = Made(job_id, attempt, link_id, *node_id or [""])
            made.closed, made.seen = closed, Ranges.from_json(seen)
            for number, kept, holds, places, *moved in values:
                size, file = moved or (None, None)
                value = made.values[number] = VarValue(made, number, kept, size)
                value.file = None if file is None else (file[0], file[1])
                value.holds = holds
                value.places = tuple((row, line, index, handle) for row, line, index, handle in places)
                self._places.update(dict.fromkeys(value.places, value))
                if holds <= 0:
                    self._idle.append(value)
        if self._made:
            self._begin()


def is_var(schema: object) -> bool:
    """Tell whether a handle of this schema has var values."""
    return isinstance(schema, Mapping) and schema.get("contentMediaType") == "oomol/var"


def _source(job: Job, handle: str) -> str:
    return f"{job.flow or ''}/{job.node_id}/{handle}"
