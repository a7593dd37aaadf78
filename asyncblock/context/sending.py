"""Sending: what both faces of a job do to send, said once. How a face waits is all that it adds.

These are coroutines for both. Those of ``Context`` wait in its event loop. Those of ``SyncContext`` block its thread in
what is abstract here, so that none of them is ever suspended: ``driven`` runs one to its end like a function. The short
way of ``Context.output`` isn't here: it waits for nothing, and another call would cost a fifth of it (throughput).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ..errors import Closed, ConnectionLost, LeaseLost, LocalProtocolError, Rejected, Unavailable
from ..link import BodyAbandoned
from ..preview import Limits, Making
from ..runtime.offload import TooLong
from ..shapes import Results, by_handle
from ..shared import make_private
from ..store import StoreKey
from ..varvalues.detached import size_of
from ..wire.bodies import OutgoingBody, Parcel
from ..wire.windows import Lane
from .base import ContextBase, can_go_unsent, too_many
from .directed import Targets
from .large import Large
from .payloads import Prepared, Stdio, log_records, pages_words, preview_words

__all__ = ["Sending", "driven"]

T = TypeVar("T")


def driven(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that blocks where another one would be suspended, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as over:
        result: T = over.value
        return result
    finally:
        # An exception that was raised in this thread from outside may have come before it began.
        coroutine.close()
    raise RuntimeError("a sync block's call was suspended, and nothing would resume it")


class Sending(ContextBase, ABC):
    """Values on their way into records, previews, and the finish."""

    # ------------------------------------------------------------------ data

    async def _output_long(self, value: object, handle: str, targets: Targets | None = None) -> None:
        prepared: Prepared | None
        if self._is_stray(value, handle):
            prepared = await self._stray(value, handle)
            if prepared is None:
                return
        else:
            prepared = await self._prepared(value, handle, self._is_var(handle))
        await self._send(self._channel.data, self._output_item(handle, prepared, targets), [prepared.key])
        if prepared.memory is not None:
            await self._part_from([prepared])

    async def _outputs(self, values: Results) -> None:
        self._check()
        prepared = await self._prepare_many(values)
        item = self._many_item("BlockOutputs", "outputs", prepared)
        await self._send(self._channel.data, item, self._keys_of(prepared.values()))
        await self._part_from(prepared.values())

    async def _stray(self, value: object, handle: str) -> Prepared | None:
        """Encode a value for a handle that isn't declared, and tell of it; None when it can't be encoded."""
        await self._send(self._channel.data, self._undefined(handle))
        try:
            return await self._prepared(value, handle, None)
        except Exception as problem:  # whatever the author's class raises
            if not can_go_unsent(problem):
                raise
            await self._send(self._channel.data, self._unsent(handle, problem))
            return None

    async def _prepared(self, value: object, handle: str, media_type: str | None, *, output: bool = True) -> Prepared:
        """Encode a value, or keep it and encode its key."""
        if not self._stays(value, media_type):
            return await self._prepare(value, handle)
        if (
            output
            and (room := self._job.room) is not None
            and (problem := await self._on_loop(room(size_of(value)))) is not None
        ):
            await self._warn(problem)
        memory, key = self._shared(value) if output else None, None
        if memory is not None:
            key = await self._aside_waiting(self._hand_over, value, memory, handle)
        if key is None:
            memory, value = None, await self._taken(value)
            key = self._put(value, handle, await self._movable(value), output=output)
        try:
            if key.cache is not None and (problem := await self._aside(self._save, key)) is not None:
                await self._warn(problem)
            prepared = await self._prepare(key.to_json(), handle)
        except BaseException:
            # After a cancel too: if the key was never sent, the value would be kept until the session ends.
            self._forget([key])
            raise
        prepared.key, prepared.memory = key, memory
        return prepared

    async def _prepare_many(self, given: Results) -> dict[str, Prepared]:
        values = by_handle(given)
        prepared: dict[str, Prepared] = {}
        try:
            for handle, value in values.items():
                if not self._is_undefined(handle):
                    prepared[handle] = await self._prepared(value, handle, self._is_var(handle))
                elif (stray := await self._stray(value, handle)) is not None:
                    prepared[handle] = stray
            await self._fit(prepared)
        except BaseException:
            # A cancel too: only this frame knows what was made, and what it holds of the budget.
            self._release(prepared)
            raise
        return prepared

    async def _fit(self, prepared: dict[str, Prepared]) -> None:
        """Let values that are small one by one and many together travel as bodies, as far as a record has no room."""
        for handle in too_many(prepared):
            prepared[handle] = await self._made(self._text_of(prepared[handle]))

    async def _part_from(self, prepared: Iterable[Prepared]) -> None:
        """Let what the block writes into shared arrays that it has put out be its own from now on."""
        for each in prepared:
            if each.memory is not None:
                await self._aside_waiting(make_private, each.memory)

    async def _prepare(self, value: object, handle: str | None, *, telemetry: bool = False) -> Prepared:
        prepared = self._prepare_small(value, handle, telemetry=telemetry)
        return prepared or await self._made(self._large(value, handle, telemetry=telemetry))

    async def _made(self, large: Large, seconds: float | None = None) -> Prepared:
        """Encode a value; while it waits for room it holds no worker thread.

        With ``seconds``, the time that a step has, it is for people, and runs where previews are made.
        """
        try:
            while (prepared := await self._step(large, seconds)) is None:
                await self._body_room(large.streamed.body)
            return prepared
        except BodyAbandoned:
            raise self._lost_body() from None
        except BaseException:
            # A cancel too: chunks may be on the mainframe that no record will ever name.
            large.streamed.abandon()
            raise

    # ------------------------------------------------------------------ the finish

    async def _finish(self, result: Results | None, error: str | None) -> None:
        if error is not None or result is None:
            await self._done(error)
            return
        if self._finish_said:
            self._repeated_finish()
            return
        prepared = await self._prepare_many(result)
        if self._say_finish():
            await self._send_finish(self._many_item("BlockFinished", "result", prepared))
            await self._part_from(prepared.values())
        else:
            self._release(prepared)

    async def _done(self, error: str | None) -> None:
        if not self._say_finish():
            self._repeated_finish()
            return
        await self._send_finish(self._finished_record(error))

    async def _conclude(self, ending: Mapping[str, Any], result: Mapping[str, object] | None) -> None:
        if self._finish_said:
            return
        prepared: dict[str, Prepared] = {}
        if result:
            try:
                prepared = await self._prepare_many(result)
            except LocalProtocolError as error:
                ending = {"error": str(error), "error_type": type(error).__name__}
        if self._say_finish():
            await self._send_finish(self._finished_item(prepared, ending))
            await self._part_from(prepared.values())
        else:
            self._release(prepared)

    # ------------------------------------------------------------------ telemetry

    async def _preview(self, payload: object, id: str | None, limits: Limits | None) -> None:
        self._check()
        kind = type(payload).__name__
        try:
            making = Making(payload, id, limits)
        except Exception as problem:
            await self._warn(preview_words(kind, problem))
            return
        await self._after_shown()
        await self._put_preview(await self._preview_item(making, kind, id), id)

    async def _preview_item(self, making: Making, kind: str, id: str | None) -> bytes | Parcel:
        """Return the preview's record, or the warning's that there is none."""
        prepared: dict[str, Prepared] = {}
        try:
            made = await self._converted(making)
            prepared["payload"] = await self._prepare(made, None, telemetry=True)
            await self._add_pages(prepared, making, kind)
        except BaseException as problem:
            # A cancel too: only this frame knows what was made, and what it holds of the budget.
            self._release(prepared)
            if isinstance(problem, (Closed, ConnectionLost, Rejected, LeaseLost)) or not isinstance(problem, Exception):
                raise
            return self._warning(preview_words(kind, problem))
        return self._preview_record(making.said_of_pages(), made, prepared, id)

    async def _add_pages(self, prepared: dict[str, Prepared], making: Making, kind: str) -> None:
        large = self._paged(making)
        try:
            if large is not None:
                prepared["pages"] = await self._made(large, making.seconds)
        except (TooLong, Unavailable) as problem:
            # The preview itself is there.
            await self._send(self._channel.telemetry, self._warning(pages_words(kind, problem)))

    async def _put_preview(self, item: bytes | Parcel, id: str | None) -> None:
        if id is None or isinstance(item, bytes):
            await self._send(self._channel.telemetry, item)
            return
        try:
            await self._accepted(lambda: self._sender.put_preview(id, item), self._channel.telemetry, len(item.record))
        except BaseException:
            # A cancel too: a record that was not accepted must not keep its bodies.
            self._sender.forget(item)
            raise

    async def _report(self, type_: str, key: str, payload: object) -> None:
        self._check()
        prepared = await self._prepare(payload, None, telemetry=True)
        await self._send(self._channel.telemetry, self._one_item(type_, key, prepared))

    async def _log(self, line: str, stdio: Stdio) -> None:
        self._check()
        for record in log_records(self._job.secrecy.text(line), stdio):
            await self._send(self._channel.telemetry, record)

    async def _warn(self, warning: str) -> None:
        self._check()
        await self._send(self._channel.telemetry, self._warning(warning))

    # ------------------------------------------------------------------ how a face waits

    @abstractmethod
    async def _send(self, lane: Lane, item: bytes | Parcel, keys: Sequence[StoreKey | None] = ()) -> None:
        """Send a record once there is room; let go of what it names (``keys``) when that can't be."""

    @abstractmethod
    async def _send_finish(self, parcel: Parcel) -> None:
        """Send the finish, and wait until it is in the journal."""

    @abstractmethod
    async def _accepted(self, accept: Callable[[], bool], lane: Lane, size: int) -> None:
        """Wait for room in a lane until ``accept`` says that it has taken what it is about."""

    @abstractmethod
    async def _body_room(self, body: OutgoingBody) -> None:
        """Wait until a body may grow."""

    @abstractmethod
    async def _after_shown(self) -> None:
        """Wait until what the block has shown before is sent."""

    @abstractmethod
    def _aside(self, work: Callable[..., T], *args: Any) -> Awaitable[T]:
        """Do something that takes long where it holds nothing up."""

    @abstractmethod
    def _aside_waiting(self, work: Callable[..., T], *args: Any) -> Awaitable[T]:
        """Do the same with what waits for a file."""

    @abstractmethod
    def _on_loop(self, coroutine: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """Run a coroutine on the executor's loop."""

    @abstractmethod
    def _step(self, large: Large, seconds: float | None) -> Awaitable[Prepared | None]:
        """Go on encoding a value, for so long if it is for people."""

    @abstractmethod
    def _converted(self, making: Making) -> Awaitable[dict[str, Any]]:
        """Return what a preview shows."""
