"""Everything that came of a session as files in a directory."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import orjson

from .. import events
from ..errors import AsyncBlockError, Unavailable
from ..page import State, StateLimits
from ..page.views import feeds_of, nodes_in_order
from ..runtime.offload import wait_in_thread
from ..runtime.stagingdirs import StagingDir
from ..wire.bodies import BodyRef
from .amounts import date
from .collect import Collected
from .previews import name_of
from .recording import Recording
from .written import file_name, files_of, frame_of, parquet

__all__ = ["export"]

_BUFFER = 1 << 20
"""Characters of logs that are gathered before they are written: a process may open fewer files than there are nodes."""


async def export(recording: Recording, directory: Path) -> Collected:
    """Write a session into a directory, which appears when it is whole.

    **Durability**: on return all files are there.
    **Cancellation** leaves nothing. Raises ``Unavailable`` when the directory is there and not empty, or can't be
    written to; as ``Recording.events``.
    """
    directory = directory.absolute()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Unavailable(f"{directory} is there already; choose another directory")
    draft = StagingDir(directory, 0o777)
    try:
        await wait_in_thread(draft.open)
        for name in ("outputs", "previews", "logs"):
            (draft.path / name).mkdir()
        found = await _Export(recording, draft.path).write()
        await wait_in_thread(os.replace, draft.path, directory)
    except OSError as error:
        raise Unavailable(f"{directory} can't be written: {error.strerror or error}") from error
    finally:
        await wait_in_thread(draft.close)
    return found


class _Export:
    """One export under way."""

    def __init__(self, recording: Recording, directory: Path) -> None:
        self._recording = recording
        self._directory = directory
        self._logs: dict[str, list[str]] = {}
        self._waiting = 0
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self._shown: list[dict[str, Any]] = []

    async def write(self) -> Collected:
        """Write everything and return what was read."""
        try:
            plan = await self._recording.plan()
        except AsyncBlockError:
            plan = None
        state = State(StateLimits(head=0, tail=0), feeds_of(plan) if plan is not None else None)
        with (self._directory / "events.jsonl").open("wb", buffering=1 << 20) as lines:
            async for event in self._recording.events():
                lines.write(orjson.dumps(event.to_json(), default=_encoded) + b"\n")
                state.take(event)
                await self._take(state, event)
        self._flush()
        collected = Collected(self._recording, state, plan, state.now)
        for handle, value in state.outputs.items():
            self._output(handle, value)
        for handle, ref in state.bodies.items():
            await self._large(handle, ref)
        self._write("session.json", orjson.dumps(self._summary(collected), default=str, option=orjson.OPT_INDENT_2))
        return collected

    async def _take(self, state: State, event: events.Event) -> None:
        match event:
            case events.BlockPreview():
                await self._preview(_node_of(state, event), event)
            case events.BlockLog():
                self._say(state, event, event.stdio, event.log)
            case events.BlockWarning():
                self._say(state, event, "warning", event.warning)
            case events.BlockError():
                self._say(state, event, "error", event.error)
            case events.BlockLogJSON():
                self._say(state, event, "json", await self._text(event.json, event.body))
            case events.BlockMessage():
                self._say(state, event, "message", await self._text(event.payload, event.body))
            case events.BlockFinished() | events.JobFailed() if event.error is not None:
                trace = getattr(event, "traceback", None)
                self._say(state, event, "failed", f"{event.error}\n{trace or ''}".rstrip())

    async def _text(self, value: Any, body: BodyRef | None) -> str:
        if body is not None:
            try:
                value = await self._recording.fetch(body)
            except AsyncBlockError as error:
                return f"can't be read: {error}"
        return orjson.dumps(value, default=str).decode()

    # ------------------------------------------------------------------ logs

    def _say(self, state: State, event: events.BlockEvent, kind: str, text: str) -> None:
        path = _node_of(state, event)
        line = f"{date(event.t)}  {kind:<7}  {text}\n"
        self._logs.setdefault(path, []).append(line)
        self._waiting += len(line)
        if self._waiting > _BUFFER:
            self._flush()

    def _flush(self) -> None:
        for path, lines in self._logs.items():
            name = self._name("logs", path, ".txt")
            with (self._directory / "logs" / name).open("ab") as file:
                file.write("".join(lines).encode("utf-8", "replace"))
        self._logs.clear()
        self._waiting = 0

    def _name(self, folder: str, wanted: str, suffix: str) -> str:
        """Return a file's name: the same for the same thing, and different for different ones."""
        key = f"{folder}/{wanted}"
        if key not in self._names:
            name, number = f"{file_name(wanted)}{suffix}", 2
            while f"{folder}/{name}".lower() in self._taken:
                name, number = f"{file_name(wanted)}-{number}{suffix}", number + 1
            self._names[key] = f"{folder}/{name}"
            self._taken.add(f"{folder}/{name}".lower())
        return self._names[key].partition("/")[2]

    # ------------------------------------------------------------------ previews and outputs

    async def _preview(self, node: str, event: events.BlockPreview) -> None:
        payload = event.payload
        about: dict[str, Any] = {"node": node, "job_id": event.job_id, "id": event.id, "t": event.t}
        if event.body is not None:
            try:
                payload = await self._recording.fetch(event.body)
            except AsyncBlockError as error:
                self._shown.append({**about, "problem": str(error)})
                return
        told = payload.get("type") if isinstance(payload, dict) else None
        title = name_of(payload, event.id, str(told))
        stem = f"{len(self._shown) + 1:04}-{file_name(node, title)}"
        written = []
        for end, content in files_of(payload):
            self._write(f"previews/{stem}{end}", content)
            written.append(f"previews/{stem}{end}")
        note = payload.get("note") if isinstance(payload, dict) else None
        self._shown.append({**about, "type": told, "title": title, "note": note, "files": written})

    def _output(self, handle: str, value: Any) -> None:
        data = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
        self._write(f"outputs/{self._name('outputs', handle, '.json')}", data + b"\n")
        frame = frame_of(value)
        made = parquet(frame) if frame is not None else None
        if made is not None:
            self._write(f"outputs/{self._name('outputs', handle + '.frame', '.parquet')}", made)

    async def _large(self, handle: str, ref: BodyRef) -> None:
        try:
            value = await self._recording.fetch(ref)
        except AsyncBlockError as error:
            self._write(f"outputs/{self._name('outputs', handle, '.missing.txt')}", str(error).encode())
            return
        if isinstance(value, (bytes, bytearray)):
            self._write(f"outputs/{self._name('outputs', handle, '.bin')}", bytes(value))
        else:
            await wait_in_thread(self._output, handle, value)

    def _write(self, name: str, content: bytes) -> None:
        (self._directory / name).write_bytes(content)

    def _summary(self, collected: Collected) -> dict[str, Any]:
        state = collected.state
        return {
            "session_id": state.session_id,
            "title": state.title,
            "path": state.path,
            "state": collected.word,
            "error": state.error,
            "began": state.began,
            "ended": state.now if state.over else None,
            "nodes": [node.to_json(state.over) for node in nodes_in_order(state)],
            "previews": self._shown,
            "failures": state.failures,
            "stalls": state.stalls,
            "executors": state.executors,
        }


def _node_of(state: State, event: events.BlockEvent) -> str:
    """Return the path of an event's node; of a job that isn't kept any more, only the node's id."""
    job = state.jobs.get(event.job_id)
    return event.node_id if job is None else job.node


def _encoded(value: Any) -> str:
    return b64encode(value).decode() if isinstance(value, (bytes, bytearray)) else str(value)
