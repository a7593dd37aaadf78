"""What the fields of messages hold that are objects and arrays. A field of these types is a ``dict`` or a ``list``.

From these types come the checks of whoever reads (``checking``), the JSON Schema and the reference page. Keys that
stand here and in no ``NotRequired`` must be there; further ones are skipped.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from .checking import Bounds, Loose, Text

__all__ = [
    "Announcement",
    "BlockFields",
    "Count",
    "FlowFields",
    "FrameFields",
    "HandleDef",
    "InputFields",
    "Json",
    "Limits",
    "LinkId",
    "LiveAttempt",
    "NodeFields",
    "Object",
    "OpenJob",
    "PlanFields",
    "Ranges",
    "Reference",
    "Released",
    "Replaced",
    "ReplyError",
    "RowPlace",
    "Slots",
    "SourceFields",
    "Windows",
]

Json = Any
"""Any JSON value."""

Object = dict[str, Any]

Count = Annotated[int, Bounds(0)]
Slot = Annotated[int, Bounds(0, 1_000_000)]
LinkId = Annotated[str, Text(1, 100, r"^(?!mainframe-)[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
Name = Annotated[str, Text(1, 200)]
Words = Annotated[str, Text(1, 1000)]
BodyNumber = Annotated[int, Bounds(1, (1 << 53) - 1)]


Slots = TypedDict("Slots", {"async": Slot, "sync": Slot, "spawn": Slot}, total=False)


class Announcement(TypedDict, total=False):
    """What an executor can run. ``languages``, ``packages`` and ``slots`` with ``async`` must be there."""

    languages: list[Name]
    """Names that the ``executor.name`` of a block may have: ``python``, ``nodejs``."""
    packages: dict[str, Words]
    """The packages whose blocks run here: name by hash."""
    slots: Slots
    """How many jobs it runs at once. ``sync``: of blocks that are no coroutines (``block.sync``), each on a thread; as
    many as ``async`` where it is missing. ``spawn``: processes of their own (``block.spawn``), 0 where it is missing.
    """
    once: bool
    """It is the process that a Spawn has asked for, and takes the one job."""
    accepts: list[Annotated[str, Text(0, 200)]]
    """How hashes begin that it doesn't have: it runs what it has of a package of that name instead."""
    host: Annotated[str, Text(16, 200)] | None
    """The same for executors that can open each other's files, and known to nobody else: values may move in files."""
    disk: Annotated[str, Text(16, 200)] | None
    """The same for executors that can open each other's files on a disk, also of those that have left."""
    offers: dict[Name, float]
    """How much there is of each resource that blocks may need: ``memory`` in bytes, ``gpu``. From 0 on; up to 32."""
    labels: list[Name]
    """What else it has that blocks may need. Up to 32."""
    pool: Annotated[str, Text(16, 200)] | None
    """The same for executors that have what they offer together, and known to nobody else."""
    understands: list[Name]
    """Which of the messages that not every executor knows may be sent to it: ``release``, ``live``."""


class Dead(TypedDict):
    """A link whose process has ended."""

    link: str
    reason: NotRequired[str]
    secret: NotRequired[str | None]
    """That link's secret: it or its resume token is needed."""
    token: NotRequired[str | None]
    """That link's resume token."""


class Replaced(Dead):
    """A link whose process has ended, and those before it of whose end nobody has told."""

    before: NotRequired[list[Dead]]


class Windows(TypedDict, total=False):
    """Bytes of encoded records in flight; at most, on the sender's side."""

    data: Count
    """Of a job's outputs."""
    telemetry: Count
    """Of a job's logs, messages and previews."""
    link: Count
    """Of all jobs of a link."""


class Limits(TypedDict, total=False):
    """What a mainframe takes at most. A name that is missing has the value that the reference page says."""

    message: Count
    """Bytes of a message, either way."""
    line: Count
    """Bytes of a line of records."""
    records: Count
    """Records of a batch; a line without any counts as one."""
    value: Count
    """Bytes of a body."""
    chunk: Count
    """Bytes of a body in one binary message."""
    lines: Count
    """Lines of a message upwards."""
    depth: Count
    """Levels of nesting of a record, and of a request's parameters."""
    words: Count
    """Characters of the ids of requests, and of ``boot``; longer reasons are cut."""
    channels: Count
    """Open jobs that a Hello names."""
    dead: Count
    """Links in ``replaces.before``."""
    links: Count
    """Links that one connection carries."""
    languages: Count
    """Of an announcement."""
    packages: Count
    """Of an announcement."""
    accepts: Count
    """Of an announcement."""
    slots: Count
    """The largest number of slots."""
    bodies: Count
    """Bodies of a link that no record names yet; numbers in a ``discard``."""
    unnamed_bytes: Count
    """Bytes of these bodies."""
    plan: Count
    """Bytes of the plan and inputs of a ``start``."""
    metadata: Count
    """Bytes of the metadata of a ``start``."""
    block: Count
    """Bytes of one node's block, in a plan that has more than as many."""
    nodes: Count
    """Nodes of a plan."""
    inline: Count
    """Bytes of the inputs that a dispatch carries; what goes beyond comes as bodies."""
    sessions: Count
    """Sessions that run at once."""
    session_bytes: Count
    """Bytes of a session's journal and bodies, before it fails."""
    carried_bytes: Count
    """Bytes of a var value that travels to another host as a body."""
    blocks: Count
    """Blocks that one job has asked for and that haven't ended."""
    arguments: Count
    """``BlockArguments`` of one job whose ``run_block`` hasn't come."""
    listed: Count
    """Sessions in an answer to ``sessions``."""
    reads: Count
    """Reads of a connection that wait, and as many fetches; more of them are refused."""
    questions: Count
    """Requests of a connection that ask the disk at once; more of them wait."""
    unread_bytes: Count
    """Bytes of answers, and of requests that wait, of a connection, before nothing more is read from it."""
    page: Count
    """Bytes of a page of several rows."""
    http_body: Count
    """Bytes of a body in one HTTP answer."""
    connections: Count
    """Connections at once."""


class Reference(TypedDict):
    """A body."""

    n: BodyNumber
    length: Count
    sha256: Annotated[str, Text(64, 64, "^[0-9a-f]{64}$")]
    encoding: Literal["json", "raw"]
    """``raw``: it is bytes. ``json``: one JSON value, see *Bodies*."""
    link: NotRequired[str | None]
    """The link that has sent it; missing where that is the one of the record."""


class FrameFields(TypedDict, total=False):
    """A level of where a job stands: the run of a flow, and a node in it."""

    flow_job_id: str
    """The id of the flow's run; for the outermost, of the session."""
    flow: str | None
    """The flow's file."""
    node_id: str


class HandleDef(TypedDict):
    """A handle of a block or a flow, as its manifest has it."""

    handle: str
    description: NotRequired[Json]
    json_schema: NotRequired[Json]
    """JSON Schema of its values; ``contentMediaType: oomol/var`` is a value that stays, ``oomol/secret`` a secret."""
    nullable: NotRequired[Json]
    """It may be null, and is where nothing feeds it."""
    value: NotRequired[Json]
    """What it is where nothing feeds it."""
    is_additional: NotRequired[Json]
    """A node or caller has added it."""


Handles = list[HandleDef] | None


class BlockFields(TypedDict, total=False):
    """A block in a plan and in a dispatch. Of a task the first five must be there."""

    language: str
    """Its executor's ``name`` in the manifest."""
    package: str
    """The name of its package; ``python:MODULE`` for a function in importable Python code."""
    hash: str
    """Of its package's code: jobs go to executors that announce it. Empty: any executor of the language."""
    entry: str
    """Its file, from the root of the package."""
    function: str
    """Its function in that file."""
    dir: str
    """The directory of its manifest, from the root of the package."""
    root: str
    """The package's directory where the plan was made."""
    path: str | None
    """The manifest."""
    options: Object
    """``executor.options`` of a manifest in another language than Python."""
    context: str
    """``oocana`` or ``asyncblock``: for whose context its manifest says that it was written."""
    spawn: bool
    """It gets a process for each job, and a slot of ``spawn``."""
    sync: bool
    """It is no coroutine: it takes a slot of ``sync``."""
    service: Object
    """The service that it is a block of: the manifest's ``executor``, and the name as ``block``."""
    inputs_def: Handles
    """null: anything goes."""
    outputs_def: Handles
    inputs_def_patch: dict[str, list[Object]]
    """What a node says of its inputs besides: secrets."""
    additional_inputs: bool
    additional_outputs: bool
    description: str | None
    retries: Object | None
    """``retries``, ``backoff`` (seconds), ``not_retried`` (types of errors), ``release``."""
    recompute: bool
    """Its var values may be made again when they are lost with a process: its job then runs again, as a new one."""
    code: str
    """A digest of what of its package a Python block can come to run, for its cache."""
    cache: Json
    """How its results are cached: ``true``, or an object with ``ttl``, ``version`` and ``refresh``."""
    needs: Object | None
    """What an executor must offer, and have free: amounts by name (``memory`` in bytes), and ``labels``."""
    refused: str
    """Why it can't be run; in a catalog."""
    cases: list[Object]
    """Of a condition."""
    default: Object | None
    """Of a condition."""


SourceFields = tuple[str | None, str]
"""A node's id and its output's handle; null and a handle for an input of the flow."""


class InputFields(TypedDict):
    """An input of a node: what feeds it, or the value that it has."""

    sources: list[SourceFields]
    value: NotRequired[Json]
    optional: NotRequired[bool]
    """The block doesn't declare it: no job waits for it, and one takes what is there."""


class NodeFields(TypedDict):
    """A node of a flow, what it provides for a slot, or an entry of the catalog."""

    node_id: Name
    kind: Literal["task", "condition", "subflow", "slot", "service"]
    block: NotRequired[BlockFields]
    block_at: NotRequired[Count]
    """In place of ``block``: where that stands in the plan's ``blocks``."""
    inputs: dict[str, InputFields]
    concurrency: NotRequired[int]
    """Jobs of it at once; 1 if missing."""
    timeout: NotRequired[float | None]
    """Seconds."""
    group: NotRequired[str | None]
    """Nodes of a group run in one process, for values that stay."""
    flow: NotRequired[str | None]
    """Of a subflow: the key of the flow that it runs."""
    slots: NotRequired[dict[str, NodeFields]]
    roams: NotRequired[bool]
    """It runs in another process of its host, too, where the values that it needs can come."""
    weight: NotRequired[Annotated[float, Bounds(0, 1_000_000_000)]]
    """What it counts in its flow's progress; 1 if missing."""


class FlowFields(TypedDict):
    """A flow: its nodes, and where its outputs come from."""

    title: str
    path: str | None
    inputs_def: list[HandleDef]
    nodes: list[NodeFields]
    outputs: dict[str, list[SourceFields]]
    outputs_def: NotRequired[list[HandleDef]]
    description: NotRequired[str | None]
    forward_previews: NotRequired[list[str]]
    """Nodes whose previews are shown as the subflow's too."""
    scope: NotRequired[str]
    """The package that references to blocks start from."""


class PlanFields(FlowFields):
    """A flow with everything resolved: ``asyncblock check FLOW --plan`` prints it."""

    version: Literal[1]
    flows: NotRequired[dict[str, FlowFields]]
    """Subflows by key."""
    catalog: NotRequired[dict[str, NodeFields]]
    """What blocks may ask for: by ``package::name``."""
    packages: NotRequired[dict[str, dict[str, str]]]
    """For each package with flows: which package a name means there."""
    blocks: NotRequired[list[BlockFields]]
    """Blocks that several nodes have."""


class ReplyError(TypedDict):
    """Why a request wasn't carried out."""

    code: str
    message: str


OpenJob = Annotated[list[Any], tuple[Annotated[int, Bounds(1)], str, Annotated[int, Bounds(1)]]]
"""Channel, job and attempt."""

RowPlace = Annotated[list[int], tuple[Count, Count]]
"""The offset of a row, and how many lines it has."""

Ranges = Annotated[list[list[int]], list[tuple[Count, Count]]]
"""Of places of values: first and end, the end not included."""

Released = Annotated[list[Any], tuple[str, int, Ranges]]
"""Job, attempt, and which of its values can go."""

LiveAttempt = Annotated[list[Any], tuple[str, int, Ranges | None, Ranges]]
"""Job, attempt, which of its values were seen (null: all that there will be), and which live."""

AnnouncementField = Annotated[dict[str, Any], Announcement]
ReplacedField = Annotated[dict[str, Any], Replaced]
WindowsField = Annotated[dict[str, Any], Windows]
LimitsField = Annotated[dict[str, Any], Limits]
FrameField = Annotated[dict[str, Any], FrameFields]
ReferenceField = Annotated[dict[str, Any], Reference]
BlockField = Annotated[dict[str, Any], Loose(BlockFields)]
"""Not checked with its dispatch: what is wrong in a plan is its job's fault, and no link's."""
ErrorField = Annotated[dict[str, Any], ReplyError]
