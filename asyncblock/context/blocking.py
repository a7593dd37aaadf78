"""SyncContext: a job as a ``def`` block sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from ..link import JobSender
from ..preview import Limits, Making
from ..shapes import Results
from ..store import Store, StoreKey
from ..varvalues.detached import detached
from ..wire.bodies import OutgoingBody, Parcel
from ..wire.records import encode
from ..wire.windows import Lane
from .directed import ToFlow, ToNode, targets_of
from .enginecalls import Apart
from .jobinfo import JobInfo
from .large import Large
from .payloads import (
    Prepared,
    Stdio,
    log_records,
    now_ms,
    rate,
)
from .secrecy import CredentialInput
from .sending import driven
from .staying import movable

__all__ = ["SyncContext"]

T = TypeVar("T")


class SyncContext(Apart):
    """A job as its ``def main(inputs, ctx)`` sees it, on a worker thread. Calls wait as ``Context``'s awaits do.

    Threads that the block starts may use it too. ``lock`` is one for all sync jobs of the link.
    """

    def __init__(
        self, job: JobInfo, inputs: Mapping[str, Any], sender: JobSender, store: Store, lock: threading.Lock
    ) -> None:
        super().__init__(job, inputs, sender, store)
        self._lock = lock

    def output(
        self,
        value: object,
        handle: str,
        done: bool = False,
        *,
        to_node: Sequence[ToNode] | None = None,
        to_flow: Sequence[ToFlow] | None = None,
    ) -> None:
        """As ``Context.output``."""
        targets = targets_of(to_node, to_flow)
        self._check()
        driven(self._output_long(value, handle, targets))
        if done:
            self.done()

    def outputs(self, values: Results) -> None:
        """As ``Context.outputs``."""
        driven(self._outputs(values))

    def flush(self) -> None:
        """As ``Context.flush``."""
        if self._finish_said:
            return
        self._check()
        with self._lock:
            wait = self._ask(self._sender.mark)
        wait()
        if self._channel.trouble is not None:
            self._check()

    def done(self, error: str | None = None) -> None:
        """As ``Context.done``."""
        driven(self._done(error))

    def finish(self, result: Results | None = None, error: str | None = None) -> None:
        """As ``Context.finish``."""
        driven(self._finish(result, error))

    def send_error(self, error: str) -> None:
        """As ``Context.send_error``."""
        self._check()
        driven(self._send(self._channel.data, encode("BlockError", now_ms(), error=self._text(error))))

    def preview(self, payload: object, id: str | None = None, *, limits: Limits | None = None) -> None:
        """As ``Context.preview``; converted on this thread, a Figure drawn in the worker process."""
        driven(self._preview(payload, id, limits))

    def report_progress(self, progress: float) -> None:
        """As ``Context.report_progress``."""
        self._check()
        with self._lock:
            self._sender.put_progress(encode("BlockProgress", now_ms(), rate=rate(progress)))

    def report_log(self, line: str, stdio: Stdio = "stdout") -> None:
        """As ``Context.report_log``."""
        driven(self._log(line, stdio))

    def log_json(self, payload: object) -> None:
        """As ``Context.log_json``."""
        driven(self._report("BlockLogJSON", "json", payload))

    def send_message(self, payload: object) -> None:
        """As ``Context.send_message``."""
        driven(self._report("BlockMessage", "payload", payload))

    def send_warning(self, warning: str) -> None:
        """As ``Context.send_warning``."""
        driven(self._warn(warning))

    def query_auth(self, credential: CredentialInput) -> dict[str, str]:
        """As ``Context.query_auth``."""
        return self._confide(credential)

    def conclude(self, ending: Mapping[str, Any], result: Mapping[str, object] | None = None) -> None:
        """As ``Context.conclude``."""
        driven(self._conclude(ending, result))

    # ------------------------------------------------------------------ how this face waits: its thread does, in here

    async def _aside(self, work: Callable[..., T], *args: Any) -> T:
        return work(*args)

    _aside_waiting = _aside

    async def _on_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._wait(coroutine)

    async def _step(self, large: Large, seconds: float | None) -> Prepared | None:
        return large.step()

    async def _converted(self, making: Making) -> dict[str, Any]:
        return making.finish_blocking()

    async def _taken(self, value: object) -> object:
        return detached(self._store.own(value, self._job.session_id))

    async def _movable(self, value: object) -> tuple[int | None, str | None]:
        return movable(value)

    async def _after_shown(self) -> None:
        """Nothing waits: what a sync block shows is sent at once."""

    async def _body_room(self, body: OutgoingBody) -> None:
        woken = threading.Event()
        self._sender.when_body_room(body, woken.set)
        woken.wait()

    async def _send(self, lane: Lane, item: bytes | Parcel, keys: Sequence[StoreKey | None] = ()) -> None:
        size = len(item) if isinstance(item, bytes) else len(item.record)
        try:
            await self._accepted(lambda: self._sender.try_accept(lane, item), lane, size)
        except BaseException:
            # A cancel too: a record that was not accepted must not keep its bodies, nor the values that it names.
            self._sender.forget(item)
            self._forget(keys)
            raise

    async def _accepted(self, accept: Callable[[], bool], lane: Lane, size: int) -> None:
        while True:
            with self._lock:
                if accept():
                    return
                room = threading.Event()
                self._sender.when_room(lane, size, room.set)
            room.wait()
            self._check()

    def _ask(self, ask: Callable[[Callable[[BaseException | None], None]], None]) -> Callable[[], None]:
        settled = threading.Event()
        errors: list[BaseException] = []

        def settle(error: BaseException | None) -> None:
            if error is not None:
                errors.append(error)
            settled.set()

        ask(settle)

        def wait() -> None:
            settled.wait()
            if errors:
                raise errors[0]

        return wait

    async def _send_finish(self, parcel: Parcel) -> None:
        with self._lock:
            wait = self._ask(lambda settle: self._sender.finish(parcel, settle))
        wait()

    def _line(self, text: str, stdio: Stdio) -> None:
        if self._finish_said:
            self._line_too_late(text)
            return
        if self._channel.trouble is not None:
            return
        for record in log_records(self._job.secrecy.text(text), stdio):
            driven(self._send(self._channel.telemetry, record))

    def _relay(self, record: bytes, lane: str) -> None:
        self._check()
        driven(self._send(self._channel.data if lane == "data" else self._channel.telemetry, record))

    def _show(self, payload: object) -> None:
        if not self._finish_said and self._channel.trouble is None:
            self.preview(payload)
