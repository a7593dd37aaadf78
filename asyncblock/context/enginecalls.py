"""The calls by which a block asks the mainframe: run a block, tell of blocks and of connections, weigh a node.

What holds for both kinds of contexts stands once, in ``_EngineCalls``; the two others differ in how they wait. They ask
``engine``: one for all jobs of a link.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import orjson

from ..errors import Closed, InvalidInputs, LocalProtocolError, Unavailable
from ..runtime.offload import wait_in_thread
from ..values import schemas
from ..wire.bodies import Parcel
from .blockjob import BlockJob, SyncBlockJob
from .counted import counted
from .engine import MAX_BLOCKS, Engine
from .jobevents import WatchedJob, any_change
from .payloads import Prepared, Raw, check_size
from .sending import Sending, driven

__all__ = ["Apart", "AsyncEngineCalls", "SyncEngineCalls"]

HandleDefs = Sequence[Mapping[str, Any]]
T = TypeVar("T")

_INLINE = 1 << 20
"""Bytes of values that an order may carry itself; more of them go ahead of it in a record."""


class _EngineCalls(Sending, ABC):
    """What both forms share."""

    _asked = 0
    """How many blocks this attempt has asked for."""
    _watches: list[WatchedJob] | None = None

    def _engine(self) -> Engine:
        if self._job.engine is None:
            raise Unavailable("this context has no engine to ask; an executor's has")
        if self._finish_said:
            raise Closed(f"job {self._job.job_id} is finished; it can't ask for anything after done() or finish()")
        return self._job.engine

    def _next_id(self) -> str:
        self._asked += 1
        return f"{self._job.job_id}.{self._job.attempt}.{self._asked}"

    def _is_full(self) -> bool:
        """Tell whether so many blocks run that the next one has to wait."""
        self._watches = [watch for watch in self._watches or () if not watch.ended]
        return len(self._watches) >= MAX_BLOCKS

    def _noted(self, watch: WatchedJob) -> WatchedJob:
        self._watches = [*(self._watches or ()), watch]
        return watch

    def release_blocks(self, why: str) -> None:
        """Stop watching what this job has asked for, and end the waits for it: the job has ended, or must."""
        if self._job.engine is not None and self._watches:
            self._job.engine.end_job(self._job.session_id, self._watches, why)

    @staticmethod
    def _with_defaults(
        described: Mapping[str, Any], block: str, inputs: Mapping[str, object], additional: HandleDefs | None
    ) -> dict[str, object]:
        """Check that nothing is missing. Raises ``InvalidInputs`` naming what is."""
        if not isinstance(inputs, Mapping):
            raise LocalProtocolError(f"inputs are a dict of handles and values, not {type(inputs).__name__}")
        missing = {
            each["handle"]: "it is missing, and has no default"
            for each in (*described.get("inputs_def", ()), *(additional or ()))
            if each["handle"] not in inputs and "value" not in each and not each.get("nullable")
        }
        _raise_if(block, missing)
        return dict(inputs)

    async def _arguments(
        self, block: str, given: Mapping[str, object], defs: HandleDefs, *, strict: bool
    ) -> dict[str, Prepared]:
        """Encode what a block is run with; ``strict`` compares it with the handles' schemas."""
        media_types = _media_types(defs)
        prepared: dict[str, Prepared] = {}
        try:
            for handle, value in given.items():
                media_type = media_types.get(handle)
                if _is_raw(value, media_type):
                    check_size(value, handle)
                    prepared[handle] = await self._made(self._large(value, handle, raw=True))
                else:
                    prepared[handle] = await self._prepared(value, handle, media_type, output=False)
            await self._fit(prepared)
            if strict:
                _raise_if(block, await self._aside(self._misfits, defs, prepared))
        except BaseException:
            # A cancel too: only this frame knows what was made, and what it holds of the budget.
            self._release(prepared)
            raise
        return prepared

    def _misfits(self, defs: HandleDefs, prepared: Mapping[str, Prepared]) -> dict[str, str]:
        values = {
            handle: each.content()
            for handle, each in prepared.items()
            if each.body is None or each.body.encoding == "json"
        }
        found = schemas.misfits(defs, values)
        return {handle: self._job.secrecy.text(words) for handle, words in found.items()}

    def _body_item(self, block_job_id: str, prepared: Mapping[str, Prepared]) -> Parcel | None:
        """Make the record that goes ahead of an order if its values are too large for the order itself; else None."""
        inline = [len(each.inline) for each in prepared.values() if each.inline is not None]
        if len(inline) == len(prepared) and sum(inline) <= _INLINE:
            return None
        return self._many_item("BlockArguments", "values", prepared, id=block_job_id)

    @staticmethod
    def _params(
        block: str,
        prepared: Mapping[str, Prepared],
        ahead: bool,
        additional_inputs_def: HandleDefs | None,
        additional_outputs_def: HandleDefs | None,
    ) -> dict[str, Any]:
        inline = {} if ahead else {handle: orjson.Fragment(each.inline or b"null") for handle, each in prepared.items()}
        params: dict[str, Any] = {"block": block, "inputs": inline}
        if additional_inputs_def is not None:
            params["additional_inputs_def"] = [dict(each) for each in additional_inputs_def]
        if additional_outputs_def is not None:
            params["additional_outputs_def"] = [dict(each) for each in additional_outputs_def]
        return params


class AsyncEngineCalls(_EngineCalls):
    """The part of ``Context`` that asks."""

    unawaited: int

    @counted
    async def run_block(
        self,
        block: str,
        *,
        inputs: Mapping[str, object] | None = None,
        strict: bool = False,
        additional_inputs_def: HandleDefs | None = None,
        additional_outputs_def: HandleDefs | None = None,
    ) -> BlockJob:
        """Run another block or subflow of this flow's packages: ``self::name``, ``package::name``, or a path.

        **Durability**: on return the order is in the journal, and survives kill -9 of the mainframe; it is carried out
        once. The block ends with its caller when that fails or is cancelled, and runs on when it just returns.
        **Cancellation** may leave the block running, until its caller ends.
        Waits while this job has 1000 blocks running. Inputs that aren't given take their defaults; ``strict`` compares
        them with their schemas. ``additional_inputs_def`` and ``additional_outputs_def`` are handles that the block
        gets beside its own, if it takes such. The block's failure fails nothing but ``await job``.
        Raises ``UnknownBlock``; ``InvalidInputs`` naming the handles; ``UnserializableValue``; ``Rejected`` when the
        mainframe refuses; ``Unavailable`` for ``strict`` without the extra ``schema``.
        """
        self._check()
        engine = self._engine()
        described = await engine.describe(self._job, block)
        while self._is_full():
            await any_change(self._watches or ())
        given = self._with_defaults(described, block, inputs or {}, additional_inputs_def)
        defs = [*described.get("inputs_def", ()), *(additional_inputs_def or ())]
        block_job_id = self._next_id()
        prepared = await self._arguments(block, given, defs, strict=strict)
        ahead = self._body_item(block_job_id, prepared)
        if ahead is not None:
            await self._send(self._channel.data, ahead)
            await self.flush()
        params = self._params(block, prepared, ahead is not None, additional_inputs_def, additional_outputs_def)
        watch = self._noted(await engine.start(self._job, block_job_id, **params))
        return BlockJob(engine, self._job, watch, block)

    @counted
    async def query_block(self, block: str) -> dict[str, Any]:
        """Return what a block is: ``type`` (``task`` or ``subflow``), its handles' definitions, what may be added.

        **Durability**: nothing is sent. **Cancellation** is safe. Raises ``UnknownBlock``.
        """
        return dict(await self._engine().describe(self._job, block))

    @counted
    async def query_downstream(self, handles: Sequence[str] | None = None) -> dict[str, Any]:
        """Return where this job's outputs go, by handle: ``to_node`` and ``to_flow``, as ``output`` takes them.

        **Durability**: nothing is sent. **Cancellation** is safe. ``handles`` leaves out all others. Empty for a block
        that another one runs.
        """
        answer = await self._engine().ask(self._job, "query_downstream", handles=_handles(handles))
        return dict(answer["downstream"])

    @counted
    async def update_node_weight(self, node_id: str, weight: float) -> None:
        """Give a node of this job's flow another weight in the flow's progress.

        **Durability**: on return it is in the journal. **Cancellation** leaves it standing if it arrived.
        Raises ``LocalProtocolError`` for what is no weight, ``Rejected`` for a node that the flow doesn't have.
        """
        await self._engine().ask(self._job, "update_node_weight", node_id=node_id, weight=_weight(weight))

    @abstractmethod
    async def flush(self) -> None: ...


class SyncEngineCalls(_EngineCalls):
    """The part of ``SyncContext`` that asks."""

    def run_block(
        self,
        block: str,
        *,
        inputs: Mapping[str, object] | None = None,
        strict: bool = False,
        additional_inputs_def: HandleDefs | None = None,
        additional_outputs_def: HandleDefs | None = None,
    ) -> SyncBlockJob:
        """As ``Context.run_block``; ``job.result()`` stands for ``await job``."""
        self._check()
        engine = self._engine()
        described = self._wait(engine.describe(self._job, block))
        if self._is_full():
            with engine.parked():
                self._wait(self._until_room())
        given = self._with_defaults(described, block, inputs or {}, additional_inputs_def)
        defs = [*described.get("inputs_def", ()), *(additional_inputs_def or ())]
        block_job_id = self._next_id()
        prepared = driven(self._arguments(block, given, defs, strict=strict))
        ahead = self._body_item(block_job_id, prepared)
        if ahead is not None:
            driven(self._send(self._channel.data, ahead))
            self.flush()
        params = self._params(block, prepared, ahead is not None, additional_inputs_def, additional_outputs_def)
        watch = self._noted(self._wait(engine.start(self._job, block_job_id, **params)))
        return SyncBlockJob(engine, self._job, watch, block)

    def query_block(self, block: str) -> dict[str, Any]:
        """As ``Context.query_block``."""
        return dict(self._wait(self._engine().describe(self._job, block)))

    def query_downstream(self, handles: Sequence[str] | None = None) -> dict[str, Any]:
        """As ``Context.query_downstream``."""
        answer = self._wait(self._engine().ask(self._job, "query_downstream", handles=_handles(handles)))
        return dict(answer["downstream"])

    def update_node_weight(self, node_id: str, weight: float) -> None:
        """As ``Context.update_node_weight``."""
        self._wait(self._engine().ask(self._job, "update_node_weight", node_id=node_id, weight=_weight(weight)))

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._engine().loop).result()

    async def _until_room(self) -> None:
        while self._is_full():
            await any_change(self._watches or ())

    @abstractmethod
    def flush(self) -> None: ...


class Apart(SyncEngineCalls, ABC):
    """The part of ``SyncContext`` for a block with an event loop of its own in the job's thread.

    There a call that waits would hold up the block's other tasks; in that loop's own pool it would wait for what the
    author has put there. So calls wait elsewhere.
    """

    afterwards: Callable[[], None] | None = None
    """Runs on the job's thread when the block's end was told: what its own loop has left is done there."""
    interrupt: Callable[[str], None] | None = None
    """Hears, from the executor's loop, that the job is to end: a thread that waits in its own loop hears nothing else.
    """
    _in_line: asyncio.Lock | None = None

    def elsewhere(self, call: Callable[[], T], *, with_room: bool = False) -> Future[T]:
        """Make a call of this context on a thread of ours, after those that were given before.

        ``with_room`` waits first while so many blocks run that the next one has no room. Raises ``Unavailable`` without
        an executor, ``Closed`` after the finish.
        """
        return self.follow(self.in_order(call, with_room=with_room))

    def follow(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the executor's loop. Raises as ``elsewhere``."""
        try:
            loop = self._engine().loop
        except BaseException:
            # Whatever it is: only this frame can close the coroutine, and Python warns of one that never ran.
            coroutine.close()
            raise
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    async def in_order(self, call: Callable[[], T], *, with_room: bool = False) -> T:
        """Do, on the executor's loop, what ``elsewhere`` does.

        **Durability** and **Cancellation** are those of the call; one that has begun runs to its end.
        """
        self._in_line = self._in_line or asyncio.Lock()
        async with self._in_line:
            while with_room and self._is_full():
                await any_change(self._watches or ())
            # One thread for a job at most.
            return await wait_in_thread(call, places=None)


def _media_types(defs: HandleDefs) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for each in defs:
        schema = each.get("json_schema")
        found[str(each.get("handle"))] = schema.get("contentMediaType") if isinstance(schema, Mapping) else None
    return found


def _is_raw(value: object, media_type: str | None) -> bool:
    return media_type == "oomol/bin" and isinstance(value, Raw)


def _raise_if(block: str, problems: Mapping[str, str]) -> None:
    if problems:
        words = "; ".join(f"{handle}: {problem}" for handle, problem in problems.items())
        raise InvalidInputs(f"block {block!r} can't be run with these inputs: {words}", problems=problems)


def _handles(handles: Sequence[str] | None) -> list[str] | None:
    if isinstance(handles, str):
        raise LocalProtocolError("handles is a list of texts, not a text")
    return None if handles is None else list(handles)


def _weight(weight: float) -> float:
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
        raise LocalProtocolError(f"a weight is a number from 0 up, not {weight!r}")
    return weight
