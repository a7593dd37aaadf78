"""What the engine and its executors say to each other, as data: topics, messages, and the forms that values have there.

Nothing here does I/O. A record of a block becomes one message or more; a message of the engine becomes a dispatch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from ..wire.bodies import BodyRef
from ..wire.stored import StoreKey

__all__ = [
    "EXECUTOR",
    "WholeJson",
    "JobWords",
    "Said",
    "bin_value",
    "defs_of",
    "encoded",
    "inputs_topic",
    "options_of",
    "read_input",
    "said_of",
    "session_topic",
    "var_value",
]

EXECUTOR: Final = "python"
"""The language that this executor runs, by the engine's name for it."""

_TYPE: Final = "__OOMOL_TYPE__"
_VAR: Final = "oomol/var"
_BIN: Final = "oomol/bin"

Whole = Callable[[str, BodyRef], Any]
"""Gives what a body is for a handle, in a form that can be encoded."""


class WholeJson:
    """A value that is JSON already. No dataclass: those orjson encodes by itself."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content


@dataclass(slots=True)
class JobWords:
    """What each message about a job says of it."""

    session_id: str
    job_id: str
    stacks: list[Any]
    block_path: str | None = None
    outputs: frozenset[str] = frozenset()
    """The handles that its block declares."""

    @property
    def node_id(self) -> str:
        """The innermost node; outside of a flow there is none."""
        last = self.stacks[-1] if self.stacks else None
        return str(last.get("node_id", "unknown")) if isinstance(last, dict) else "none"

    def for_engine(self, kind: str, **fields: object) -> dict[str, object]:
        """Make a message for the engine."""
        return {"type": kind, "session_id": self.session_id, "job_id": self.job_id, **fields}

    def for_all(self, kind: str, **fields: object) -> dict[str, object]:
        """Make a message for those who watch."""
        where: dict[str, object] = {"stacks": self.stacks}
        if self.block_path is not None:
            where["block_path"] = self.block_path
        return self.for_engine(kind, **where, **fields)


@dataclass(slots=True)
class Said:
    """What is to be published for a record."""

    to_engine: list[dict[str, object]] = field(default_factory=list)
    to_all: list[dict[str, object]] = field(default_factory=list)
    end: dict[str, object] | None = None
    """The message that ends the job: after everything else of it."""
    progress: float | None = None


def encoded(message: object) -> bytes:
    """Return a message as it travels."""
    return orjson.dumps(message, default=_as_it_is)


def _as_it_is(value: object) -> object:
    if isinstance(value, WholeJson):
        return orjson.Fragment(value.content)
    raise TypeError(f"{type(value).__name__} is no JSON")


def session_topic(session_id: str) -> str:
    """Return where executors speak to the engine."""
    return f"session/{session_id}"


def inputs_topic(session_id: str, job_id: str) -> str:
    """Return where a job's inputs come."""
    return f"inputs/{session_id}/{job_id}"


def var_value(value: object) -> object:
    """Return what the engine carries for a value: what stays in its process is wrapped."""
    if type(value) is dict and StoreKey.match(value) is not None:
        return {_TYPE: _VAR, "value": value, "serialize_path": None}
    return value


def bin_value(path: str) -> dict[str, str]:
    """Return what the engine carries for bytes in a file."""
    return {_TYPE: _BIN, "value": path}


def read_input(value: object) -> tuple[Literal["value", "file"], Any]:
    """Tell what an input is: a value, or bytes in a file of that path."""
    if isinstance(value, dict) and _TYPE in value:
        inner = value.get("value")
        if value[_TYPE] == _VAR and StoreKey.match(inner) is not None:
            return "value", inner
        if value[_TYPE] == _BIN and isinstance(inner, str):
            return "file", inner
    return "value", value


def defs_of(handles: object) -> list[dict[str, Any]]:
    """Return definitions of handles as a list; the engine has them by handle."""
    if not isinstance(handles, Mapping):
        return []
    return [{**each, "handle": str(handle)} for handle, each in handles.items() if isinstance(each, Mapping)]


def options_of(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return where a job's block is in its directory: entry and function, of its service or its executor.

    Raises ``ValueError`` for what is no such thing.
    """
    for where, found in (
        ("service_executor", message.get("service_executor")),
        ("executor", message.get("executor") or {}),
        ("options", _options(message.get("executor"))),
    ):
        if found is not None and not isinstance(found, Mapping):
            raise ValueError(f"the engine says something of its block ({where!r}) that is no object")
    service: Mapping[str, Any] | None = message.get("service_executor")
    options: Mapping[str, Any] = _options(message.get("executor"))
    return service or options


def _options(executor: Any) -> Any:
    return executor.get("options") or {} if isinstance(executor, Mapping) else {}


def said_of(job: JobWords, record: Mapping[str, Any], whole: Whole) -> Said:
    """Tell what is published for a record of a job. What goes to no declared handle is warned of, and dropped."""
    said = Said()
    match record["type"]:
        case "BlockOutput":
            handle = record["handle"]
            values = _values(job, {handle: _one(record, "output", handle, whole)}, said)
            if values:
                targets = {name: record.get(name) for name in ("to_node", "to_flow")}
                directed = any(each is not None for each in targets.values())
                options = {"options": {"target": targets}} if directed else {}
                said.to_engine.append(job.for_engine("BlockOutput", handle=handle, output=values[handle], **options))
        case "BlockOutputs":
            outputs = _values(job, _many(record, "outputs", whole), said)
            if outputs:
                said.to_engine.append(job.for_engine("BlockOutputs", outputs=outputs))
        case "BlockError":
            said.to_engine.append(job.for_engine("BlockError", error=record["error"]))
        case "BlockFinished":
            said.end = _end(job, record, whole, said)
        case "BlockProgress":
            said.progress = float(record["rate"])
        case "BlockPreview":
            payload = _named(_one(record, "payload", "preview", whole), record.get("id"))
            said.to_engine.append(job.for_engine("BlockRequest", action="Preview", payload=payload))
        case "BlockLog":
            said.to_all.append(job.for_all("BlockLog", log=record["log"], stdio=record["stdio"]))
        case "BlockLogJSON":
            said.to_all.append(job.for_all("BlockLogJSON", json=_one(record, "json", "json", whole)))
        case "BlockMessage":
            said.to_all.append(job.for_all("BlockMessage", payload=_one(record, "payload", "payload", whole)))
        case "BlockWarning":
            said.to_all.append(job.for_all("BlockWarning", warning=record["warning"]))
    return said


def _end(job: JobWords, record: Mapping[str, Any], whole: Whole, said: Said) -> dict[str, object]:
    if "error" in record:
        # Theirs is the traceback alone, and people look for it there.
        trace, error = record.get("traceback") or "", record["error"]
        words = trace if error in trace else "\n".join(each for each in (trace.rstrip(), error) if each)
        return job.for_engine("BlockFinished", error=words)
    if record.get("cancelled"):
        return job.for_engine("BlockFinished", error="the job was cancelled")
    result = _values(job, _many(record, "result", whole), said)
    return job.for_engine("BlockFinished", **({"result": result} if result else {}))


def _named(payload: Any, id: str | None) -> Any:
    """Put a preview's id into it, as theirs has it; what is encoded already stays so."""
    if id is None:
        return payload
    if isinstance(payload, dict):
        return {**payload, "id": id}
    if isinstance(payload, WholeJson):
        rest = payload.content.lstrip()
        if rest.startswith(b"{") and not rest[1:].lstrip().startswith(b"}"):
            return WholeJson(b'{"id":' + orjson.dumps(id) + b"," + rest[1:])
    return payload


def _one(record: Mapping[str, Any], name: str, handle: str, whole: Whole) -> Any:
    if "body" not in record:
        return record.get(name)
    ref = BodyRef.from_json(record["body"])
    assert ref is not None
    return whole(handle, ref)


def _many(record: Mapping[str, Any], name: str, whole: Whole) -> dict[str, Any]:
    found = dict(record.get(name) or {})
    for handle, obj in (record.get("bodies") or {}).items():
        ref = BodyRef.from_json(obj)
        assert ref is not None
        found[handle] = whole(handle, ref)
    return found


def _values(job: JobWords, values: Mapping[str, Any], said: Said) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for handle, value in values.items():
        if handle in job.outputs:
            found[handle] = var_value(value)
        else:
            words = f"Output handle key: [{handle}] is not defined in Block outputs schema."
            said.to_all.append(job.for_all("BlockWarning", warning=words))
    return found
