"""Context: a job as an ``async def`` block sees it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

from ..detached import size_of
from ..errors import Closed, ConnectionLost, LeaseLost, LocalProtocolError, Rejected, Unavailable
from ..iothread import inbox_of
from ..link import DraftAbandoned, Outlet
from ..offload import TooLong, run_in_thread, show_in_thread, wait_in_thread
from ..preview import Limits, Making
from ..shapes import Results, by_handle
from ..shared import make_private
from ..store import Store, StoreKey
from ..wire.bodies import OutgoingBody, Parcel
from ..wire.records import encode
from ..wire.windows import Lane
from .base import can_go_unsent, too_many
from .counted import counted
from .directed import Targets, ToFlow, ToNode, targets_of
from .enginecalls import AsyncEngineCalls
from .jobinfo import JobInfo
from .large import Large
from .payloads import (
    Prepared,
    Stdio,
    log_records,
    now_ms,
    pages_words,
    preview_words,
    rate,
    raw_pieces,
)
from .pendingfigures import FigureSender, Shown
from .printed import LineRing
from .secrecy import CredentialInput

__all__ = ["Context", "preview_again"]

_PACE = 1.0
"""Seconds that a loop may be silent before nobody waits for it any more."""

_CALLS_PER_TURN = 64
"""Sends that a block may make before its loop gets a turn, so that a loop of sends never starves the others."""


class Context(AsyncEngineCalls, FigureSender):
    """A job as its ``async def main(inputs, ctx)`` sees it. The executor makes one for each attempt.

    It belongs to the event loop that runs the block; tasks of that loop may share it, and their sends arrive in the
    order of the calls. Every coroutine here is a cancellation point.
    """

    def __init__(self, job: JobInfo, inputs: Mapping[str, Any], outlet: Outlet, store: Store) -> None:
        super().__init__(job, inputs, outlet, store)
        self._loop = asyncio.get_running_loop()
        self._inbox = inbox_of(self._loop)
        self._calls = 0
        self._turn = 0
        self._ring = LineRing(outlet, self._inbox)
        self._shown = Shown()
        self._pacing: Future[None] | None = None

    # ------------------------------------------------------------------ data

    def output(
        self,
        value: object,
        handle: str,
        done: bool = False,
        *,
        to_node: Sequence[ToNode] | None = None,
        to_flow: Sequence[ToFlow] | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Send a value to the handle's downstream blocks.

        **Durability**: on return the value has its place in the job's order and window; ``flush`` says when it is in
        the journal. With ``done=True`` it is in the journal, and so is the finish.
        **Cancellation** while it waits: the value was not sent; what had left of a large one is discarded.
        Waits while the job's window (2 MiB) or the link's is full. A value over 64 KiB is encoded off the loop and
        leaves while it is; of such values a process keeps 64 MiB in memory and 4 GiB in a temporary file until they are
        acknowledged, and waits beyond. A handle for bytes takes ``bytes``, what is like them, and a ``Body``.
        A var handle keeps the value in this process and sends its ``StoreKey``; each output is a value of its own. It
        is let go when no job can ask for it: none that waits, runs or may be tried again, nor one that runs this
        block; the last value of each output of the flow stays until the session ends, the file of
        ``serialize_for_cache`` until later runs of the flow. Consumers get what the value was at the call, and share no
        changes: DataFrames of pandas and polars are copies that cost nothing until one is written (real ones for
        pandas 2 without copy on write), arrays and bytearrays are copied, for each consumer too, unless nobody can
        write them (``array.flags.writeable = False``); anything else, and what is in a list or a dict, is the very
        object: leave it alone once it is sent. Executors of the same host can have what is portable, too: frames,
        arrays, bytes, and containers of these (``asyncblock.values.portable``); the rest keeps its consumers here.
        While var values take more memory than they may, the call waits until
        some are let go (``ASYNCBLOCK_VAR_MEMORY``, a quarter of the host's by default).
        An undefined handle sends an error that names it; the value is sent all the same, if it can be encoded.
        ``to_node`` (``{"node_id", "input_handle"}`` each) and ``to_flow`` (``{"output_handle"}`` each) choose among the
        handle's connections; where only one of them is given, the other kind gets nothing.
        Raises ``LocalProtocolError`` for value and handle that have changed places; ``UnserializableValue`` naming
        handle and path; ``PayloadTooLarge``, before anything is converted where
        text, bytes or an array tell their size; ``Unavailable`` when the temporary file can't be written; ``Closed``
        after the finish; ``Rejected`` when the mainframe refused an earlier record; ``LeaseLost`` when the attempt is
        fenced.
        """
        # Written out and not under ``counted``: the extra coroutine would cost a fifth of a call (throughput).
        self.unawaited += 1
        if self._job.var_handles:
            value = self._at_the_call(value, handle)
        if to_node is not None or to_flow is not None:
            return self._output_directed(value, handle, done, targets_of(to_node, to_flow))
        return self._output(value, handle, done)

    async def _output(self, value: object, handle: str, done: bool) -> None:
        self.unawaited -= 1
        if self._finish_said or self._channel.trouble is not None:
            self._check()
        record = self._plain_record(value, handle)
        if record is not None and not self._ring.waiting and self._outlet.try_record(self._channel.data, record):
            self._calls += 1
            if self._calls >= _CALLS_PER_TURN or self._tail_ms > self._turn:
                await self._give_turn()
        else:
            await self._output_long(value, handle)
        if done:
            await self.done()

    async def _output_directed(self, value: object, handle: str, done: bool, targets: Targets) -> None:
        self.unawaited -= 1
        self._check()
        await self._output_long(value, handle, targets)
        if done:
            await self.done()

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

    async def _prepared(self, value: object, handle: str, media_type: str | None, *, output: bool = True) -> Prepared:
        """Encode a value, or keep it and encode its key."""
        if not self._stays(value, media_type):
            return await self._prepare(value, handle)
        if output and (room := self._job.room) is not None and (problem := await room(size_of(value))) is not None:
            await self.send_warning(problem)
        memory, key = self._shared(value) if output else None, None
        if memory is not None:
            key = await wait_in_thread(self._hand_over, value, memory, handle)
        if key is None:
            memory, value = None, await self._taken(value)
            key = self._put(value, handle, await self._movable(value), output=output)
        try:
            if key.cache is not None and (problem := await run_in_thread(self._save, key)) is not None:
                await self.send_warning(problem)
            prepared = await self._prepare(key.to_json(), handle)
        except BaseException:
            # A cancel too: a value whose key was never sent would be kept for the session.
            self._forget([key])
            raise
        prepared.key, prepared.memory = key, memory
        return prepared

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

    async def _part_from(self, prepared: Iterable[Prepared]) -> None:
        """Let what the block writes into shared arrays that it has put out be its own from now on."""
        for each in prepared:
            if each.memory is not None:
                await wait_in_thread(make_private, each.memory)

    @counted
    async def outputs(self, values: Results) -> None:
        """Send values to several handles in one record.

        **Durability**, **Cancellation** and errors as ``output``; all values or none are sent.
        """
        self._check()
        prepared = await self._prepare_many(values)
        item = self._many_item("BlockOutputs", "outputs", prepared)
        await self._send(self._channel.data, item, self._keys_of(prepared.values()))
        await self._part_from(prepared.values())

    @counted
    async def flush(self) -> None:
        """Wait until everything that this job has sent is in the journal: data, telemetry, the waiting progress.

        **Durability**: on return it survives kill -9 of either side.
        **Cancellation** is safe: what was sent stays sent.
        Raises ``LeaseLost`` when the attempt is fenced, ``Rejected`` when a record was refused, ``ConnectionLost``
        when the link can't be continued.
        """
        await self._ring.drained(self._room)
        if self._shown.waiting:
            await self._shown.drained(self)
        if self._finish_said:
            return
        self._check()
        await self._settled(self._outlet.mark)
        if self._channel.trouble is not None:
            self._check()

    @counted
    async def done(self, error: str | None = None) -> None:
        """Finish the job, with an error if one is given.

        **Durability**: on return the finish and all data before it are in the journal.
        **Cancellation**: the finish stands and will arrive.
        A second finish changes nothing and is logged as a warning. Raises as ``flush``.
        """
        if not self._say_finish():
            self._repeated_finish()
            return
        await self._send_finish(self._finished_record(error))

    @counted
    async def finish(self, result: Results | None = None, error: str | None = None) -> None:
        """Finish the job with outputs by handle, or with an error; the error wins.

        **Durability** and **Cancellation** as ``done``; errors as ``output`` and ``flush``.
        """
        if error is not None or result is None:
            await self.done(error)
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

    @counted
    async def send_error(self, error: str) -> None:
        """Tell of an error; it doesn't fail the job. **Durability** and **Cancellation** as ``output``."""
        self._check()
        await self._send(self._channel.data, encode("BlockError", now_ms(), error=self._text(error)))

    # ------------------------------------------------------------------ telemetry

    @counted
    async def preview(self, payload: object, id: str | None = None, *, limits: Limits | None = None) -> None:
        """Show a value to people: a DataFrame as a table, a Figure as an image, a dict ``{"type", "data"}`` as it is.

        **Durability**: on return it is converted, off the loop, and accepted; it may be lost with the process.
        **Cancellation** abandons the conversion, and ends the drawing of a Figure; nothing is sent.
        A preview supersedes an earlier one with the same ``id``. One that can't be made becomes a warning that says
        why; it never fails the job. The payload is not changed. Of a table the shown rows are taken when the await
        begins; other values, Figures too, are to be left alone until it returns. ``limits`` say how much is shown
        (default: the process's). Raises ``Closed`` after the finish.
        """
        self._check()
        try:
            making = Making(payload, id, limits)
        except Exception as problem:
            await self.send_warning(preview_words(type(payload).__name__, problem))
            return
        if self._shown.waiting:
            await self._shown.drained(self)
        await self._put_preview(await self._preview_item(making, type(payload).__name__, id), id)

    async def _preview_again(
        self, made: Mapping[str, Any], id: str | None, said: Mapping[str, Any] | None, pages: bytes
    ) -> None:
        """Show, for the executor, what a preview was made of before; nothing is converted.

        **Durability** and **Cancellation** as ``preview``.
        """
        self._check()
        prepared: dict[str, Prepared] = {}
        try:
            prepared["payload"] = await self._prepare(made, None, telemetry=True)
            if said is not None and not self._job.secrecy.active:
                # To take a secret out would move the pages.
                prepared["pages"] = await self._made(self._beside(lambda: raw_pieces(pages)))
        except BaseException:
            # A cancel too: nobody else knows what was made, and what it holds of the budget.
            self._release(prepared)
            raise
        await self._put_preview(self._preview_record(said, made, prepared, id), id)

    async def _put_preview(self, item: bytes | Parcel, id: str | None) -> None:
        if id is None or isinstance(item, bytes):
            await self._send(self._channel.telemetry, item)
            return
        try:
            while not self._outlet.put_preview(id, item):
                await self._room(self._channel.telemetry, len(item.record))
                self._check()
        except BaseException:
            # A cancel too: a record that was not accepted must not keep its bodies.
            self._outlet.forget(item)
            raise

    async def _preview_item(self, making: Making, kind: str, id: str | None) -> bytes | Parcel:
        """Return the preview's record, or the warning's that there is none."""
        prepared: dict[str, Prepared] = {}
        try:
            made = await making.finish()
            prepared["payload"] = await self._prepare(made, None, telemetry=True)
            await self._add_pages(prepared, making, kind)
        except BaseException as problem:
            # A cancel too: nobody else knows what was made, and what it holds of the budget.
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

    @counted
    async def report_progress(self, progress: float) -> None:
        """Note how far the job is, from 0 to 100; values beyond are clamped.

        **Durability**: the newest value is sent at most every 0.1 s, and always before the finish and with ``flush``.
        **Cancellation** is safe. Never waits for room. Raises ``LocalProtocolError`` for what is no number.
        """
        self._check()
        self._outlet.put_progress(encode("BlockProgress", now_ms(), rate=rate(progress)))
        await self._give_turn()

    @counted
    async def report_log(self, line: str, stdio: Stdio = "stdout") -> None:
        """Send a log line. **Durability**: accepted; may be lost with the process. **Cancellation**: not sent."""
        self._check()
        for record in log_records(self._job.secrecy.text(line), stdio):
            await self._send(self._channel.telemetry, record)

    @counted
    async def log_json(self, payload: object) -> None:
        """Send a value as a log entry. **Durability** and **Cancellation** as ``report_log``; errors as ``output``."""
        await self._report("BlockLogJSON", "json", payload)

    @counted
    async def send_message(self, payload: object) -> None:
        """Send a message to whoever watches. **Durability**, **Cancellation** and errors as ``log_json``."""
        await self._report("BlockMessage", "payload", payload)

    @counted
    async def send_warning(self, warning: str) -> None:
        """Send a warning. **Durability** and **Cancellation** as ``report_log``."""
        self._check()
        await self._send(self._channel.telemetry, self._warning(warning))

    @counted
    async def query_auth(self, credential: CredentialInput) -> dict[str, str]:
        """Return the values of a credential that came as an input; looked up on this executor.

        **Durability**: nothing is sent. **Cancellation** is safe.
        Raises ``Unavailable`` when the executor has no such credential: its operator must give it.
        """
        return await run_in_thread(self._confide, credential)

    async def conclude(self, ending: Mapping[str, Any], result: Mapping[str, object] | None = None) -> None:
        """Finish for the executor: silent when the block has said its finish itself.

        A result that can't be sent becomes the job's error. Raises as ``flush``.
        """
        if self._finish_said:
            return
        if ending.get("cancelled"):
            self._shown.close()
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

    # ------------------------------------------------------------------ how this face waits

    async def _report(self, type_: str, key: str, payload: object) -> None:
        self._check()
        prepared = await self._prepare(payload, None, telemetry=True)
        await self._send(self._channel.telemetry, self._one_item(type_, key, prepared))

    async def _prepare(self, value: object, handle: str | None, *, telemetry: bool = False) -> Prepared:
        prepared = self._prepare_small(value, handle, telemetry=telemetry)
        return prepared or await self._made(self._large(value, handle, telemetry=telemetry))

    async def _made(self, large: Large, seconds: float | None = None) -> Prepared:
        """Encode a value off the loop; while it waits for room it holds no worker thread.

        With ``seconds``, the time that a step has, it is for people, and runs where previews are made.
        """
        run = run_in_thread if seconds is None else partial(show_in_thread, seconds)
        try:
            while (prepared := await run(large.step)) is None:
                await self._body_room(large.draft.body)
            return prepared
        except DraftAbandoned:
            raise self._lost_body() from None
        except BaseException:
            # A cancel too: chunks may be on the mainframe that no record will ever name.
            large.draft.abandon()
            raise

    async def _body_room(self, body: OutgoingBody) -> None:
        woken = self._loop.create_future()
        self._outlet.when_body_room(body, lambda: self._inbox.post(resolve, woken, None))
        await woken

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
            # A cancel too: nobody else knows what was made, and what it holds of the budget.
            self._release(prepared)
            raise
        return prepared

    async def _fit(self, prepared: dict[str, Prepared]) -> None:
        """Let values that are small one by one and many together travel as bodies, as far as a record has no room."""
        for handle in too_many(prepared):
            prepared[handle] = await self._made(self._text_of(prepared[handle]))

    async def _send(self, lane: Lane, item: bytes | Parcel, keys: Sequence[StoreKey | None] = ()) -> None:
        try:
            if self._ring.waiting:
                await self._ring.drained(self._room)
            while not self._outlet.try_accept(lane, item):
                await self._room(lane, len(item) if isinstance(item, bytes) else len(item.record))
                self._check()
        except BaseException:
            # A cancel too: a record that was not accepted must not keep its bodies, nor the values that it names.
            self._outlet.forget(item)
            self._forget(keys)
            raise
        await self._give_turn()

    async def _give_turn(self) -> None:
        self._calls += 1
        if self._calls >= _CALLS_PER_TURN or now_ms() > self._turn:
            self._calls = 0
            await asyncio.sleep(0)
            self._turn = now_ms()

    async def _room(self, lane: Lane, size: int) -> None:
        woken = self._loop.create_future()
        self._outlet.when_room(lane, size, lambda: self._inbox.post(resolve, woken, None))
        await woken

    async def _settled(self, ask: Callable[[Callable[[BaseException | None], None]], None]) -> None:
        settled = self._loop.create_future()
        ask(lambda error: self._inbox.post(resolve, settled, error))
        await settled

    async def _send_finish(self, parcel: Parcel) -> None:
        settled = self._loop.create_future()
        try:
            if self._shown.waiting:
                await self._shown.drained(self)
            await self._ring.drained(self._room)
        finally:
            self._shown.close()
            # A cancelled wait leaves the finish standing; lines that found no room by then are given up.
            self._ring.closed = True
            self._outlet.finish(parcel, lambda error: self._inbox.post(resolve, settled, error))
        await settled

    def _line(self, text: str, stdio: Stdio) -> None:
        if self._ring.closed:
            self._line_too_late(text)
            return
        self._ring.add(self._job.secrecy.text(text), stdio)

    def _pace(self) -> None:
        if not self._ring.crowded or not (self._pacing is None or self._pacing.done()):
            return
        self._pacing = asyncio.run_coroutine_threadsafe(self._ring.drained(self._room), self._loop)
        while not wait((self._pacing,), _PACE).done:
            alive = threading.Event()
            self._loop.call_soon_threadsafe(alive.set)
            if not alive.wait(_PACE):
                # The block holds its loop up, perhaps to wait for the very process that prints: then lines are dropped.
                return

    def _relay(self, record: bytes, lane: str) -> None:
        self._check()
        sending = self._send(self._channel.data if lane == "data" else self._channel.telemetry, record)
        asyncio.run_coroutine_threadsafe(sending, self._loop).result()

    def _show(self, payload: object) -> None:
        if not self._finish_said and self._channel.trouble is None:
            self._shown.add(self, payload)


def resolve(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


async def preview_again(
    ctx: Context, made: Mapping[str, Any], id: str | None, said: Mapping[str, Any] | None, pages: bytes
) -> None:
    """Show what a preview was made of before; nothing is converted. For the executor, which gives a kept result again.

    **Durability** and **Cancellation** as ``Context.preview``.
    """
    await ctx._preview_again(made, id, said, pages)
