"""Lives: which var values of a session may still be asked for. A value *lives* as long as something holds it. When
nothing does any more it is *released*: its executor is told that it can free it.

A value is held by each queue in which it waits, by each job that has it as an input and hasn't ended (it may be tried
again), by an attempt that sends its outputs downstream only at its end, and by a job that has asked for the block which
has put the value out. The session holds the last value of each output of the flow. What nothing holds at the end of a
transaction is released.

All of this follows from the journal, so a mainframe that comes back knows it again. An executor may have missed a
release. So after each Welcome it is told which values of each attempt the mainframe has seen, and which of these live.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from ...flow.entries import JobCreated, Ref
from ...flow.references import References
from ...wire.bodies import BodyRef
from ...wire.ranges import Ranges
from ...wire.stored import EXECUTOR_NAME, StoreKey
from ..serverlimits import FILE_NAME
from .arguments import Arguments
from .recipes import Origin, Recipe, Recipes
from .valueplaces import PlaceRun, ValuePlaces

__all__ = ["Gone", "Lives", "Lost", "VarValue"]

Alias = tuple[str, int, int]
"""A value by its job, attempt and place."""
Gone = tuple[str, str, int, int]
"""A value that can go: the link of its executor, its job, attempt, and place there."""


class MakerLink(Protocol):
    """The link whose process puts values out: ``jobs.LinkState``."""

    link_id: str
    host: str | None


class MakerJob(Protocol):
    """The job that puts values out: ``jobs.Job``."""

    job_id: str
    node_id: str
    flow: str | None
    arguments: Arguments
    asked: dict[str, int]

    @property
    def block(self) -> Mapping[str, Any]:
        """What it runs."""
        ...

    @property
    def recomputes(self) -> tuple[tuple[str, int], list[int]] | None:
        """The job and attempt that it runs again, and the places of the var values that it is to deliver."""
        ...


class MakerAttempt(Protocol):
    """The attempt that puts values out: ``jobs.Attempt``, which knows all of the mainframe and isn't named here."""

    number: int
    fenced: bool
    held: References | None

    @property
    def job(self) -> MakerJob:
        """Its job."""
        ...

    @property
    def link(self) -> MakerLink:
        """Who has it."""
        ...


class Lost(NamedTuple):
    """A value that a job needs and that can't be had any more."""

    handle: str
    """Where it was put out; empty where that isn't known."""
    node_id: str
    """The node that has put it out and must run again; empty where that isn't known."""
    job_id: str
    attempt: int
    why: str | None = None
    """Why it isn't anywhere else, if its executor has said so when it left."""


class Made:
    """What one attempt has put out."""

    __slots__ = ("attempt", "closed", "counts", "job_id", "link_id", "node_id", "seen", "values")

    def __init__(self, job_id: str, attempt: int, link_id: str, node_id: str) -> None:
        self.job_id = job_id
        self.node_id = node_id
        self.attempt = attempt
        self.link_id = link_id
        self.closed = False
        """Nothing comes of it any more."""
        self.seen = Ranges()
        self.values: dict[int, VarValue] = {}
        self.counts: dict[str, int] = {}
        """How many there were on each handle."""

    def told(self, link_id: str) -> list[Any] | None:
        """Return what is told of it to an executor, its maker's or one that has fetched some; None for others."""
        if self.link_id == link_id:
            seen = None if self.closed else self.seen.to_json()
            return [self.job_id, self.attempt, seen, Ranges(self.values).to_json()]
        copied = [number for number, value in self.values.items() if link_id in value.copies]
        return [self.job_id, self.attempt, None, Ranges(copied).to_json()] if copied else None


class VarValue:
    """A value that lives: something holds it, or did so until this transaction."""

    __slots__ = (
        "aliases", "body", "copies", "file", "grounded", "handle", "holds", "kept", "key", "made", "number", "ordinal",
        "places", "size", "why",
    )  # fmt: skip

    def __init__(self, made: Made, number: int, kept: bool, size: int | None, handle: str, ordinal: int) -> None:
        self.made = made
        self.number = number
        self.kept = kept
        """It is in the cache as well, from where every executor can have it."""
        self.size = size
        """Bytes that move when another process takes it; None for one that stays in its own."""
        self.file: tuple[str, str] | None = None
        """The host and the name of the file that it was exported into."""
        self.body: BodyRef | None = None
        """The body that its file became, for other hosts."""
        self.copies: dict[str, tuple[str, str]] = {}
        """For each link whose executor has fetched it: the host and the name of its file there."""
        self.grounded: str | None = None
        """Why it can't become a body."""
        self.holds = 0
        """How many queues, jobs, attempts and outputs of the flow hold it; at 0 it is released."""
        self.places: list[PlaceRun] = []
        """The records that contain it; more than one if a block has sent it on."""
        self.handle = handle
        self.ordinal = ordinal
        self.key: dict[str, Any] | None = None
        """The reference by which executors find it since it was made again; the records still have the old one."""
        self.aliases: tuple[Alias, ...] = ()
        """The lost values for which it stands since it was made again."""
        self.why: str | None = None
        """Why it stays in its process."""

    def to_json(self) -> list[Any]:
        """Return it as JSON-ready data."""
        body = None if self.body is None else self.body.to_json()
        moved = [self.size, self.file, self.handle, self.ordinal, self.key, self.aliases, self.why]
        places = [place.to_json() for place in self.places]
        return [self.number, self.kept, self.holds, places, *moved, body, self.copies, self.grounded]

    @classmethod
    def restored(cls, made: Made, fields: list[Any]) -> tuple[VarValue, list[Any]]:
        """Return what ``to_json`` gave, and what else has stood for it."""
        number, kept, holds, places, *moved = fields
        known: list[Any] = [*moved, *_MOVED[len(moved) :]]
        size, file, handle, ordinal, key, aliases, why, body, copies, grounded = known
        handle = handle if handle is not None else (places[0][3] if places else "")
        value = cls(made, number, kept, size, handle, ordinal)
        value.file = None if file is None else (file[0], file[1])
        value.key, value.why, value.grounded = key, why, grounded
        value.body = BodyRef.from_json(body)
        value.copies = {copier: (copy[0], copy[1]) for copier, copy in copies.items()}
        value.holds = holds
        value.places = [PlaceRun.from_json(place) for place in places]
        return value, aliases

    @property
    def survives(self) -> bool:
        """Tell whether it is somewhere else than in its maker's memory, too."""
        return self.file is not None or self.body is not None

    def file_for(self, places: Container[str | None]) -> str | None:
        """Return the name of its file for who can open those of some hosts and disks; None where there is none."""
        found = ([] if self.file is None else [self.file]) + list(self.copies.values())
        return next((name for place, name in found if place in places), None)

    def without_body(self) -> list[BodyRef]:
        """Have the body no more that it became, and return that, if there was one."""
        found, self.body = [] if self.body is None else [self.body], None
        return found

    @property
    def origin(self) -> Origin:
        """Return which value it is."""
        made = self.made
        return Origin(made.job_id, made.attempt, self.number, self.handle, self.ordinal, made.node_id)

    @property
    def lost(self) -> Lost:
        """Return what is said of it when it can't be had."""
        return Lost(self.handle, self.made.node_id, self.made.job_id, self.made.attempt, self.why)


class Lives:
    """The var values of one session that something still holds, with where each one is and how many hold it.

    ``begin`` is called when there is the first: until then no session pays for counting holders.
    """

    def __init__(self, session_id: str, begin: Callable[[], object]) -> None:
        self._session_id = session_id
        self._begin = begin
        self.complete = True
        """Every value is known here; False for a session that goes on from a snapshot without them."""
        self._made: dict[tuple[str, int], Made] = {}
        self._places = ValuePlaces[VarValue]()
        self._callers: dict[str, list[Ref]] = {}
        """For each job: the values that it holds because blocks that it has asked for have put them out."""
        self._idle: list[VarValue] = []
        """Values that may have no holder any more: ``settle`` looks at them at the end of a transaction."""
        self.spent: list[BodyRef] = []
        """Bodies of released values. The session drops them when the journal has the rows that released them."""
        self._aliases: dict[Alias, VarValue] = {}
        """Values that were made again, by the names of the lost ones: references go on naming those."""
        self.lineage = Recipes()
        """How values can be made again if they are lost."""
        self.places: set[str] = set()
        """The hosts and disks that files of values are or were on."""
        self._portable: dict[str, bool] = {}
        """Whether all values of a node's handle could be moved so far."""

    @property
    def any(self) -> bool:
        """Tell whether there are values. Most sessions have none, and skip all that concerns them."""
        return bool(self._made)

    @property
    def count(self) -> int:
        """How much there is to write down of them."""
        return len(self._places) + len(self._made) + len(self._callers) + self.lineage.count

    # ------------------------------------------------------------------ values come

    def note(self, attempt: MakerAttempt, place: tuple[int, int, int], handle: str, value: object) -> bool:
        """Take in a value of a record; tell whether it is a var value that lives. Holding it is ``take``'s."""
        found = self._known(attempt, value)
        if found is None:
            return False
        self._places.note((*place, handle), found)
        return True

    def note_given(self, attempt: MakerAttempt, refs: Mapping[str, Ref]) -> None:
        """Look at the inputs of a block that a job runs."""
        for ref in refs.values():
            if ref[0] == "given":
                self._known(attempt, ref[1])

    def _known(self, attempt: MakerAttempt, value: object) -> VarValue | None:
        if type(value) is not dict or value.get("executor") != EXECUTOR_NAME:
            return None
        key = StoreKey.match(value)
        if key is None or key.place is None or key.attempt is None or key.session_id != self._session_id:
            return None
        made = self._made.get((key.job_id, key.attempt))
        if (key.job_id, key.attempt) != (attempt.job.job_id, attempt.number):
            # Sent on as it came.
            return self.value(key.job_id, key.attempt, key.place)
        if made is None:
            made = self._make(key.job_id, key.attempt, attempt.link.link_id, attempt.job.node_id)
            made.closed = attempt.fenced
        found = made.values.get(key.place)
        if found is None:
            if key.place in made.seen:
                return None
            made.seen.add(key.place)
            ordinal = made.counts.get(key.handle, 0)
            made.counts[key.handle] = ordinal + 1
            kept = key.cache is not None
            found = made.values[key.place] = VarValue(made, key.place, kept, key.portable, key.handle, ordinal)
            host = attempt.link.host
            if key.file is not None and host is not None and FILE_NAME.fullmatch(key.file):
                found.file = (host, key.file)
                self.places.add(host)
            if attempt.job.recomputes is not None:
                found.key = value
            self._idle.append(found)
            source = _source(attempt.job, key.handle)
            self._portable[source] = key.portable is not None and self._portable.get(source, True)
        return found

    def _make(self, job_id: str, attempt: int, link_id: str, node_id: str) -> Made:
        if not self._made:
            self._begin()
        made = self._made[job_id, attempt] = Made(job_id, attempt, link_id, node_id)
        return made

    # ------------------------------------------------------------------ values are held

    def take(self, ref: Ref) -> bool:
        """Hold the value that a reference names until ``drop``; tell whether it is a var value that lives."""
        found = self._find(ref)
        if found is None:
            return False
        found.holds += 1
        return True

    def drop(self, ref: Ref) -> None:
        """End one hold of a value; the last one releases it at the end of the transaction."""
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
        return self.value(key.job_id, key.attempt, key.place)

    def take_for(self, caller: str, ref: Ref) -> None:
        """Let a job hold an output of a block that it has asked for."""
        if self.take(ref):
            self._callers.setdefault(caller, []).append(ref)

    def caller_over(self, job_id: str) -> None:
        """End the holds of a job on the outputs of its blocks: it asks for none of them any more."""
        for ref in self._callers.pop(job_id, ()):
            self.drop(ref)

    def attempt_over(self, attempt: MakerAttempt) -> None:
        """End the holds of an attempt: what waited for its end goes downstream now, or never."""
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
        """Return the value that a reference names, if it is a var value that lives."""
        return self._find(ref)

    def missing(self, refs: Iterable[Ref], has: Callable[[VarValue], bool]) -> list[VarValue]:
        """Return the inputs that can't be had where the others are."""
        return [found for ref in refs if (found := self._find(ref)) is not None and not has(found)]

    def has_proved(self, job: MakerJob) -> bool:
        """Tell whether everything that a job's node has put out by its var handles, all of them, could be moved."""
        handles = [
            each["handle"]
            for each in job.block.get("outputs_def") or ()
            if isinstance(each, Mapping) and is_var(each.get("json_schema"))
        ]
        return all(self._portable.get(_source(job, handle), False) for handle in handles)

    # ------------------------------------------------------------------ values are exported

    def value(self, job_id: str, attempt: int, place: int) -> VarValue | None:
        """Return a value that lives, by what stands for it or stood for it."""
        made = self._made.get((job_id, attempt))
        found = None if made is None else made.values.get(place)
        return found if found is not None or not self._aliases else self._aliases.get((job_id, attempt, place))

    def exported(
        self, job_id: str, attempt: int, place: int, file: tuple[str, str] | None, why: str | None = None
    ) -> None:
        """Take in that a value was exported, or (None) that it can't be, and why."""
        found = self.value(job_id, attempt, place)
        if found is not None and (found.made.job_id, found.made.attempt, found.number) == (job_id, attempt, place):
            found.file = file
            if file is None:
                found.size, found.why = None, why
            else:
                self.places.add(file[0])

    def carried(self, value: Alias, body: BodyRef | None, why: str | None = None) -> None:
        """Take in that a value is a body, too, or (None) that it can't be, and why."""
        if (found := self.value(*value)) is not None:
            found.body, found.grounded = body, why

    def copied(self, value: Alias, link_id: str, file: tuple[str, str]) -> None:
        """Take in that a value is in a file of another host, too."""
        if (found := self.value(*value)) is not None:
            found.copies[link_id] = file
            self.places.add(file[0])

    # ------------------------------------------------------------------ values are made again

    def remember(self, created: JobCreated, open_jobs: Mapping[str, object]) -> None:
        """Keep how the values of a job are made; its inputs live, for it has them."""
        found = {handle: value.origin for handle, ref in created.inputs.items() if (value := self._find(ref))}
        if self.lineage.keep(Recipe(created, found)):
            self.lineage.sweep((created.job_id, *open_jobs, *(job_id for job_id, _ in self._made)))

    def revive(self, ref: Ref, origin: Origin) -> None:
        """Let a value that was let go be a lost one again: another one can't be made again without it."""
        if self._find(ref) is not None:
            return
        found = self.value(origin.job_id, origin.attempt, origin.place)
        if found is None:
            made = self._made.get((origin.job_id, origin.attempt))
            if made is None:
                made = self._make(origin.job_id, origin.attempt, "", origin.node_id)
                made.closed = True
            made.seen.add(origin.place)
            found = VarValue(made, origin.place, False, None, origin.handle, origin.ordinal)
            made.values[origin.place] = found
            self._idle.append(found)
        if ref[0] == "record":
            self._places.note((ref[1], ref[2], ref[3], ref[4]), found)
        elif (key := StoreKey.match(ref[1])) is not None and key.attempt is not None and key.place is not None:
            self._rename(found, (key.job_id, key.attempt, key.place))

    def remade(self, ref: Ref, recomputes: tuple[tuple[str, int], list[int]]) -> VarValue | None:
        """Let a value that has come stand for the lost one that it is; return that, or None if it isn't wanted."""
        new, old = self._find(ref), self._made.get(recomputes[0])
        if new is None or old is None:
            return None
        lost = [old.values[place] for place in recomputes[1] if place in old.values]
        value = next((each for each in lost if (each.handle, each.ordinal) == (new.handle, new.ordinal)), None)
        if value is None:
            return None
        del old.values[value.number]
        self._rename(value, (old.job_id, old.attempt, value.number))
        made = value.made = new.made
        made.values[new.number] = value
        value.number, value.key, value.size = new.number, new.key, new.size
        self.spent += value.without_body()
        value.file, value.kept, value.why = new.file, new.kept, new.why
        value.body, value.copies, value.grounded = new.body, new.copies, new.grounded
        self._places.add(new.places, value)
        value.places += new.places
        value.holds += new.holds
        if value.holds <= 0:
            self._idle.append(value)
        self._tidy(old)
        return value

    def _rename(self, value: VarValue, alias: Alias) -> None:
        self._aliases[alias] = value
        value.aliases += (alias,)

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
            self.spent += value.without_body()
            self._places.remove(value)
            for alias in value.aliases:
                del self._aliases[alias]
            links = (made.link_id, *value.copies)
            gone += [(link_id, made.job_id, made.attempt, value.number) for link_id in links]
            self._tidy(made)
        return gone

    def end(self) -> None:
        """Let all bodies be spent: the session ends, and its values aren't wanted any more."""
        for made in self._made.values():
            for value in made.values.values():
                self.spent += value.without_body()

    def _tidy(self, made: Made) -> None:
        if made.closed and not made.values:
            self._made.pop((made.job_id, made.attempt), None)

    def of_link(self, link_id: str) -> list[list[Any]]:
        """Return what an executor may keep: job, attempt, what was seen (None: all there will be), what lives of it."""
        return [told for made in self._made.values() if (told := made.told(link_id)) is not None]

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
            "places": sorted(self.places),
            "made": [
                [made.job_id, made.attempt, made.link_id, made.closed, made.seen.to_json(),
                 [each.to_json() for each in made.values.values()], made.node_id, made.counts]
                for made in self._made.values()
            ],
            "lineage": self.lineage.to_json(),
        }  # fmt: skip

    def restore(self, obj: Mapping[str, Any] | None) -> None:
        """Take over what ``to_json`` gave; None for a snapshot that has nothing of it."""
        if obj is None:
            self.complete = False
            return
        self.complete = obj["complete"]
        self._portable = dict(obj.get("portable", {}))
        self.places = set(obj.get("places", ()))
        self._callers = {caller: list(refs) for caller, refs in obj["callers"].items()}
        self.lineage.restore(obj.get("lineage", ()))
        for job_id, attempt, link_id, closed, seen, values, *more in obj["made"]:
            # A snapshot of before doesn't say whose they are.
            made = self._made[job_id, attempt] = Made(job_id, attempt, link_id, more[0] if more else "")
            made.closed, made.seen = closed, Ranges.from_json(seen)
            made.counts = dict(more[1]) if len(more) > 1 else {}
            for fields in values:
                value, aliases = VarValue.restored(made, fields)
                made.values[value.number] = value
                for alias in aliases:
                    self._rename(value, (alias[0], alias[1], alias[2]))
                self._places.add(value.places, value)
                if value.holds <= 0:
                    self._idle.append(value)
        if self._made:
            self._begin()


_MOVED: Final[tuple[Any, ...]] = (None, None, None, -1, None, (), None, None, MappingProxyType({}), None)
"""What snapshots of before don't say of a value."""


def is_var(schema: object) -> bool:
    """Tell whether a handle of this schema has var values."""
    return isinstance(schema, Mapping) and schema.get("contentMediaType") == "oomol/var"


def _source(job: MakerJob, handle: str) -> str:
    return f"{job.flow or ''}/{job.node_id}/{handle}"
