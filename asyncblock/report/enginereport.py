"""A session's events as the ``oocana`` engine tells its own: on a broker's topic ``report``, while it runs."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson

from .. import events
from ..bridge.enginewords import bin_value, var_value
from ..client import Session
from ..errors import AsyncBlockError
from ..mqtt import MAX_PAYLOAD, Broker
from ..wire.bodies import BodyRef

__all__ = ["EngineReport", "EngineWords", "engine_report"]

logger = logging.getLogger("asyncblock.report")

_LARGEST = 16 << 20
"""Bytes up to which a value is sent; of a larger one only where to find it."""

_AHEAD = 500
"""Messages that the broker hasn't taken yet, before the next event is looked at."""

_PATIENCE = 10.0
"""Seconds that the broker has at the end for what it hasn't taken."""

_ROWS = 1000
"""How many rows' outputs are remembered: an output of the flow names one of them."""

Message = dict[str, Any]


class EngineWords:
    """Makes the engine's messages of a session's events. Does no I/O: large values are there by then."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._path = ""
        self._stacks: dict[str, list[Any]] = {}
        self._rows: OrderedDict[int, dict[str, deque[Any]]] = OrderedDict()
        self._flow_outputs: dict[tuple[int, int, int, str], Any] = {}

    def told(self, event: events.AnyEvent, values: Mapping[str, Any]) -> list[Message]:
        """Return the messages about an event; ``values`` are its large ones, by handle."""
        match event:
            case events.SessionStarted():
                self._path = event.path or ""
                whole = {"path": self._path, "partial": False, "cache": False}
                return [
                    self._said("SessionStarted", create_at=event.t, **whole),
                    self._flow("FlowStarted", create_at=event.t),
                ]
            case events.SessionFinished():
                error = event.error if event.state == "failed" else event.error or _not_well(event.state)
                end = {"path": self._path, "finish_at": event.t, "partial": False, "cache": False}
                told = {} if error is None else {"error": error}
                return [
                    self._flow("FlowFinished", error=error, finish_at=event.t),
                    self._said("SessionFinished", **end, **told),
                ]
            case events.JobCreated():
                self._stacks[event.job_id] = [*event.stacks]
                return [self._of(event, "BlockStarted", inputs=None, create_at=event.t)]
            case events.FlowJobStarted():
                self._stacks[event.job_id] = [*event.stacks]
                return [self._of(event, "SubflowBlockStarted", block_path=None, inputs=None, create_at=event.t)]
            case events.FlowJobFinished():
                return [self._of(event, "SubflowBlockFinished", block_path=None, error=event.error, finish_at=event.t)]
            case events.FlowJobOutput():
                output = var_value(event.value if event.ref is None else self._referred(event.ref))
                return [self._of(event, "SubflowBlockOutput", block_path=None, handle=event.handle, output=output)]
            case events.BlockEvent():
                return self._of_block(event, values)
        return []

    def _of_block(self, event: events.BlockEvent, values: Mapping[str, Any]) -> list[Message]:
        match event:
            case events.BlockOutput():
                output = values.get(event.handle, event.output)
                self._remember(event, {event.handle: output})
                return [self._of(event, "BlockOutput", handle=event.handle, output=var_value(output))]
            case events.BlockOutputs():
                found = {**event.outputs, **values}
                self._remember(event, found)
                return [self._of(event, "BlockOutputs", outputs=_wrapped(found))]
            case events.BlockFinished():
                found = {**event.result, **values}
                self._remember(event, found)
                words = event.traceback or event.error or ("the job was cancelled" if event.cancelled else None)
                told = {"error": words} if words is not None else {"result": _wrapped(found)} if found else {}
                return [self._of(event, "BlockFinished", finish_at=event.t, **told)]
            case events.BlockProgress():
                return [self._of(event, "BlockProgress", progress=event.rate, rate=event.rate)]
            case events.BlockLog():
                return [self._of(event, "BlockLog", log=event.log, stdio=event.stdio)]
            case events.BlockLogJSON():
                return [self._of(event, "BlockLogJSON", json=values.get("", event.json))]
            case events.BlockMessage():
                return [self._of(event, "BlockMessage", payload=values.get("", event.payload))]
            case events.BlockPreview():
                payload = values.get("", event.payload)
                named = event.id is not None and isinstance(payload, dict)
                return [self._of(event, "BlockPreview", payload={**payload, "id": event.id} if named else payload)]
            case events.BlockWarning():
                return [self._of(event, "BlockWarning", warning=event.warning)]
            case events.BlockError():
                return [self._of(event, "BlockError", error=event.error)]
            case events.JobFailed():
                return [self._of(event, "BlockFinished", error=event.error, finish_at=event.t)]
            case events.JobRetrying():
                words = f"attempt {event.attempt} failed, and is made again: {event.error}"
                return [self._of(event, "BlockWarning", warning=words)]
            case events.JobWaiting():
                return [self._of(event, "BlockWarning", warning=event.reason)]
            case events.JobStalled():
                words = f"the event loop has stood still for {event.seconds:.1f} s in {event.where}"
                return [self._of(event, "BlockWarning", warning=words)]
        return []

    def _said(self, kind: str, **fields: Any) -> Message:
        return {"type": kind, "session_id": self._session_id, **fields}

    def _flow(self, kind: str, **fields: Any) -> Message:
        return self._said(kind, job_id=self._session_id, flow_path=self._path, stacks=[], **fields)

    def _of(self, event: events.BlockEvent, kind: str, **fields: Any) -> Message:
        return self._said(kind, job_id=event.job_id, stacks=self._stacks.get(event.job_id, []), **fields)

    def _remember(self, event: events.BlockEvent, values: Mapping[str, Any]) -> None:
        row = self._rows.setdefault(event.offset, {})
        for handle, value in values.items():
            row.setdefault(handle, deque()).append(value)
        if len(self._rows) > _ROWS:
            self._rows.popitem(last=False)

    def _referred(self, ref: tuple[int, int, int, str]) -> Any:
        """Return a flow's outputs; the records of a row are numbered in its order."""
        if ref not in self._flow_outputs:
            found = self._rows.get(ref[0], {}).get(ref[3])
            self._flow_outputs[ref] = found.popleft() if found else None
            if len(self._flow_outputs) > _ROWS:
                del self._flow_outputs[next(iter(self._flow_outputs))]
        return self._flow_outputs[ref]


class EngineReport:
    """Tells a broker of sessions."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    @asynccontextmanager
    async def of(self, session: Session) -> AsyncIterator[None]:
        """Tell of a session for the duration of the block; on leaving, of what is left, as far as the broker is there.

        What keeps it from that is logged: the session goes on.
        """
        telling = asyncio.create_task(self._tell(session))
        try:
            yield
        except BaseException:
            # After a cancel too: the session's end isn't waited for.
            telling.cancel()
            raise
        finally:
            await asyncio.wait([telling], timeout=_PATIENCE)
            if not telling.done():
                telling.cancel()
                await asyncio.wait([telling])
            if telling.cancelled() or not await self._broker.flush(_PATIENCE):
                logger.warning("the broker at %s hasn't taken all of the report", self._broker.name)
            elif (error := telling.exception()) is not None:
                logger.warning("the report to %s has ended early: %s", self._broker.name, error)

    async def _tell(self, session: Session) -> None:
        words = EngineWords(session.session_id)
        ahead: deque[asyncio.Future[None]] = deque()
        async for event in session.events():
            for message in words.told(event, await self._values(session, event)):
                payload = orjson.dumps(message)
                if len(payload) > MAX_PAYLOAD:
                    logger.warning("a %s of %d bytes isn't told: it is too large", message["type"], len(payload))
                    continue
                ahead.append(self._broker.publish("report", payload))
                if len(ahead) > _AHEAD:
                    await ahead.popleft()

    async def _values(self, session: Session, event: events.AnyEvent) -> dict[str, Any]:
        """Fetch an event's large values."""
        found: dict[str, Any] = {}
        for handle, ref in _bodies(event):
            if ref.encoding == "raw":
                found[handle] = bin_value(f"{ref.link}-{ref.n}")
            elif ref.length > _LARGEST:
                found[handle] = f"a value of {ref.length} bytes, in session {session.session_id}"
            else:
                try:
                    found[handle] = await session.fetch(ref)
                except AsyncBlockError as error:
                    found[handle] = f"a value that isn't there any more: {error}"
        return found


@asynccontextmanager
async def engine_report(address: str) -> AsyncIterator[EngineReport]:
    """Connect to the broker. Raises ``Unavailable`` when it isn't there."""
    async with Broker(address, f"asyncblock-reporter-{secrets.token_hex(8)}") as broker:
        yield EngineReport(broker)


_ONE: Final = (events.BlockMessage, events.BlockLogJSON, events.BlockPreview)


def _bodies(event: events.AnyEvent) -> list[tuple[str, BodyRef]]:
    if isinstance(event, events.BlockOutput):
        return [] if event.body is None else [(event.handle, event.body)]
    if isinstance(event, (events.BlockOutputs, events.BlockFinished)):
        return [*event.bodies.items()]
    if isinstance(event, _ONE):
        return [] if event.body is None else [("", event.body)]
    return []


def _wrapped(values: Mapping[str, Any]) -> dict[str, Any]:
    return {handle: var_value(value) for handle, value in values.items()}


def _not_well(state: str) -> str | None:
    return None if state == "succeeded" else f"the session was {state}"
