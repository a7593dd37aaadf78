"""What jobs ask the engine: blocks to run, what blocks and connections there are. The answers come by MQTT.

The engine says nothing of a block that it runs but what it tells everybody on ``report`` (so only with ``--reporter``).
From that the bridge makes what our executors read: rows of a journal, kept as long as the job that has asked.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson

from ..errors import Rejected
from .enginejobs import EngineJob
from .enginewords import bin_value, read_input, var_value
from .executorlink import BRIDGE
from .ownedtasks import Tasks

__all__ = ["EngineQuestions", "ToldRows"]

logger = logging.getLogger("asyncblock.bridge")

_LOST = "the connection to the broker was lost while the block ran: what has become of it isn't known"

_PATIENCE = 10.0
"""Seconds in which the engine says something of a block that was asked for, before the job is warned."""

_SILENT = (
    "the engine hasn't reported on block {block!r} for 10 s: only when it is started with --reporter does it tell what "
    "becomes of blocks that blocks run"
)

_ENDS: Final = frozenset({"BlockFinished", "SubflowBlockFinished", "SlotflowFinished"})

Keep = Callable[[EngineJob, Any], Awaitable[dict[str, Any] | None]]
"""Makes a body of a value of the engine's that is too large for a row, or is a file; None for one that needs none."""


class ToldRows:
    """What executors read of the session: rows by offset."""

    def __init__(self) -> None:
        self._rows: dict[int, bytes] = {}
        self._offsets: list[int] = []
        self._of: dict[EngineJob, list[int]] = {}
        self._next = 0
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def end(self) -> int:
        """The offset of the next row."""
        return self._next

    def add(self, owner: EngineJob, line: bytes) -> None:
        """Add a row that is kept as long as its owner is open."""
        self._rows[self._next] = line
        self._offsets.append(self._next)
        self._of.setdefault(owner, []).append(self._next)
        self._next += 1
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def drop(self, owner: EngineJob) -> None:
        """Let go of a job's rows."""
        for offset in self._of.pop(owner, ()):
            del self._rows[offset]
        self._offsets = [*self._rows]

    async def read(self, offset: int, size: int = 256 << 10) -> list[tuple[int, bytes]]:
        """Wait until there are rows from an offset on; return as many as have about that size, one at least."""
        while not (self._offsets and self._offsets[-1] >= offset):
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)
        found: list[tuple[int, bytes]] = []
        for each in self._offsets[bisect_left(self._offsets, offset) :]:
            size -= len(self._rows[each])
            if found and size < 0:
                break
            found.append((each, self._rows[each]))
        return found


class _Order:
    """A block that a job has asked for."""

    def __init__(self, owner: EngineJob, block: str, job_id: str) -> None:
        self.owner = owner
        self.block = block
        self.job_id = job_id
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the engine has said something of it, or has refused it."""
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task: asyncio.Task[None]


class EngineQuestions:
    """The questions of one session."""

    def __init__(
        self,
        tasks: Tasks,
        ask: Callable[[EngineJob, dict[str, object]], Awaitable[None]],
        warn: Callable[[EngineJob, str], None],
        keep: Keep,
    ) -> None:
        self.rows = ToldRows()
        self._tasks = tasks
        self._ask = ask
        """Publishes a BlockRequest; done when the broker has it."""
        self._warn = warn
        self._keep = keep
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._open: dict[str, tuple[EngineJob, dict[str, object]]] = {}
        """What may be asked again after a lost connection."""
        self._orders: dict[str, _Order] = {}

    # ------------------------------------------------------------------ what the engine says

    def answered(self, request_id: str, answer: dict[str, Any]) -> None:
        """Take an answer; one to somebody else's request is skipped."""
        waiting = self._answers.get(request_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def follows(self, job_id: str) -> bool:
        """Tell whether a job was asked for here."""
        return job_id in self._orders

    def reported(self, job_id: str, event: dict[str, Any]) -> None:
        """Take what the engine, or an executor, tells of a job that was asked for here."""
        order = self._orders[job_id]
        if not order.begun.done():
            order.begun.set_result(None)
        order.events.put_nowait(event)

    def back(self) -> None:
        """The broker is here again: what was said meanwhile is lost."""
        for job, message in list(self._open.values()):
            self._tasks.start(_let(self._ask(job, message)))
        for order in self._orders.values():
            order.events.put_nowait({"type": "BlockFinished", "error": _LOST})

    def job_over(self, job: EngineJob) -> None:
        """Let go of what a job has asked for."""
        for id in job.orders:
            order = self._orders.pop(id, None)
            if order is not None:
                order.task.cancel()
                if not order.begun.done():
                    order.begun.set_result(None)
        self.rows.drop(job)

    # ------------------------------------------------------------------ what jobs ask

    async def answer(self, job: EngineJob, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request. Raises ``Rejected``."""
        match method:
            case "run_block":
                return await self._run_block(job, params)
            case "query_block":
                return await self._query_block(job, str(params["block"]))
            case "query_downstream":
                return await self._query_downstream(job, params.get("handles"))
            case "update_node_weight":
                await self._ask(job, self._request(job, "UpdateNodeWeight", params, "node_id", "weight"))
                return {}
            case "cancel_block":
                raise Rejected("the engine knows no way to cancel a block: it runs to its end", code="method")
        raise Rejected(f"the engine knows no {method!r}", code="method")

    async def _query_block(self, job: EngineJob, block: str) -> dict[str, Any]:
        answer = await self._answer_to(job, self._request(job, "QueryBlock", {"block": block}, "block"))
        if answer.get("error") is not None:
            raise Rejected(str(answer["error"]), code="unknown_block")
        result = answer.get("result")
        found = {key: value for key, value in (result if isinstance(result, dict) else {}).items() if value is not None}
        for key in ("inputs_def", "outputs_def"):
            if isinstance(found.get(key), dict):
                found[key] = [{**each, "handle": handle} for handle, each in found[key].items()]
        return {"type": "task", **found}

    async def _query_downstream(self, job: EngineJob, handles: list[str] | None) -> dict[str, Any]:
        # Theirs reads ``outputs``; their SDK says ``handles``.
        wanted = {"outputs": handles, "handles": handles}
        answer = await self._answer_to(job, self._request(job, "QueryDownstream", wanted, "outputs", "handles"))
        if answer.get("error") is not None:
            raise Rejected(str(answer["error"]), code="failed")
        result = answer.get("result")
        found = result if isinstance(result, dict) else {}
        return {"downstream": {key: each for key, each in found.items() if handles is None or key in handles}}

    async def _run_block(self, job: EngineJob, params: Mapping[str, Any]) -> dict[str, Any]:
        id, block = str(params["block_job_id"]), str(params["block"])
        if id in self._orders:
            await asyncio.wait([self._orders[id].begun])
            return {"offset": 0}
        values = job.arguments.pop(id, None) or {
            handle: var_value(value) for handle, value in (params.get("inputs") or {}).items()
        }
        payload: dict[str, Any] = {"inputs": values}
        for key in ("additional_inputs_def", "additional_outputs_def"):
            if params.get(key) is not None:
                payload[key] = params[key]
        order = self._orders[id] = _Order(job, block, id)
        offset = self.rows.end
        job.orders.append(id)
        order.task = self._tasks.create_task(self._follow(order))
        said = {"block": block, "block_job_id": id, "payload": payload, "stacks": job.words.stacks, "strict": False}
        try:
            request = self._request(job, "RunBlock", said, *said)
            refusal = self._tasks.create_task(self._answer_to(job, request, once=True))
            try:
                if not await self._either(order, refusal, _PATIENCE):
                    self._warn(job, _SILENT.format(block=block))
                    await self._either(order, refusal, None)
            finally:
                refusal.cancel()
        except BaseException:
            # After a cancel too: what is told about it isn't read any more.
            if self._orders.pop(id, None) is not None:
                order.task.cancel()
            raise
        return {"offset": offset}

    async def _either(self, order: _Order, refusal: asyncio.Task[dict[str, Any]], timeout: float | None) -> bool:
        """Wait until the engine has begun with a block or refused it; tell whether it has. Raises ``Rejected``."""
        either: list[asyncio.Future[Any]] = [order.begun, refusal]
        done, _ = await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if refusal in done and (error := refusal.result().get("error")) is not None:
            code = "invalid_inputs" if "invalid inputs" in str(error) else "unknown_block"
            raise Rejected(str(error), code=code)
        return bool(done)

    # ------------------------------------------------------------------ requests and answers

    @staticmethod
    def _request(job: EngineJob, action: str, said: Mapping[str, Any], *names: str) -> dict[str, object]:
        fields = {name: said.get(name) for name in names}
        return job.words.for_engine("BlockRequest", action=action, request_id=secrets.token_hex(16), **fields)

    async def _answer_to(self, job: EngineJob, message: dict[str, object], *, once: bool = False) -> dict[str, Any]:
        id = str(message["request_id"])
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[id] = waiting
        if not once:
            self._open[id] = (job, message)
        try:
            await self._ask(job, message)
            return await waiting
        finally:
            self._open.pop(id, None)
            del self._answers[id]

    # ------------------------------------------------------------------ following

    async def _follow(self, order: _Order) -> None:
        """Make rows of what is told of a block, in its order."""
        while True:
            event = await order.events.get()
            ends = event.get("type") in _ENDS
            for record in await self._records(order, event):
                self._add(order, {"attempt": 1, "link": BRIDGE, "records": [{**record, "t": _now()}]})
            if ends:
                error = event.get("error")
                words = None if error is None else str(error)
                self._add(order, {"type": "BlockJobFinished", "attempt": 1, "error": words, "t": _now()})
                self._orders.pop(order.job_id, None)
                return

    def _add(self, order: _Order, line: dict[str, object]) -> None:
        # Readers look for the id first.
        whole = {"job_id": order.job_id, "node_id": f"run_block::{order.block}", **line}
        self.rows.add(order.owner, orjson.dumps(whole))

    async def _records(self, order: _Order, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        match event.get("type"):
            case "BlockOutput" | "SubflowBlockOutput" | "SlotflowOutput":
                value, body = await self._value(order, event.get("output"))
                said = {"body": body} if body is not None else {"output": value}
                return [{"type": "BlockOutput", "handle": str(event.get("handle")), "done": False, **said}]
            case "BlockOutputs":
                return [{"type": "BlockOutputs", **await self._many(order, "outputs", event.get("outputs"))}]
            case "BlockFinished":
                if (error := event.get("error")) is not None:
                    return [{"type": "BlockFinished", "error": str(error)}]
                return [{"type": "BlockFinished", **await self._many(order, "result", event.get("result"))}]
            case "BlockProgress":
                rate = event.get("progress", event.get("rate"))
                if isinstance(rate, (int, float)) and 0 <= rate <= 100:
                    return [{"type": "BlockProgress", "rate": rate}]
            case "BlockLog":
                stdio = "stderr" if event.get("stdio") == "stderr" else "stdout"
                return [{"type": "BlockLog", "log": str(event.get("log")), "stdio": stdio}]
            case "BlockWarning":
                return [{"type": "BlockWarning", "warning": str(event.get("warning"))}]
            case "BlockMessage" | "BlockPreview" as kind:
                value, body = await self._value(order, event.get("payload"))
                return [{"type": kind, **({"body": body} if body is not None else {"payload": value})}]
        return []

    async def _many(self, order: _Order, name: str, values: object) -> dict[str, Any]:
        inline: dict[str, Any] = {}
        bodies: dict[str, Any] = {}
        for handle, value in (values if isinstance(values, dict) else {}).items():
            inner, body = await self._value(order, value)
            if body is None:
                inline[handle] = inner
            else:
                bodies[handle] = body
        return {name: inline, **({"bodies": bodies} if bodies else {})}

    async def _value(self, order: _Order, value: object) -> tuple[Any, dict[str, Any] | None]:
        kind, inner = read_input(value)
        try:
            body = await self._keep(order.owner, bin_value(inner) if kind == "file" else inner)
        except OSError as error:
            # The file is gone: the value is what was sent.
            logger.warning("block %s put out a file that can't be read: %s", order.block, error)
            return value, None
        return inner, body


async def _let(work: Awaitable[None]) -> None:
    await work


def _now() -> int:
    return time.time_ns() // 1_000_000
