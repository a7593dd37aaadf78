"""Events: what a session's journal says, typed. One frozen dataclass for each kind, in the order of the journal.

Large values are not in an event: ``body`` refers to them, and ``Session.fetch`` brings them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from itertools import chain
from typing import Any, ClassVar, Final, TypeAlias, cast

import orjson

from .errors import RemoteProtocolError
from .looks import bundle_of
from .wire.bodies import BodyRef

__all__ = [
    "AnyEvent",
    "BlockCache",
    "BlockError",
    "BlockEvent",
    "BlockFinished",
    "BlockJobFinished",
    "BlockLog",
    "BlockLogJSON",
    "BlockMessage",
    "BlockOutput",
    "BlockOutputs",
    "BlockPreview",
    "BlockProgress",
    "BlockStarted",
    "BlockWarning",
    "Event",
    "FailedJob",
    "FlowJobFinished",
    "FlowJobOutput",
    "FlowJobStarted",
    "JobAssigned",
    "JobCreated",
    "JobFailed",
    "JobReleased",
    "JobRetrying",
    "JobStalled",
    "JobWaiting",
    "JournalBroken",
    "LateRecords",
    "LostValue",
    "Other",
    "SessionCancelled",
    "SessionFinished",
    "SessionStarted",
    "TablePages",
    "VersionAccepted",
    "events_of_row",
    "value_in_row",
]


_LEFT_OUT: Final = frozenset(
    {"body", "bodies", "error", "failed", "traceback", "id", "error_type", "lost", "pages", "recomputes"}
)
"""Fields that an event's JSON has only when they are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a session."""

    type: ClassVar[str] = "Event"
    session_id: str
    offset: int
    """The journal row that holds it; read on from ``offset + 1``."""
    t: int
    """When, in ms since the epoch: the author's clock for records, the mainframe's for the rest."""

    def to_json(self) -> dict[str, Any]:
        """Return the event as a JSON-ready dict that begins with its type."""
        out: dict[str, Any] = {"type": self.type}
        for cls in reversed(type(self).__mro__):
            for name in getattr(cls, "__slots__", ()):
                value = getattr(self, name)
                if value is None and name in _LEFT_OUT:
                    continue
                out[name] = _plain(value)
        return out


def _plain(value: Any) -> Any:
    if isinstance(value, BodyRef):
        return value.to_json()
    if isinstance(value, TablePages):
        said: dict[str, Any] = {"body": value.body.to_json(), "rows": value.rows, "index": [*map(list, value.index)]}
        for name in ("note", "at", "tables"):
            if found := getattr(value, name):
                said[name] = found if name == "note" else [_plain(each) for each in found]
        return said
    if isinstance(value, FailedJob):
        made = {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
        return made if value.lost is not None else {name: each for name, each in made.items() if name != "lost"}
    if isinstance(value, LostValue):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted(Event):
    """The session began."""

    type: ClassVar[str] = "SessionStarted"
    title: str
    path: str | None
    nodes: tuple[str, ...] = ()
    """The flow's nodes, in the order of the file."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What it was started with besides its inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCancelled(Event):
    """The session was cancelled; its jobs clean up now."""

    type: ClassVar[str] = "SessionCancelled"
    reason: str


@dataclass(frozen=True, slots=True)
class LostValue:
    """A var value that a job needs and that went with its process."""

    handle: str
    node_id: str
    """The node that has put it out, and must run again; empty where that isn't known."""
    job_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class FailedJob:
    """The job of which a session has failed."""

    job_id: str
    node_id: str | None = None
    attempt: int = 1
    offset: int | None = None
    """The journal row of its BlockFinished, which has the traceback; None where the mainframe has ended it."""
    lost: LostValue | None = None
    """Why it couldn't begin, where that is a value that is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFinished(Event):
    """The session's one terminal state: ``succeeded``, ``failed`` or ``cancelled``."""

    type: ClassVar[str] = "SessionFinished"
    state: str
    error: str | None
    outputs: dict[str, Any]
    """The last value of each output of the flow."""
    bodies: dict[str, BodyRef] = field(default_factory=dict)
    """Outputs that are bodies."""
    failed: FailedJob | None = None
    """What failed, where it is known."""

    def to_json(self) -> dict[str, Any]:
        return {**Event.to_json(self), "error": self.error}


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalBroken(Event):
    """Events that followed the one before this may be lost: the journal was restored, or cut by a power loss."""

    type: ClassVar[str] = "JournalBroken"
    epoch: str
    """The journal's identity from here on."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEvent(Event):
    """Something that happened in a job."""

    job_id: str
    node_id: str
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCreated(BlockEvent):
    """A node's inputs are complete: a job waits for an executor."""

    type: ClassVar[str] = "JobCreated"
    stacks: tuple[dict[str, Any], ...] = ()
    recomputes: str | None = None
    """The job that it runs again for var values that are lost; nothing else that it puts out goes anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowJobStarted(BlockEvent):
    """A run of a subflow began; ``job_id`` is the ``flow_job_id`` in the stacks of what runs in it."""

    type: ClassVar[str] = "FlowJobStarted"
    stacks: tuple[dict[str, Any], ...] = ()
    caller: str | None = None
    """The job that asked for it, when no node did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowJobFinished(BlockEvent):
    """A run of a subflow is over."""

    type: ClassVar[str] = "FlowJobFinished"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowJobOutput(BlockEvent):
    """A run of a subflow that a block asked for has put out a value."""

    type: ClassVar[str] = "FlowJobOutput"
    handle: str
    ref: tuple[int, int, int, str] | None = None
    """Row, line, record and handle that hold the value; None when it is ``value``."""
    value: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockJobFinished(BlockEvent):
    """A job that another job asked for is over, with all its attempts."""

    type: ClassVar[str] = "BlockJobFinished"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAssigned(BlockEvent):
    """An executor was given the job."""

    type: ClassVar[str] = "JobAssigned"
    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockStarted(BlockEvent):
    """The block's code is about to run."""

    type: ClassVar[str] = "BlockStarted"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOutput(BlockEvent):
    """A value on an output handle."""

    type: ClassVar[str] = "BlockOutput"
    handle: str
    output: Any = None
    body: BodyRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOutputs(BlockEvent):
    """Values on several output handles."""

    type: ClassVar[str] = "BlockOutputs"
    outputs: dict[str, Any]
    bodies: dict[str, BodyRef] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockProgress(BlockEvent):
    """How far a block is, from 0 to 100."""

    type: ClassVar[str] = "BlockProgress"
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLog(BlockEvent):
    """A line of a block's output."""

    type: ClassVar[str] = "BlockLog"
    log: str
    stdio: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLogJSON(BlockEvent):
    """A value that a block logged."""

    type: ClassVar[str] = "BlockLogJSON"
    json: Any = None
    body: BodyRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockMessage(BlockEvent):
    """A message of a block to those who watch."""

    type: ClassVar[str] = "BlockMessage"
    payload: Any = None
    body: BodyRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockWarning(BlockEvent):
    """A warning of a block or about it."""

    type: ClassVar[str] = "BlockWarning"
    warning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCache(BlockEvent):
    """What the cache of results had for a job: ``hit`` or ``miss`` when it begins, ``kept`` or ``not kept`` at its end.

    What a ``hit`` is followed by was put out by an earlier job.
    """

    type: ClassVar[str] = "BlockCache"
    state: str
    why: str
    """In words; empty for ``kept``."""
    made_at: int | None = None
    """When the result of a hit was made, in ms since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockError(BlockEvent):
    """An error that a block tells of; it doesn't fail the job."""

    type: ClassVar[str] = "BlockError"
    error: str


@dataclass(frozen=True, slots=True)
class TablePages:
    """The rows of a table that its preview shows a part of; ``Session.page`` fetches some of them."""

    body: BodyRef
    """An array of pages, each of which is an array of rows."""
    rows: int
    """How many rows are in the pages: the first ones of the table."""
    index: tuple[tuple[int, int, int], ...]
    """For each page its first row, and the offset and the size of its JSON in the body."""
    note: str | None = None
    """What was cut."""
    at: tuple[int, ...] = ()
    """Of a table in a group: which of the things it is that ``payload["data"]`` lists, and of those in that."""
    tables: tuple[TablePages, ...] = ()
    """The pages of a group's tables, in the same body; of the group itself there are no rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPreview(BlockEvent):
    """Something to look at: ``payload`` is ``{"type", "data"}``. ``pages`` has the rows of longer tables.

    Where it is a body, ``about`` says what: its ``type`` and ``size``, and as far as they are known ``title``,
    ``note``, ``rows``, ``columns``, ``pixels`` (width and height) and ``count`` of several things.
    """

    type: ClassVar[str] = "BlockPreview"
    payload: Any = None
    id: str | None = None
    body: BodyRef | None = None
    about: dict[str, Any] | None = None
    pages: TablePages | None = None

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return bundle_of(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFinished(BlockEvent):
    """The block's own end of the attempt."""

    type: ClassVar[str] = "BlockFinished"
    error: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    bodies: dict[str, BodyRef] = field(default_factory=dict)
    cancelled: bool = False
    traceback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailed(BlockEvent):
    """The mainframe ended an attempt: lease lost, time up, no executor."""

    type: ClassVar[str] = "JobFailed"
    error: str
    lost: LostValue | None = None
    """Why it couldn't begin, where that is a value that is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStalled(BlockEvent):
    """A block keeps its event loop from running; said while it lasts."""

    type: ClassVar[str] = "JobStalled"
    seconds: float
    where: str
    """The author's innermost frame: ``function (file:line)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRetrying(BlockEvent):
    """An attempt has failed, and the block's policy allows another one. What it sent downstream never went there."""

    type: ClassVar[str] = "JobRetrying"
    error: str
    """What the attempt came to."""
    pause: float
    """Seconds before the next attempt."""
    at: int
    """When it is due, in ms since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReleased(BlockEvent):
    """An executor was given the job and never began it; it is handed out again."""

    type: ClassVar[str] = "JobReleased"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWaiting(BlockEvent):
    """No connected executor can run the job: said soon, and again when there is another reason."""

    type: ClassVar[str] = "JobWaiting"
    version: str
    """The hash of the code that is missing."""
    reason: str
    """What is missing, what there is, what to do, and how long it waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionAccepted(BlockEvent):
    """The job runs another version of its code than its session began with: its executor was told to."""

    type: ClassVar[str] = "VersionAccepted"
    version: str
    """What the session began with."""
    instead: list[str]
    """What its executor has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LateRecords(BlockEvent):
    """Records of an attempt that was over already: kept to be looked at, they change nothing."""

    type: ClassVar[str] = "LateRecords"
    link: str
    """Whose they are."""
    records: list[dict[str, Any]]
    """As they came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Other(Event):
    """An entry that this version has no type for, or that only matters to the mainframe."""

    type: ClassVar[str] = "Other"
    name: str
    fields: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {"type": self.name, **self.fields, "session_id": self.session_id, "offset": self.offset, "t": self.t}


AnyEvent: TypeAlias = (
    SessionStarted
    | SessionCancelled
    | SessionFinished
    | VersionAccepted
    | JournalBroken
    | JobCreated
    | FlowJobStarted
    | FlowJobFinished
    | FlowJobOutput
    | BlockJobFinished
    | JobAssigned
    | BlockStarted
    | BlockOutput
    | BlockOutputs
    | BlockProgress
    | BlockLog
    | BlockLogJSON
    | BlockMessage
    | BlockWarning
    | BlockError
    | BlockPreview
    | BlockFinished
    | BlockCache
    | JobFailed
    | JobStalled
    | JobWaiting
    | JobRetrying
    | JobReleased
    | LateRecords
    | Other
)
"""Each event that there is: what a ``match`` has to tell apart."""

_RECORDS: Final[dict[str, type[BlockEvent]]] = {
    "JobStarted": BlockStarted,
    **{
        cls.type: cls
        for cls in (
            BlockOutput, BlockOutputs, BlockProgress, BlockLog, BlockLogJSON, BlockMessage, BlockWarning, BlockError,
            BlockPreview, BlockFinished, BlockCache,
        )
    },
}  # fmt: skip


_REFERENCES: Final = ("body", "bodies", "result", "pages")
"""Fields that aren't just what the record holds: references of bodies, and a dict of its own where there is none."""

_SET_SESSION, _SET_OFFSET, _SET_T = (Event.__dict__[name].__set__ for name in ("session_id", "offset", "t"))
_SET_JOB, _SET_NODE, _SET_ATTEMPT = (BlockEvent.__dict__[name].__set__ for name in ("job_id", "node_id", "attempt"))


class _Maker:
    """Makes events of one type from records.

    It fills the slots itself: a frozen dataclass's own constructor takes five times as long, and a subscriber makes an
    event of every record (throughput).
    """

    def __init__(self, cls: type[BlockEvent]) -> None:
        self._cls = cls
        own = [each for each in fields(cls) if each.name in cls.__dict__["__slots__"]]
        filled = [(cls.__dict__[each.name].__set__, each.name, each.default, each.default_factory) for each in own]
        self._copied = [(fill, name, default) for fill, name, default, _ in filled if name not in _REFERENCES]
        self._made = [entry for entry in filled if entry[1] in _REFERENCES]

    def make(self, session_id: str, offset: int, line: dict[str, Any], record: dict[str, Any]) -> AnyEvent:
        """Make the event of a record in a line of a row."""
        event = object.__new__(self._cls)
        _SET_SESSION(event, session_id)
        _SET_OFFSET(event, offset)
        _SET_T(event, record["t"])
        _SET_JOB(event, line["job_id"])
        _SET_NODE(event, line["node_id"])
        _SET_ATTEMPT(event, line["attempt"])
        for fill, name, default in self._copied:
            fill(event, record.get(name, default))
        for fill, name, default, factory in self._made:
            if name in record:
                fill(event, _read(name, record, line["link"]))
            else:
                fill(event, factory() if factory is not MISSING else default)
        return cast("AnyEvent", event)


class _Mould(BlockEvent):
    """What becomes a BlockOutput: alike in its slots, but one can set them as on any object, in a third of the time."""

    __slots__ = ("body", "handle", "output")
    # Both: with one of them alone every assignment takes the slow way through the frozen base.
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


_MAKERS: Final = {name: _Maker(cls) for name, cls in _RECORDS.items()}


def events_of_row(session_id: str, offset: int, lines: list[bytes]) -> Iterator[AnyEvent]:
    """Make typed events of a journal row, those of a line when the first of them is asked for.

    Raises ``RemoteProtocolError`` for a line that no journal has.
    """
    return chain.from_iterable(_line_events(session_id, offset, line) for line in lines)


def _line_events(session_id: str, offset: int, line: bytes) -> list[AnyEvent]:
    try:
        obj = orjson.loads(line)
        if "records" in obj:
            return _record_events(session_id, offset, obj)
        return [_entry_event(session_id, offset, obj)]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # The line wasn't written by us: it may be anything.
        why = f"{type(error).__name__}: {error}"
        raise RemoteProtocolError(f"row {offset} of session {session_id} isn't what rows are: {why:.300}") from error


def _record_events(session_id: str, offset: int, obj: dict[str, Any]) -> list[AnyEvent]:
    records = obj["records"]
    if obj.get("late"):
        times = [record["t"] for record in records if type(record) is dict and type(record.get("t")) is int]
        late = LateRecords(
            session_id=session_id,
            offset=offset,
            t=max(times, default=0),
            job_id=obj["job_id"],
            node_id=obj["node_id"],
            attempt=obj["attempt"],
            link=obj["link"],
            records=records,
        )
        return [late]
    if "refused" in obj:
        refused = {index for index, _ in obj["refused"]}
        records = [record for index, record in enumerate(records) if index not in refused]
    return _typed(session_id, offset, obj, records)


def _typed(session_id: str, offset: int, line: dict[str, Any], records: list[dict[str, Any]]) -> list[AnyEvent]:
    """Make the events of records. Outputs, which most are, are made here without a call for each (throughput)."""
    job_id, node_id, attempt = line["job_id"], line["node_id"], line["attempt"]
    found: list[AnyEvent] = []
    for record in records:
        name = record["type"]
        if name == "BlockOutput" and "body" not in record:
            event: Any = object.__new__(_Mould)
            event.session_id = session_id
            event.offset = offset
            event.t = record["t"]
            event.job_id = job_id
            event.node_id = node_id
            event.attempt = attempt
            event.handle = record["handle"]
            event.output = record["output"]
            event.body = None
            event.__class__ = BlockOutput
            found.append(event)
        elif (maker := _MAKERS.get(name)) is not None:
            found.append(maker.make(session_id, offset, line, record))
        else:
            found.append(_other_event(session_id, offset, line, record))
    return found


def _other_event(session_id: str, offset: int, obj: dict[str, Any], record: dict[str, Any]) -> AnyEvent:
    fields = {**record, "job_id": obj["job_id"], "node_id": obj["node_id"]}
    return Other(session_id=session_id, offset=offset, t=record["t"], name=record["type"], fields=fields)


def value_in_row(line: bytes, index: int, handle: str) -> tuple[Any, BodyRef | None]:
    """Return the value that a record of a row's line holds for a handle, or the reference of the body that does."""
    obj = orjson.loads(line)
    record = obj["records"][index]
    body = record.get("body") or record.get("bodies", {}).get(handle)
    if body is not None:
        return None, BodyRef.from_json({"link": obj["link"], **body})
    if "output" in record:
        return record["output"], None
    values = record.get("outputs") or record.get("result") or record.get("values") or {}
    return values.get(handle), None


def _read_pages(body: BodyRef, said: dict[str, Any]) -> TablePages:
    tables = tuple(_read_pages(body, each) for each in said.get("tables", ()))
    index = tuple((first, offset, size) for first, offset, size in said["index"])
    return TablePages(body, said["rows"], index, said.get("note"), tuple(said.get("at", ())), tables)


def _read(name: str, record: dict[str, Any], link: str) -> Any:
    """Make what a field of a record holds: references of bodies get the link that sent them."""
    value = record[name]
    if name == "pages":
        body = BodyRef.from_json({"link": link, **record["bodies"][name]})
        assert body is not None
        return _read_pages(body, value)
    if name == "body":
        return BodyRef.from_json({"link": link, **value})
    if name == "bodies":
        return {handle: BodyRef.from_json({"link": link, **ref}) for handle, ref in value.items()}
    return value


def _failed_job(obj: Any) -> FailedJob | None:
    if not isinstance(obj, dict):
        return None
    return FailedJob(
        obj["job_id"], obj.get("node_id"), obj.get("attempt", 1), obj.get("offset"), _lost(obj.get("lost"))
    )


def _lost(obj: Any) -> LostValue | None:
    return LostValue(obj["handle"], obj["node_id"], obj["job_id"], obj["attempt"]) if isinstance(obj, dict) else None


def _entry_event(session_id: str, offset: int, obj: dict[str, Any]) -> AnyEvent:
    common: dict[str, Any] = {"session_id": session_id, "offset": offset, "t": obj.get("t", 0)}
    job: dict[str, Any] = {**common, "job_id": obj.get("job_id", ""), "attempt": obj.get("attempt", 1)}
    match obj["type"]:
        case "SessionStarted":
            nodes = tuple(str(node.get("node_id")) for node in obj["plan"].get("nodes", ()) if isinstance(node, dict))
            said = obj.get("metadata", {})
            return SessionStarted(**common, title=obj["title"], path=obj.get("path"), nodes=nodes, metadata=said)
        case "SessionCancelled":
            return SessionCancelled(**common, reason=obj["reason"])
        case "JournalBroken":
            return JournalBroken(**common, epoch=obj["epoch"], reason=obj["reason"])
        case "SessionFinished":
            bodies = {handle: BodyRef.from_json(ref) for handle, ref in obj["bodies"].items()}
            return SessionFinished(
                **common,
                state=obj["state"],
                error=obj["error"],
                outputs=obj["outputs"],
                bodies={handle: ref for handle, ref in bodies.items() if ref is not None},
                failed=_failed_job(obj.get("failed")),
            )
        case "JobCreated":
            again = obj.get("recomputes")
            first = None if again is None else again[0]
            return JobCreated(**job, node_id=obj["node_id"], stacks=tuple(obj["stacks"]), recomputes=first)
        case "FlowJobStarted":
            return FlowJobStarted(**job, node_id=obj["node_id"], stacks=tuple(obj["stacks"]), caller=obj.get("caller"))
        case "FlowJobFinished":
            return FlowJobFinished(**job, node_id=obj["node_id"], error=obj.get("error"))
        case "FlowJobOutput":
            ref = obj["ref"]
            place = (ref[1], ref[2], ref[3], ref[4]) if ref[0] == "record" else None
            return FlowJobOutput(**job, node_id="", handle=obj["handle"], ref=place, value=obj.get("value"))
        case "BlockJobFinished":
            return BlockJobFinished(**job, node_id=obj["node_id"], error=obj["error"])
        case "FlowJobProgress":
            return BlockProgress(**job, node_id=obj["node_id"], rate=obj["rate"])
        case "BlockPreview":
            shown = {key: _read(key, obj, obj["link"]) for key in ("payload", "id", "body", "about") if key in obj}
            return BlockPreview(**job, node_id=obj["node_id"], **shown)
        case "JobAssigned":
            return JobAssigned(**job, node_id=obj.get("node_id", ""), link=obj["link"])
        case "JobFailed":
            return JobFailed(**job, node_id=obj.get("node_id", ""), error=obj["error"], lost=_lost(obj.get("lost")))
        case "JobRetrying":
            plan = {name: obj[name] for name in ("error", "pause", "at")}
            return JobRetrying(**job, node_id=obj["node_id"], **plan)
        case "JobReleased":
            return JobReleased(**job, node_id=obj.get("node_id", ""), reason=obj["reason"])
        case "JobWaiting":
            return JobWaiting(**job, node_id=obj["node_id"], version=obj["version"], reason=obj["reason"])
        case "VersionAccepted":
            return VersionAccepted(**job, node_id=obj["node_id"], version=obj["version"], instead=obj["instead"])
        case "JobStalled":
            return JobStalled(**job, node_id=obj["node_id"], seconds=obj["seconds"], where=obj["where"])
    fields = {key: value for key, value in obj.items() if key not in ("type", "t")}
    return Other(**common, name=obj["type"], fields=fields)
