"""SyncContext: a job as a ``def`` block sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..detached import detached, size_of
from ..errors import Closed, ConnectionLost, LeaseLost, LocalProtocolError, Rejected, Unavailable
from ..link import DraftAbandoned, Outlet
from ..preview import Limits, Making
from ..shapes import Results, by_handle
from ..shared import make_private
from ..store import Store, StoreKey
from ..wire.bodies import Parcel
from ..wire.records import encode
from ..wire.windows import Lane
from .base import can_go_unsent, too_many
from .directed import ToFlow, ToNode, targets_of
from .enginecalls import Apart
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
)
from .secrecy import CredentialInput
from .staying import movable

__all__ = ["SyncContext"]


class SyncContext(Apart):
    """A job as its ``def main(inputs, ctx)`` sees it, on a worker thread. Calls wait as ``Context``'s awaits do.

    Threads that the block starts may use it too. ``lock`` is one for all sync jobs of the link.
    """

    def __init__(
        self, job: JobInfo, inputs: Mapping[str, Any], outlet: Outlet, store: Store, lock: threading.Lock
    ) -> None:
        super().__init__(job, inputs, outlet, store)
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
        prepared: Prepared | None
        if self._is_stray(value, handle):
            prepared = self._stray(value, handle)
        else:
            prepared = self._prepared(value, handle, self._is_var(handle))
        if prepared is not None:
            self._send(self._channel.data, self._output_item(handle, prepared, targets), [prepared.key])
            self._part_from([prepared])
        if done:
            self.done()

    def outputs(self, values: Results) -> None:
        """As ``Context.outputs``."""
        self._check()
        prepared = self._prepare_many(values)
        item = self._many_item("BlockOutputs", "outputs", prepared)
        self._send(self._channel.data, item, self._keys_of(prepared.values()))
        self._part_from(prepared.values())

    def flush(self) -> None:
        """As ``Context.flush``."""
        if self._finish_said:
            return
        self._check()
        with self._lock:
            wait = self._ask(self._outlet.mark)
        wait()
        if self._channel.trouble is not None:
            self._check()

    def done(self, error: str | None = None) -> None:
        """As ``Context.done``."""
        if not self._say_finish():
            self._repeated_finish()
            return
        self._send_finish(self._finished_record(error))

    def finish(self, result: Results | None = None, error: str | None = None) -> None:
        """As ``Context.finish``."""
        if error is not None or result is None:
            self.done(error)
            return
        if self._finish_said:
            self._repeated_finish()
            return
        prepared = self._prepare_many(result)
        if self._say_finish():
            self._send_finish(self._many_item("BlockFinished", "result", prepared))
            self._part_from(prepared.values())
        else:
            self._release(prepared)

    def send_error(self, error: str) -> None:
        """As ``Context.send_error``."""
        self._check()
        self._send(self._channel.data, encode("BlockError", now_ms(), error=self._text(error)))

    def preview(self, payload: object, id: str | None = None, *, limits: Limits | None = None) -> None:
        """As ``Context.preview``; converted on this thread, a Figure drawn in the worker process."""
        self._check()
        prepared: dict[str, Prepared] = {}
        try:
            making = Making(payload, id, limits)
            made = making.finish_blocking()
            prepared["payload"] = self._made(self._large(made, None, telemetry=True))
            self._add_pages(prepared, making, type(payload).__name__)
        except BaseException as problem:
            # A cancel too: nobody else knows what was made, and what it holds of the budget.
            self._release(prepared)
            if isinstance(problem, (Closed, ConnectionLost, Rejected, LeaseLost)) or not isinstance(problem, Exception):
                raise
            self.send_warning(preview_words(type(payload).__name__, problem))
            return
        item = self._preview_record(making.said_of_pages(), made, prepared, id)
        if id is None:
            self._send(self._channel.telemetry, item)
            return
        try:
            self._until(lambda: self._outlet.put_preview(id, item), self._channel.telemetry, len(item.record))
        except BaseException:
            # A cancel too: a record that was not accepted must not keep its bodies.
            self._outlet.forget(item)
            raise

    def _add_pages(self, prepared: dict[str, Prepared], making: Making, kind: str) -> None:
        try:
            large = self._paged(making)
            if large is not None:
                prepared["pages"] = self._made(large)
        except Unavailable as problem:
            # The preview itself is there.
            self.send_warning(pages_words(kind, problem))

    def report_progress(self, progress: float) -> None:
        """As ``Context.report_progress``."""
        self._check()
        with self._lock:
            self._outlet.put_progress(encode("BlockProgress", now_ms(), rate=rate(progress)))

    def report_log(self, line: str, stdio: Stdio = "stdout") -> None:
        """As ``Context.report_log``."""
        self._check()
        for record in log_records(self._job.secrecy.text(line), stdio):
            self._send(self._channel.telemetry, record)

    def log_json(self, payload: object) -> None:
        """As ``Context.log_json``."""
        self._check()
        prepared = self._prepare(payload, None, telemetry=True)
        self._send(self._channel.telemetry, self._one_item("BlockLogJSON", "json", prepared))

    def send_message(self, payload: object) -> None:
        """As ``Context.send_message``."""
        self._check()
        prepared = self._prepare(payload, None, telemetry=True)
        self._send(self._channel.telemetry, self._one_item("BlockMessage", "payload", prepared))

    def send_warning(self, warning: str) -> None:
        """As ``Context.send_warning``."""
        self._check()
        self._send(self._channel.telemetry, self._warning(warning))

    def query_auth(self, credential: CredentialInput) -> dict[str, str]:
        """As ``Context.query_auth``."""
        return self._confide(credential)

    def conclude(self, ending: Mapping[str, Any], result: Mapping[str, object] | None = None) -> None:
        """As ``Context.conclude``."""
        if self._finish_said:
            return
        prepared: dict[str, Prepared] = {}
        if result:
            try:
                prepared = self._prepare_many(result)
            except LocalProtocolError as error:
                ending = {"error": str(error), "error_type": type(error).__name__}
        if self._say_finish():
            self._send_finish(self._finished_item(prepared, ending))
            self._part_from(prepared.values())
        else:
            self._release(prepared)

    def _prepare(self, value: object, handle: str | None, *, telemetry: bool = False) -> Prepared:
        prepared = self._prepare_small(value, handle, telemetry=telemetry)
        return prepared or self._made(self._large(value, handle, telemetry=telemetry))

    def _made(self, large: Large) -> Prepared:
        try:
            while (prepared := large.step()) is None:
                woken = threading.Event()
                self._outlet.when_body_room(large.draft.body, woken.set)
                woken.wait()
            return prepared
        except DraftAbandoned:
            raise self._lost_body() from None
        except BaseException:
            # A cancel too: chunks may be on the mainframe that no record will ever name.
            large.draft.abandon()
            raise

    def _prepare_many(self, given: Results) -> dict[str, Prepared]:
        values = by_handle(given)
        prepared: dict[str, Prepared] = {}
        try:
            for handle, value in values.items():
                if not self._is_undefined(handle):
                    prepared[handle] = self._prepared(value, handle, self._is_var(handle))
                elif (stray := self._stray(value, handle)) is not None:
                    prepared[handle] = stray
            self._fit(prepared)
        except BaseException:
            # A cancel too: nobody else knows what was made, and what it holds of the budget.
            self._release(prepared)
            raise
        return prepared

    def _prepared(self, value: object, handle: str, media_type: str | None, *, output: bool = True) -> Prepared:
        if not self._stays(value, media_type):
            return self._prepare(value, handle)
        if (
            output
            and (room := self._job.room) is not None
            and (problem := self._wait(room(size_of(value)))) is not None
        ):
            self.send_warning(problem)
        memory = self._shared(value) if output else None
        key = None if memory is None else self._hand_over(value, memory, handle)
        if key is None:
            memory, value = None, detached(self._store.own(value, self._job.session_id))
            key = self._put(value, handle, movable(value), output=output)
        try:
            if key.cache is not None and (problem := self._save(key)) is not None:
                self.send_warning(problem)
            prepared = self._prepare(key.to_json(), handle)
        except BaseException:
            # A cancel too: a value whose key was never sent would be kept for the session.
            self._forget([key])
            raise
        prepared.key, prepared.memory = key, memory
        return prepared

    def _stray(self, value: object, handle: str) -> Prepared | None:
        """As ``Context``'s."""
        self._send(self._channel.data, self._undefined(handle))
        try:
            return self._prepared(value, handle, None)
        except Exception as problem:  # whatever the author's class raises
            if not can_go_unsent(problem):
                raise
            self._send(self._channel.data, self._unsent(handle, problem))
            return None

    @staticmethod
    def _part_from(prepared: Iterable[Prepared]) -> None:
        """As ``Context``'s."""
        for each in prepared:
            if each.memory is not None:
                make_private(each.memory)

    def _fit(self, prepared: dict[str, Prepared]) -> None:
        """As ``Context``'s."""
        for handle in too_many(prepared):
            prepared[handle] = self._made(self._text_of(prepared[handle]))

    def _send(self, lane: Lane, item: bytes | Parcel, keys: Sequence[StoreKey | None] = ()) -> None:
        size = len(item) if isinstance(item, bytes) else len(item.record)
        try:
            self._until(lambda: self._outlet.try_accept(lane, item), lane, size)
        except BaseException:
            # A cancel too: a record that was not accepted must not keep its bodies, nor the values that it names.
            self._outlet.forget(item)
            self._forget(keys)
            raise

    def _until(self, accepted: Callable[[], bool], lane: Lane, size: int) -> None:
        while True:
            with self._lock:
                if accepted():
                    return
                room = threading.Event()
                self._outlet.when_room(lane, size, room.set)
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

    def _send_finish(self, parcel: Parcel) -> None:
        with self._lock:
            wait = self._ask(lambda settle: self._outlet.finish(parcel, settle))
        wait()

    def _line(self, text: str, stdio: Stdio) -> None:
        if self._finish_said:
            self._line_too_late(text)
            return
        if self._channel.trouble is not None:
            return
        for record in log_records(self._job.secrecy.text(text), stdio):
            self._send(self._channel.telemetry, record)

    def _relay(self, record: bytes, lane: str) -> None:
        self._check()
        self._send(self._channel.data if lane == "data" else self._channel.telemetry, record)

    def _show(self, payload: object) -> None:
        if not self._finish_said and self._channel.trouble is None:
            self.preview(payload)
