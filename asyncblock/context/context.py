"""Context: a job as an ``async def`` block sees it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from ..link import JobSender
from ..preview import Limits, Making
from ..runtime.iothread import inbox_of
from ..runtime.offload import run_in_thread, show_in_thread, wait_in_thread
from ..shapes import Results
from ..store import Store, StoreKey
from ..wire.bodies import OutgoingBody, Parcel
from ..wire.records import encode
from ..wire.windows import Lane
from .counted import counted
from .directed import Targets, ToFlow, ToNode, targets_of
from .enginecalls import AsyncEngineCalls
from .jobinfo import JobInfo
from .large import Large
from .payloads import (
    Prepared,
    Stdio,
    now_ms,
    rate,
    raw_pieces,
)
from .pendingfigures import FigureSender, PendingFigures
from .printed import LineRing
from .secrecy import CredentialInput

__all__ = ["Context", "preview_again"]

T = TypeVar("T")

_PACE = 1.0
"""Seconds that a printing thread waits for a loop that doesn't answer, before it drops lines."""

_CALLS_PER_TURN = 64
"""Sends that a block may make before its loop gets a turn, so that a loop of sends never starves the others."""


class Context(AsyncEngineCalls, FigureSender):
    """A job as its ``async def main(inputs, ctx)`` sees it. The executor makes one for each attempt.

    It belongs to the event loop that runs the block; tasks of that loop may share it, and their sends arrive in the
    order of the calls. Every coroutine here is a cancellation point.
    """

    def __init__(self, job: JobInfo, inputs: Mapping[str, Any], sender: JobSender, store: Store) -> None:
        super().__init__(job, inputs, sender, store)
        self._loop = asyncio.get_running_loop()
        self._inbox = inbox_of(self._loop)
        self._calls = 0
        self._turn = 0
        self._ring = LineRing(sender, self._inbox)
        self._pending_figures = PendingFigures()
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
        if record is not None and not self._ring.waiting and self._sender.try_record(self._channel.data, record):
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

    @counted
    async def outputs(self, values: Results) -> None:
        """Send values to several handles in one record.

        **Durability**, **Cancellation** and errors as ``output``; all values or none are sent.
        """
        await self._outputs(values)

    @counted
    async def flush(self) -> None:
        """Wait until everything that this job has sent is in the journal: data, telemetry, the waiting progress.

        **Durability**: on return it survives kill -9 of either side.
        **Cancellation** is safe: what was sent stays sent.
        Raises ``LeaseLost`` when the attempt is fenced, ``Rejected`` when a record was refused, ``ConnectionLost``
        when the link can't be continued.
        """
        await self._ring.drained(self._room)
        await self._after_shown()
        if self._finish_said:
            return
        self._check()
        await self._settled(self._sender.mark)
        if self._channel.trouble is not None:
            self._check()

    @counted
    async def done(self, error: str | None = None) -> None:
        """Finish the job, with an error if one is given.

        **Durability**: on return the finish and all data before it are in the journal.
        **Cancellation**: the finish stands and will arrive.
        A second finish changes nothing and is logged as a warning. Raises as ``flush``.
        """
        await self._done(error)

    @counted
    async def finish(self, result: Results | None = None, error: str | None = None) -> None:
        """Finish the job with outputs by handle, or with an error; the error wins.

        **Durability** and **Cancellation** as ``done``; errors as ``output`` and ``flush``.
        """
        await self._finish(result, error)

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
        await self._preview(payload, id, limits)

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
            # A cancel too: only this frame knows what was made, and what it holds of the budget.
            self._release(prepared)
            raise
        await self._put_preview(self._preview_record(said, made, prepared, id), id)

    @counted
    async def report_progress(self, progress: float) -> None:
        """Note how far the job is, from 0 to 100; values beyond are clamped.

        **Durability**: the newest value is sent at most every 0.1 s, and always before the finish and with ``flush``.
        **Cancellation** is safe. Never waits for room. Raises ``LocalProtocolError`` for what is no number.
        """
        self._check()
        self._sender.put_progress(encode("BlockProgress", now_ms(), rate=rate(progress)))
        await self._give_turn()

    @counted
    async def report_log(self, line: str, stdio: Stdio = "stdout") -> None:
        """Send a log line. **Durability**: accepted; may be lost with the process. **Cancellation**: not sent."""
        await self._log(line, stdio)

    @counted
    async def log_json(self, payload: object) -> None:
        """Send a value as a log entry. **Durability** and **Cancellation** as ``report_log``; errors as ``output``."""
        await self._report("BlockLogJSON", "json", payload)

    @counted
    async def send_message(self, payload: object) -> None:
        """Send a message to those who watch. **Durability**, **Cancellation** and errors as ``log_json``."""
        await self._report("BlockMessage", "payload", payload)

    @counted
    async def send_warning(self, warning: str) -> None:
        """Send a warning. **Durability** and **Cancellation** as ``report_log``."""
        await self._warn(warning)

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
        if not self._finish_said and ending.get("cancelled"):
            self._pending_figures.close()
        await self._conclude(ending, result)

    # ------------------------------------------------------------------ how this face waits

    async def _body_room(self, body: OutgoingBody) -> None:
        woken = self._loop.create_future()
        self._sender.when_body_room(body, lambda: self._inbox.post(resolve, woken, None))
        await woken

    def _aside(self, work: Callable[..., T], *args: Any) -> Awaitable[T]:
        return run_in_thread(work, *args)

    def _aside_waiting(self, work: Callable[..., T], *args: Any) -> Awaitable[T]:
        return wait_in_thread(work, *args)

    def _on_loop(self, coroutine: Coroutine[Any, Any, T]) -> Awaitable[T]:
        return coroutine

    def _step(self, large: Large, seconds: float | None) -> Awaitable[Prepared | None]:
        return run_in_thread(large.step) if seconds is None else show_in_thread(seconds, large.step)

    def _converted(self, making: Making) -> Awaitable[dict[str, Any]]:
        return making.finish()

    async def _after_shown(self) -> None:
        if self._pending_figures.waiting:
            await self._pending_figures.drained(self)

    async def _accepted(self, accept: Callable[[], bool], lane: Lane, size: int) -> None:
        while not accept():
            await self._room(lane, size)
            self._check()

    async def _send(self, lane: Lane, item: bytes | Parcel, keys: Sequence[StoreKey | None] = ()) -> None:
        try:
            if self._ring.waiting:
                await self._ring.drained(self._room)
            while not self._sender.try_accept(lane, item):
                await self._room(lane, len(item) if isinstance(item, bytes) else len(item.record))
                self._check()
        except BaseException:
            # A cancel too: a record that was not accepted must not keep its bodies, nor the values that it names.
            self._sender.forget(item)
            self._forget(keys)
            raise
        await self._give_turn()

    async def _give_turn(self) -> None:
        self._calls += 1
        if self._calls >= _CALLS_PER_TURN or now_ms() > self._turn:
            self._calls = 0
            # A send that has room never waits, so a loop of sends would hold up every other job of this process for as
            # long as it runs.
            await asyncio.sleep(0)
            self._turn = now_ms()

    async def _room(self, lane: Lane, size: int) -> None:
        woken = self._loop.create_future()
        self._sender.when_room(lane, size, lambda: self._inbox.post(resolve, woken, None))
        await woken

    async def _settled(self, ask: Callable[[Callable[[BaseException | None], None]], None]) -> None:
        settled = self._loop.create_future()
        ask(lambda error: self._inbox.post(resolve, settled, error))
        await settled

    async def _send_finish(self, parcel: Parcel) -> None:
        settled = self._loop.create_future()
        try:
            if self._pending_figures.waiting:
                await self._pending_figures.drained(self)
            await self._ring.drained(self._room)
        finally:
            self._pending_figures.close()
            # A cancelled wait leaves the finish standing; lines that found no room by then are given up.
            self._ring.closed = True
            self._sender.finish(parcel, lambda error: self._inbox.post(resolve, settled, error))
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
                # The block holds its loop up, perhaps to wait for the very process that prints: lines are dropped.
                return

    def _relay(self, record: bytes, lane: str) -> None:
        # On the thread that reads what a forked process writes: waiting here lets its pipe fill, so that it waits, too.
        self._check()
        sending = self._send(self._channel.data if lane == "data" else self._channel.telemetry, record)
        asyncio.run_coroutine_threadsafe(sending, self._loop).result()

    def _show(self, payload: object) -> None:
        if not self._finish_said and self._channel.trouble is None:
            self._pending_figures.add(self, payload)


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
