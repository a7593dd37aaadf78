"""Control messages: one dataclass each, one codec for all. The class *is* the validator.

Field names are the wire's names. Unknown fields are skipped; a missing or mistyped one makes the message unreadable.
Nobody changes a message; frozen ones take several times as long to make (dispatch).
"""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, ClassVar, Final

import orjson

from ..errors import RemoteProtocolError
from .checking import Bounds, Check, Loose, Text, checker, described, hints_of, is_object
from .fields import (
    AnnouncementField,
    BlockField,
    BodyNumber,
    Count,
    ErrorField,
    FrameField,
    Json,
    LimitsField,
    LinkId,
    LiveAttempt,
    Object,
    OpenJob,
    ReferenceField,
    Released,
    ReplacedField,
    RowPlace,
    WindowsField,
)
from .placement import MAX_PARTITIONS

__all__ = [
    "MESSAGES",
    "VERSION",
    "Ack",
    "Announce",
    "Bye",
    "Cancel",
    "Carry",
    "Close",
    "Discard",
    "Dispatch",
    "Export",
    "Fetch",
    "Fetched",
    "Gone",
    "Hello",
    "Kept",
    "Message",
    "Page",
    "Ping",
    "Read",
    "Refused",
    "Reply",
    "Request",
    "ServiceMessage",
    "SessionEnded",
    "Spawn",
    "Stalled",
    "Unread",
    "Unspawn",
    "Welcome",
    "Whole",
    "decode",
    "encode",
]

VERSION: Final = 1
"""The protocol's version, spoken in Hello and in the subprotocol name ``asyncblock.v1``."""


@dataclass(slots=True)
class Message:
    """The base of all control messages."""

    op: ClassVar[str]


@dataclass(slots=True)
class Hello(Message):
    """First message up. Who is there, which link this continues, and which jobs are open."""

    op: ClassVar[str] = "hello"
    version: int
    link: LinkId
    """Random, chosen by the sender; names the link across connections."""
    boot: Annotated[str, Text(0, 1000)]
    """Random for each process: a new one is evidence that the old process is gone."""
    generation: Annotated[int, Bounds(0, (1 << 53) - 1)]
    """Counts the connections of this link; a higher one closes the lower ones at once."""
    token: str | None = None
    """The resume token of the last Welcome, or None on a link's first connection."""
    agent: str = ""
    executor: AnnouncementField | None = None
    """As in Announce; None for a link that runs no blocks."""
    channels: list[OpenJob] = field(default_factory=list)
    """Open jobs: ``[channel, job_id, attempt]`` each."""
    replaces: ReplacedField | None = None
    """``{"link", "reason", "secret"}``: evidence that the process behind another link has ended, with that link's
    secret or token. ``"before"`` lists others likewise, whose successors ended before a Welcome. What follows is
    journaled before the Welcome: after that nobody says it again."""
    next_channel: Annotated[int, Bounds(1, (1 << 53) - 1)] = 1
    """One past the highest channel that this link was ever given: records of closed ones may still be on their way, and
    a mainframe that was restarted may not remember them."""
    epoch: str | None = None
    """That of the last Welcome: a link isn't continued in another journal than that which acknowledged its batches."""
    secret: Annotated[str, Text(16, 200)] | None = None
    """Random, 16 to 200 characters, the same in each Hello of a link and told to nobody but whoever may speak for it
    (the parent that starts a process). It proves that the link is its own where the token of a lost Welcome can't, and
    it becomes the token of the link's Welcomes."""


@dataclass(slots=True)
class Announce(Message):
    """What an executor can run: ``{"languages", "packages": {hash: name}, "slots": {"async", "sync", "spawn"}}``.

    With ``"once": true`` it is a process that a Spawn has asked for. ``"accepts"`` lists how hashes begin that it
    doesn't have: jobs that need one of them may come all the same, if it has a package of that name, and run that.
    """

    op: ClassVar[str] = "announce"
    executor: AnnouncementField | None


@dataclass(slots=True)
class Request(Message):
    """A question or an order with an id chosen by the sender; the same id gets the same answer."""

    op: ClassVar[str] = "request"
    id: Annotated[str, Text(0, 1000)]
    method: str
    params: Object
    """Those of the method; see *Requests*."""


@dataclass(slots=True)
class Read(Message):
    """Ask for a page of a session's journal from an offset; waits until there is something."""

    op: ClassVar[str] = "read"
    id: int
    session_id: str
    offset: Annotated[int, Bounds(-1)]
    """-1: the last row, once the session has ended."""
    max_bytes: int = 256 << 10
    """Of the page; one row may have more."""


@dataclass(slots=True)
class Unread(Message):
    """Withdraw a Read."""

    op: ClassVar[str] = "unread"
    id: int


@dataclass(slots=True)
class Fetch(Message):
    """Ask for a part of a body; it comes as chunks numbered ``id`` and a Fetched."""

    op: ClassVar[str] = "fetch"
    id: int
    link: str
    """The link that has sent it: a reference's own, or that of the line in which the reference stands."""
    n: BodyNumber
    offset: Count
    size: Count


@dataclass(slots=True)
class Whole(Message):
    """All chunks of a body were sent: check it and keep it, so that nothing waits for that when its record comes."""

    op: ClassVar[str] = "whole"
    n: BodyNumber
    length: Count
    sha256: str
    """Of its bytes, in hexadecimal."""


@dataclass(slots=True)
class Discard(Message):
    """No record will name these bodies: what is there of them can go. By number; unknown ones are skipped."""

    op: ClassVar[str] = "discard"
    bodies: list[int]


@dataclass(slots=True)
class Stalled(Message):
    """A block keeps its event loop from running; said while it lasts, from outside of that loop."""

    op: ClassVar[str] = "stalled"
    channel: int
    seconds: float
    """How long so far."""
    where: str
    """The author's innermost frame: ``function (file:line)``."""


@dataclass(slots=True)
class Gone(Message):
    """A process that this executor started for one job has ended: evidence, at once."""

    op: ClassVar[str] = "gone"
    link: str
    reason: str
    secret: str | None = None
    """That of the process's link: a mainframe that was restarted doesn't know who started it."""


@dataclass(slots=True)
class Ping(Message):
    """A sign of life, both ways. ``lag`` is how late the user's loop runs, in ms."""

    op: ClassVar[str] = "ping"
    lag: float = 0.0
    stored: int = 0
    """Downwards: the mark again, so that a lost acknowledgement heals itself."""
    held: int = 0
    """Upwards: bytes of var values in this process, about."""
    may_hold: int = 0
    """Upwards: how many it may hold."""
    on_disk: int = 0
    """Upwards: bytes of its var values that are on the disk for want of memory."""
    may_take: int = 0
    """Upwards: how many of the disk they may take."""
    addresses: list[str] = field(default_factory=list)
    """Downwards: as in a Welcome, for they may have changed since."""


@dataclass(slots=True)
class Bye(Message):
    """The last message on a connection. ``stop`` codes end the link, others ask to come back."""

    op: ClassVar[str] = "bye"
    code: str
    reason: str
    stop: bool
    retry_after: float | None = None
    """Seconds."""


@dataclass(slots=True)
class Welcome(Message):
    """First message down: what is stored, and what is allowed."""

    op: ClassVar[str] = "welcome"
    version: int
    epoch: str
    token: str
    resumed: bool
    """False: the mainframe doesn't know this link, or its journal is another one than that which knew it; what was
    acknowledged on it can't be continued."""
    stored: int
    bodies: dict[str, int]
    """Stored bytes of each body that no record in the journal names yet, by number, whole ones included. Of those that
    are whole no chunks are sent, only ``whole`` again."""
    windows: WindowsField
    limits: LimitsField
    heartbeat: float
    """Seconds between pings; three of them without a byte are a lost connection."""
    understands: list[str] = field(default_factory=list)
    """What of that which isn't in every mainframe may be sent: ``whole``, ``discard``, records ``BlockCache``."""
    addresses: list[str] = field(default_factory=list)
    """Where this mainframe is, and those that would take over from it. Empty where nobody would."""
    partitions: Annotated[int, Bounds(1, MAX_PARTITIONS)] = 1
    """How many the set has; this connection is to one of them."""


@dataclass(slots=True)
class Ack(Message):
    """Everything up to and including ``seq`` is in the journal."""

    op: ClassVar[str] = "ack"
    seq: int


@dataclass(slots=True)
class Kept(Message):
    """The body of a Whole is on disk, and is what it should be."""

    op: ClassVar[str] = "kept"
    n: int


@dataclass(slots=True)
class Dispatch(Message):
    """Run this attempt of this job. Repeating it changes nothing."""

    op: ClassVar[str] = "dispatch"
    job_id: str
    attempt: int
    channel: int
    session_id: str
    node_id: str
    stacks: list[FrameField]
    """Where the job stands, from the outermost flow inwards."""
    block: BlockField
    inputs: Object
    bodies: dict[str, ReferenceField] = field(default_factory=dict)
    """Inputs that are bodies: ``{handle: reference with link}``."""
    block_path: str | None = None
    """The block's manifest, if it has one."""
    timeout: float | None = None
    """Seconds, after which the mainframe cancels it."""
    metadata: Object = field(default_factory=dict)
    """What whoever started the session said of it: texts, numbers, booleans and null by name."""
    files: dict[str, str] = field(default_factory=dict)
    """Inputs that are var values of another process: the names of the files that they were exported into, by handle."""
    carried: dict[str, ReferenceField] = field(default_factory=dict)
    """Inputs that are var values of another host, or were there first: the bodies of their files, by handle."""


@dataclass(slots=True)
class Cancel(Message):
    """Cancel this attempt; it may clean up for ``grace`` seconds."""

    op: ClassVar[str] = "cancel"
    job_id: str
    attempt: int
    reason: str
    grace: float = 10.0


@dataclass(slots=True)
class Spawn(Message):
    """Start a process for one job; it says Hello with this link id and secret and takes that job alone."""

    op: ClassVar[str] = "spawn"
    link: str
    job_id: str
    secret: str | None = None
    """None from a mainframe that asks for no proof."""


@dataclass(slots=True)
class Unspawn(Message):
    """End such a process: its job is over. One that leaves by itself needs nothing."""

    op: ClassVar[str] = "unspawn"
    link: str
    reason: str


@dataclass(slots=True)
class Close(Message):
    """This attempt isn't open any more: stop it, send nothing for it, forget its channel."""

    op: ClassVar[str] = "close"
    channel: int
    job_id: str
    attempt: int
    reason: str


@dataclass(slots=True)
class SessionEnded(Message):
    """A session is over: its var values can go."""

    op: ClassVar[str] = "session_ended"
    session_id: str


@dataclass(slots=True)
class Release(Message):
    """Var values of a session that no job can ask for any more. To an executor that understands it."""

    op: ClassVar[str] = "release"
    session_id: str
    values: list[Released]
    """``[job_id, attempt, [[first, end], ...]]``: ranges of places, the end not included."""


@dataclass(slots=True)
class Live(Message):
    """What lives of an executor's var values; after a Welcome, for releases may have been lost. In one part or more."""

    op: ClassVar[str] = "live"
    sessions: dict[str, list[LiveAttempt] | None]
    """The sessions that run and have had jobs on this link; null for one of which that isn't known, else a list of
    ``[job_id, attempt, seen, places]``, in ranges: which values of the attempt the mainframe has seen, null for all
    that there will be, and which of them live. Attempts may be left out that are over and have none."""
    more: bool = False
    """Another part follows."""


@dataclass(slots=True)
class Export(Message):
    """Write a var value into a file, for another process of this host, and say so by the request ``exported``.

    Sent again after a Welcome; whoever has written it answers the same.
    """

    op: ClassVar[str] = "export"
    session_id: str
    job_id: str
    attempt: int
    place: int


@dataclass(slots=True)
class Carry(Message):
    """Send the file of a var value as a body, for an executor that can't open it, and name that by ``carried``.

    Only to an executor that announces it. Sent again after a Welcome; whoever sends the body already goes on with it.
    """

    op: ClassVar[str] = "carry"
    session_id: str
    job_id: str
    attempt: int
    place: int
    most: int
    """Bytes that it may have: ``carried_bytes`` of the mainframe's settings."""
    file: str | None = None
    """Its name; None where it has to be written first, as for an ``export``."""


@dataclass(slots=True)
class ServiceMessage(Message):
    """Something that a client says to a running service. Not kept, not repeated."""

    op: ClassVar[str] = "service_message"
    session_id: str
    node_id: str
    package: str
    """The hash of the code of the service's package, as in a block; not the package's name."""
    dir: str
    """The service's directory in it."""
    payload: Json
    job_id: str | None = None
    """The call that it is about, if it is about one."""


@dataclass(slots=True)
class Refused(Message):
    """A record was journaled but not applied. ``index`` counts the channel's records from 0; where no job has the
    channel, those of a line, and the journal has nothing of them."""

    op: ClassVar[str] = "refused"
    channel: int
    index: int
    reason: str
    count: int = 1
    """How many of the channel's records of that batch it stands for; ``index`` and ``reason`` are the first one's."""


@dataclass(slots=True)
class Reply(Message):
    """The answer to a Request: a result, or an error ``{"code", "message", ...}``."""

    op: ClassVar[str] = "reply"
    id: str
    result: Object | None = None
    error: ErrorField | None = None


@dataclass(slots=True)
class Page(Message):
    """Rows of a session's journal; as many data lines follow as ``lines`` says."""

    op: ClassVar[str] = "page"
    id: int
    next: int
    """The offset to read from next."""
    lines: int
    rows: list[RowPlace]
    """``[offset, lines]`` of each row, in order."""
    end: bool
    """Nothing will follow: the session is over."""
    error: str | None = None


@dataclass(slots=True)
class Fetched(Message):
    """All chunks of a Fetch were sent, or why not."""

    op: ClassVar[str] = "fetched"
    id: int
    error: str | None = None


MESSAGES: Final[dict[str, type[Message]]] = {
    cls.op: cls
    for cls in (
        Hello, Announce, Whole, Discard, Stalled, Gone, Request, Read, Unread, Fetch, Ping, Bye, Welcome, Ack, Kept,
        Dispatch, Cancel, Spawn, Unspawn, Close, SessionEnded, Release, Live, Export, Carry, ServiceMessage, Refused,
        Reply, Page, Fetched,
    )
}  # fmt: skip


_MISSING: Final = object()
_SECRETS: Final = frozenset({"token", "secret", "replaces"})
"""Fields whose values stand in no reason and no log."""


def encode(message: Message) -> bytes:
    """Encode a control line."""
    line: dict[str, object] = {"op": message.op}
    for name in _SPECS[message.op]:
        line[name] = getattr(message, name)
    for name, default in _LATER.get(message.op, ()):
        if line[name] == default:
            del line[name]
    # A copy: a request's is kept until its answer comes, and the encoder's bytes hold 4 KiB.
    return bytes(memoryview(orjson.dumps(line)))


def decode(line: dict[str, object]) -> Message:
    """Make a message of a control line; ``RemoteProtocolError`` says which field is wrong."""
    op = line["op"]
    cls = MESSAGES.get(op) if isinstance(op, str) else None
    if cls is None:
        raise RemoteProtocolError(f"unknown control message {op!r:.80}")
    values: dict[str, Any] = {}
    for name, (kinds, required, check) in _SPECS[cls.op].items():
        value = line.get(name, _MISSING)
        if value is _MISSING:
            if required:
                raise RemoteProtocolError(f"{op!r} lacks the field {name!r}")
        elif kinds is None or type(value) in kinds:
            # Exact types, as the JSON decoder makes them: a bool is no number here.
            if check is not None and (wrong := check(value)) is not None:
                raise RemoteProtocolError(f"{op!r}: field {wrong.below(name).path!r:.200} must be {wrong.wanted}")
            values[name] = value
        elif name in _SECRETS:
            raise RemoteProtocolError(f"{op!r}: field {name!r} can't be {type(value).__name__}")
        else:
            shown = f"{value!r:.80}" if not isinstance(value, (str, list, dict)) else _shown(value)
            raise RemoteProtocolError(f"{op!r}: field {name!r} can't be {shown}")
    return cls(**values)


def _kinds(hint: Any) -> frozenset[type] | None:
    """Return what a field's value may be, at first sight; None for anything."""
    hint = described(hint)
    if hint is Any:
        return None
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return frozenset(kind for part in typing.get_args(hint) for kind in _kinds(part) or ())
    origin = typing.get_origin(hint) or hint
    return frozenset({int, float} if origin is float else {dict if is_object(origin) else origin})


def _deep(hint: Any) -> Check | None:
    """Return the check of what a list or an object holds; None where the first sight says all."""
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    parts = tuple(part for part in parts if typing.get_origin(part) is not typing.Annotated or not _is_loose(part))
    shallow = {str, int, float, bool, type(None), Any, dict[str, Any]}
    return checker(hint) if any(described(part) not in shallow for part in parts) else None


def _is_loose(hint: Any) -> bool:
    return any(isinstance(each, Loose) for each in typing.get_args(hint)[1:])


def _spec(cls: type[Message]) -> dict[str, tuple[frozenset[type] | None, bool, Check | None]]:
    hints = hints_of(cls)  # type: ignore[arg-type]  # a class, not an instance of it
    return {
        f.name: (
            _kinds(hints[f.name]),
            f.default is MISSING and f.default_factory is MISSING,
            _deep(hints[f.name]),
        )
        for f in fields(cls)
    }


_SPECS: Final = {op: _spec(cls) for op, cls in MESSAGES.items()}
_LATER: Final[dict[str, tuple[tuple[str, object], ...]]] = {
    **{op: (("secret", None),) for op, spec in _SPECS.items() if "secret" in spec},
    "refused": (("count", 1),),
    "dispatch": (("metadata", {}), ("files", {}), ("carried", {})),
    "carry": (("file", None),),
    "welcome": (("addresses", []), ("partitions", 1)),
    "ping": (("addresses", []),),
}
"""Fields that earlier lines don't have, by op: they aren't written while they say nothing."""


def _shown(value: str | list[Any] | dict[str, Any]) -> str:
    """Return a value for people, however large it is."""
    if isinstance(value, str):
        return f"{value[:80]!r:.80}"
    return "a list" if isinstance(value, list) else "an object"
