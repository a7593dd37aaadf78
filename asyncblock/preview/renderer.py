"""Renderings: figures wait in line for one thread of the process, which hands them to one worker process.

A rendering that waits takes no slot of the thread pool and no copy of the figure: the thread pickles a figure when its
turn comes. The worker process starts with the first figure and draws all further ones. It is replaced when it dies,
takes too long, has grown, or draws a figure that has been abandoned.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from ..errors import PreviewFailed
from .figure import figure_of, is_portable, png_of, settings
from .figurepickle import NamelessCode, NotSendable, pack, read_here
from .limits import Limits
from .packing import PATIENCE, Packing
from .process import Crashed, TimedOut, WorkerProcess
from .signatures import media_type_of
from .urls import data_url
from .worker import DRAWN, UNREADABLE

__all__ = ["Rendering", "close_worker", "keep_worker", "release_worker", "worker_pid"]

logger = logging.getLogger("asyncblock.preview")


class Rendering:
    """A figure that is to be drawn, in the place where its data URL will be."""

    def __init__(self, value: Any, limits: Limits) -> None:
        self.value = value
        self.limits = limits
        self.future: Future[str] = Future()
        self.abandoned = False
        self.drawn: str | None = None
        """The data URL, when it is there."""
        self.beside = False
        """It is the picture beside a chart, which is shown without it, too; then only its base64 is needed."""
        self.around = ("", "")
        """The text in front of the URL and behind it."""
        self._pieces: list[bytearray] | None = None
        self._kept: NamelessCode | None = None
        self.packing: Packing | None = None
        """The pickling of the figure; None before its turn has come."""
        self._renderer: _Renderer | None = None

    def take(self) -> None:
        """Pickle the figure here and at once: its author may change it later. Raises ``NotSendable``.

        If the worker can't read it, it is read and drawn here.
        """
        self._kept = NamelessCode()
        self._pieces = [bytearray(piece) for piece in self._packed()]

    @property
    def size(self) -> int:
        """Bytes that were taken."""
        return sum(map(len, self._pieces or ()))

    def begin(self) -> Future[str]:
        """Get in line. The future's result is a data URL; it raises ``NotSendable`` for what has to be drawn here."""
        renderer = _renderer()
        while not renderer.submit(self):
            # It was closed in between: get the one that has replaced it.
            renderer = _renderer()
        self._renderer = renderer
        return self.future

    async def url(self) -> str:
        """Wait for the picture's data URL. **Cancellation** ends the drawing. Raises as ``begin``."""
        future = self.begin()
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Don't draw it any more: the caller has given up."""
        self.abandoned = True
        if not self.future.cancel() and self._renderer is not None:
            self._renderer.abandon(self)

    def draw_here(self) -> str:
        """Draw on this thread; return the data URL."""
        figure = self.value if self._pieces is None else read_here(self._pieces)[0]
        # The frames of a failed future's exception refer to this object: a circle that would keep the figure.
        self._pieces, self._kept, self.future = None, None, Future()
        data = png_of(figure, self.limits.pixels, None, self._most)
        return data_url(data, media_type_of(data) or "image/png")

    def pieces(self) -> Sequence[bytes | bytearray | memoryview]:
        """Return the request for the worker. Raises ``NotSendable``."""
        return self._pieces if self._pieces is not None else self._packed()

    def _packed(self) -> list[bytes | memoryview]:
        if not is_portable(self.value):
            raise NotSendable("it isn't matplotlib's")
        value = figure_of(self.value) or self.value
        request = (value, self.limits.pixels, self._most, settings())
        return pack(request, self.limits.figure_bytes, self._kept)

    @property
    def _most(self) -> int:
        """Bytes that the picture may have: base64 turns three into four."""
        return self.limits.bytes * 3 // 4 - 100


_LATE = 8
"""Figures that may still be being pickled after their turn; the thread waits for the next one, and others behind it."""


class _Later(Exception):
    """The figure isn't pickled yet: it gets in line again when it is."""


def _give_up(rendering: Rendering) -> None:
    if rendering.packing is not None:
        _settle(rendering, PreviewFailed(f"pickling it took longer than {rendering.limits.seconds:g} s"))


def _settle(rendering: Rendering, outcome: str | Exception) -> None:
    # The rendering may have been given up while its figure was still being pickled.
    with suppress(InvalidStateError):
        if isinstance(outcome, str):
            rendering.future.set_result(outcome)
        else:
            rendering.future.set_exception(outcome)


class _Renderer:
    """The thread, and its worker process. Once closed it takes nothing more."""

    def __init__(self) -> None:
        self._line: queue.SimpleQueue[Rendering | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._process: WorkerProcess | None = None
        self._current: Rendering | None = None
        self._late = 0
        """Figures that are still being pickled, after their turn."""

    def submit(self, rendering: Rendering) -> bool:
        with self._lock:
            if self._closed:
                return False
            self._line.put(rendering)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="asyncblock figures", daemon=True)
                self._thread.start()
            return True

    def abandon(self, rendering: Rendering) -> None:
        with self._lock:
            if self._current is rendering and self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End the process, once what is in line is drawn."""
        with self._lock:
            self._closed = True
            self._line.put(None)
        if self._thread is not None:
            self._thread.join()

    def kill(self) -> None:
        """End the process at once: this one ends."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.close()

    @property
    def pid(self) -> int | None:
        with self._lock:
            return None if self._process is None else self._process.pid

    # ------------------------------------------------------------------ on the thread

    def _work(self) -> None:
        while (rendering := self._line.get()) is not None:
            if not self._is_due(rendering):
                continue
            try:
                url = self._draw(rendering)
            except _Later:
                continue
            except Exception as error:
                _settle(rendering, error)
            except BaseException as problem:
                # A figure's own methods may raise anything, SystemExit too. It must not reach the caller as such.
                _settle(rendering, PreviewFailed(f"it raised {type(problem).__name__}"))
            else:
                _settle(rendering, url)
            # Nothing of an author's figure is kept until the next one comes.
            del rendering
        self._end_process()

    def _is_due(self, rendering: Rendering) -> bool:
        """Tell whether a rendering is still wanted now that its turn has come, or has come again."""
        if rendering.packing is None:
            return rendering.future.set_running_or_notify_cancel()
        self._late -= 1
        if rendering.abandoned:
            _settle(rendering, PreviewFailed("nobody waited for it any more"))
        return not rendering.future.done()

    def _packed(self, rendering: Rendering) -> Sequence[bytes | bytearray | memoryview]:
        """Return the request for the worker. Raises ``_Later`` if it isn't pickled yet, and what pickling raises."""
        packing = rendering.packing
        if packing is None:
            packing = rendering.packing = Packing(rendering.pieces, lambda: self._line.put(rendering))
            seconds = rendering.limits.seconds
            if not packing.wait(PATIENCE if self._late < _LATE else seconds):
                self._late += 1
                clock = threading.Timer(seconds, _give_up, (rendering,))
                clock.daemon = True
                clock.start()
                raise _Later
        return packing.pieces()

    def _draw(self, rendering: Rendering) -> str:
        try:
            pieces = self._packed(rendering)
        except _Later:
            raise
        except BaseException:
            # After any error: the pickled figure is large, and won't be needed again.
            rendering.packing = None
            raise
        rendering.packing = None
        status, data = self._asked(rendering, pieces)
        if status == DRAWN:
            return data_url(data, media_type_of(data) or "image/png")
        words = data.decode("utf-8", "replace")
        if status == UNREADABLE:
            raise NotSendable(words)
        raise PreviewFailed(words)

    def _asked(self, rendering: Rendering, pieces: Sequence[bytes | bytearray | memoryview]) -> tuple[int, bytearray]:
        process = self._begun(rendering)
        try:
            status, ends, data = process.ask(pieces, rendering.limits.seconds)
        except TimedOut:
            self._end_process()
            raise PreviewFailed(f"drawing took longer than {rendering.limits.seconds:g} s and was stopped") from None
        except Crashed as crash:
            self._end_process()
            if rendering.abandoned:
                raise PreviewFailed("nobody waited for it any more") from None
            raise PreviewFailed(f"the process that draws figures died while it drew this one: {crash}") from None
        finally:
            with self._lock:
                self._current = None
        if ends:
            self._end_process()
        return status, data

    def _begun(self, rendering: Rendering) -> WorkerProcess:
        with self._lock:
            process = self._process
        if process is None:
            try:
                process = WorkerProcess()
            except OSError as error:
                logger.warning("the process that draws figures can't be started, threads draw them: %s", error)
                raise NotSendable(str(error)) from None
        with self._lock:
            self._process = process
            self._current = rendering
            if rendering.abandoned:
                process.kill()
        return process

    def _end_process(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.close()


_instance: _Renderer | None = None
_instance_lock = threading.Lock()
_keepers = 0


def _renderer() -> _Renderer:
    global _instance
    with _instance_lock:
        if _instance is None:
            _instance = _Renderer()
        return _instance


def worker_pid() -> int | None:
    """Return the id of the worker process; None while there is none."""
    return None if _instance is None else _instance.pid


def close_worker() -> None:
    """End the worker process once it has drawn what is in line; the next figure starts another. Waits."""
    global _instance
    with _instance_lock:
        closing, _instance = _instance, None
    if closing is not None:
        closing.close()


def keep_worker() -> None:
    """Keep the worker process until the same number of ``release_worker`` calls."""
    global _keepers
    with _instance_lock:
        _keepers += 1


def release_worker() -> None:
    """Undo a ``keep_worker``; the last one ends the worker process. Waits for that."""
    global _keepers
    with _instance_lock:
        _keepers -= 1
        last = _keepers == 0
    if last:
        close_worker()


def _at_exit() -> None:
    if _instance is not None:
        _instance.kill()


def _after_fork() -> None:
    # The child process has no such thread, and the worker belongs to the parent.
    global _instance, _instance_lock, _keepers
    _instance = None
    _instance_lock = threading.Lock()
    _keepers = 0


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
