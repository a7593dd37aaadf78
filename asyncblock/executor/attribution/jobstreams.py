"""Text that a block writes becomes lines of its job: the current job's sink, lines in the making, the text streams.

Knows nothing of logging, threads or of what is patched; ``capture`` does.
"""

from __future__ import annotations

import codecs
import io
import logging
import sys
import threading
from collections.abc import Callable, Hashable, Iterable
from contextvars import ContextVar
from typing import Any, ClassVar, Literal, Protocol, TextIO

from ...runtime.forks import fresh_lock

__all__ = [
    "JobStream",
    "Partial",
    "Sink",
    "Stdio",
    "TextSink",
    "active_sink",
    "beneath",
    "current_sink",
    "deliver",
    "divert",
    "divert_lines",
    "divert_no_more",
    "flush_job",
    "past_capture",
    "unwrap_streams",
]

Stdio = Literal["stdout", "stderr"]

logger = logging.getLogger("asyncblock.capture")


class Sink(Protocol):
    """Takes the lines of one job. ``line`` may be called from any thread of the job and may wait."""

    def line(self, text: str, stdio: Stdio, /) -> None:
        """Take a line, without its newline."""


class TextSink(Sink, Protocol):
    """Takes pieces of lines too."""

    def text(self, text: str, stdio: Stdio, /) -> None:
        """Take text; a line is whole when its newline comes."""


current_sink: ContextVar[Sink | None] = ContextVar("asyncblock_sink", default=None)
"""Where the lines of the job that runs here go; None outside a job."""

MAX_PARTIAL = 64 << 10
"""Characters without a newline that are kept; a longer line goes out in pieces."""

_lock = fresh_lock()
_far: TextSink | None = None
"""In a process that a job has forked: takes everything, whatever the context."""
_partials: dict[tuple[Hashable, Stdio], Partial] = {}
_diverted: dict[tuple[Hashable, Stdio], tuple[Any, ...]] = {}
"""What a job has put in the place of a stream, for itself alone; the last one counts."""


class _Thread(threading.local):
    past = False
    """What this thread writes goes past the capture."""
    beneath: Any = None
    """Writes to what a job has put in the place of a stream: which one, and how many there are beneath it. What that
    writes in its turn to the stream, as a tee does, goes there."""


_thread = _Thread()


class Partial:
    """The line in the making on one stream of one job."""

    __slots__ = ("decoder", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.size = 0
        self.decoder: codecs.IncrementalDecoder | None = None

    def add(self, text: str) -> list[str]:
        """Add text and return the lines that it completes."""
        self.pieces.append(text)
        self.size += len(text)
        if "\n" not in text and "\r" not in text and self.size < MAX_PARTIAL:
            return []
        *lines, rest = "".join(self.pieces).split("\n")
        rest = _overwritten(rest) + "\r" if rest.endswith("\r") else _overwritten(rest)
        if len(rest) >= MAX_PARTIAL:
            lines.append(rest)
            rest = ""
        self.pieces = [rest] if rest else []
        self.size = len(rest)
        return list(map(_overwritten, lines))

    def decode(self, data: bytes) -> str:
        if self.decoder is None:
            self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return self.decoder.decode(data)

    def end(self) -> str:
        """Return the line that is in the making."""
        return _overwritten(self.rest())

    def rest(self) -> str:
        """Return the text that is no whole line yet."""
        return "".join(self.pieces) + (self.decoder.decode(b"", final=True) if self.decoder else "")

    @property
    def empty(self) -> bool:
        return not self.pieces and (self.decoder is None or self.decoder.getstate()[0] == b"")


def _overwritten(line: str) -> str:
    """What a terminal would show: a progress bar returns to the line's start; only its last state is a line."""
    return line.rstrip("\r").rpartition("\r")[2]


def active_sink() -> Sink | None:
    """Return the current job's sink; None outside a job, and while a sink is at work in this thread."""
    return None if _thread.past else _far or current_sink.get()


def divert_lines(far: TextSink) -> None:
    """In a forked process: give everything that it writes to a sink. What its parent had begun to write is let go."""
    global _far
    _far = far
    _partials.clear()
    _thread.past = False


class past_capture:
    """``with past_capture():`` what this thread writes and logs isn't captured. It also ends recursion."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _thread.past
        _thread.past = True

    def __exit__(self, *_: object) -> None:
        _thread.past = self._before


def deliver(sink: Sink, lines: Iterable[str], stdio: Stdio, echo: Callable[[str], object] | None = None) -> None:
    """Hand lines to a sink. What it raises stays here: a ``print`` doesn't fail since its job is finished."""
    with past_capture():
        for line in lines:
            try:
                sink.line(line, stdio)
                if echo is not None:
                    echo(line + "\n")
            except Exception:
                logger.debug("a line of a job was refused", exc_info=True)


def flush_job(sink: Sink) -> None:
    """Deliver what the job wrote without a newline at the end. Call it when the block has ended, before its finish.

    Any sink with an equal ``line`` will do, so a context's ``sink`` may be asked for anew. Where the sink may wait (a
    ``def`` block's), call it in the block's thread.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) or isinstance(sys.stderr, io.TextIOWrapper):
        unwrap_streams(sink)
    if _diverted:
        # A thread that was left may be in there still.
        for stdio in _STREAMS:
            _diverted.pop((_key(sink), stdio), None)
    # Most jobs write no half line. Without the lock, for what the block's own thread wrote is seen here.
    if not _partials:
        return
    for stdio in _STREAMS:
        with past_capture(), _lock:
            partial = _partials.pop((_key(sink), stdio), None)
        if partial is not None:
            rest = partial.end()
            stream = getattr(sys, stdio)
            deliver(sink, [rest] if rest else [], stdio, stream.echo if isinstance(stream, JobStream) else None)


def unwrap_streams(sink: Sink | None = None) -> None:
    """Put a ``JobStream`` back where an author has wrapped its bytes anew: ``sys.stdout = TextIOWrapper(...)``.

    Such a wrapper keeps text of all jobs until it is flushed; what it has is the given sink's.
    """
    if not JobStream.made:
        # Nothing is captured in this process.
        return
    for stdio in _STREAMS:
        wrapper = getattr(sys, stdio)
        below = beneath(wrapper)
        if below is None or wrapper is below:
            continue
        token = current_sink.set(sink)
        try:
            wrapper.flush()
        except Exception:
            logger.debug("a stream that a block has wrapped anew can't be flushed", exc_info=True)
        finally:
            current_sink.reset(token)
        setattr(sys, stdio, below)


def beneath(stream: Any) -> JobStream | None:
    """Return the ``JobStream`` that a stream of text writes to in the end, if it does."""
    for _ in range(_WRAPPINGS):
        if isinstance(stream, JobStream):
            return stream
        if isinstance(stream, _JobBytes):
            return stream.text
        try:
            if isinstance(stream, io.TextIOWrapper):
                stream = stream.buffer
            elif isinstance(stream, (io.BufferedWriter, io.BufferedRandom)):
                stream = stream.raw
            else:
                # As those of codecs name it.
                stream = vars(stream).get("stream")
        except (TypeError, ValueError, AttributeError):
            # Without attributes of its own, or detached.
            return None
    return None


_WRAPPINGS = 4
"""Wrappers around a stream that are looked into."""

_STREAMS: tuple[Stdio, ...] = ("stdout", "stderr")


def _key(sink: Sink) -> Hashable:
    # The bound method, not the sink: it is equal for each of the sinks that a context makes of itself.
    return sink.line


def _take(sink: Sink, data: str | bytes, stdio: Stdio, echo: Callable[[str], object] | None) -> None:
    key = (_key(sink), stdio)
    # A finalizer that prints may run in here, in this thread; it goes past and finds no lock.
    _thread.past = True
    try:
        with _lock:
            partial = _partials.get(key)
            if partial is None:
                partial = _partials[key] = Partial()
            lines = partial.add(data if isinstance(data, str) else partial.decode(data))
            if partial.empty:
                del _partials[key]
    finally:
        _thread.past = False
    if lines:
        deliver(sink, lines, stdio, echo)


def divert(sink: Sink, stdio: Stdio, target: Any) -> object:
    """Let what a job writes to a stream go to a target instead, which nobody else's does; return what ends it."""
    key = (_key(sink), stdio)
    if isinstance(target, JobStream):
        # The stream as it is now, and not as it will be.
        others = _diverted.get((key[0], target.stdio), ())
        target = others[-1] if others else _Straight(sink, target)
    with _lock:
        _diverted[key] = (*_diverted.get(key, ()), target)
    return key, target


def divert_no_more(diversion: Any) -> None:
    """End it; without an effect when its job has ended."""
    key, target = diversion
    with _lock:
        left = list(_diverted.pop(key, ()))
        for place in reversed(range(len(left))):
            if left[place] is target:
                del left[place]
                break
        if left:
            _diverted[key] = tuple(left)


def _to_diverted(sink: Sink, stdio: Stdio, text: str) -> bool:
    """Write to what the job has put in a stream's place; False when there is nothing."""
    key = (_key(sink), stdio)
    stack = _diverted.get(key, ())
    before = _thread.beneath
    level = before[1] if before is not None and before[0] == key else len(stack)
    if not 0 < level <= len(stack):
        return False
    # None takes everything and says nothing, as for ``print``.
    if (target := stack[level - 1]) is not None:
        _thread.beneath = (key, level - 1)
        try:
            target.write(text)
        finally:
            _thread.beneath = before
    return True


def _in_place_of(stdio: Stdio) -> Any:
    """Return what this job has put in a stream's place; None for nothing, and while that is at work in this thread."""
    if not _diverted or _thread.beneath is not None or (sink := active_sink()) is None:
        return None
    return (_diverted.get((_key(sink), stdio)) or (None,))[-1]


class _Straight:
    """A stream of the job's, whatever the job puts in its place later."""

    def __init__(self, sink: Sink, stream: JobStream) -> None:
        self._sink = sink
        self._stream = stream

    def write(self, text: str) -> None:
        _take(self._sink, text, self._stream.stdio, self._stream.echo)

    def flush(self) -> None:
        self._stream.flush()


class JobStream(io.TextIOBase):
    """Stands for ``sys.stdout`` or ``sys.stderr``: in a job its text becomes lines, elsewhere it goes to ``real``.

    It has the real stream's file descriptor: what a child process or an extension writes there isn't seen here.
    """

    encoding = "utf-8"
    errors = "backslashreplace"
    made: ClassVar[bool] = False
    """There has been one in this process."""

    def __init__(self, real: TextIO, stdio: Stdio, *, echo: bool = False) -> None:
        super().__init__()
        JobStream.made = True
        self.real = real
        self.stdio = stdio
        self.echo = real.write if echo else None
        self.name = f"<{stdio}>"
        self.mode = "w"
        self.buffer = _JobBytes(self)

    def write(self, text: str, /) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        sink = active_sink()
        if sink is None:
            return self.real.write(text)
        if not (_diverted and _to_diverted(sink, self.stdio, text)):
            _take(sink, text, self.stdio, self.echo)
        return len(text)

    def flush(self) -> None:
        if (flush := getattr(_in_place_of(self.stdio), "flush", None)) is not None:
            flush()
            return
        # In a job too: a line without its newline stays back, but an echo is due. A forked process may end after this.
        self.real.flush()
        if _far is not None and not _thread.past:
            with _lock:
                partial = _partials.pop((_key(_far), self.stdio), None)
            if partial is not None:
                _far.text(partial.rest(), self.stdio)

    def fileno(self) -> int:
        target = _in_place_of(self.stdio)
        return int((self.real if target is None or isinstance(target, _Straight) else target).fileno())

    def isatty(self) -> bool:
        """False in a job: colours and cursor movements mean nothing in a line."""
        return active_sink() is None and self.real.isatty()

    def writable(self) -> bool:
        return True

    def reconfigure(self, **options: Any) -> None:
        """Reconfigure the real stream; in a job nothing, for the stream is everybody's."""
        if active_sink() is None and isinstance(self.real, io.TextIOWrapper):
            self.real.reconfigure(**options)

    def close(self) -> None:
        """Do nothing: the stream is everybody's."""

    def detach(self) -> _JobBytes:  # type: ignore[override]  # as of TextIOWrapper
        """Return the bytes' stream, for a wrapper of the author's. This one goes on: it is everybody's."""
        return self.buffer

    @property
    def line_buffering(self) -> bool:
        """True: a line leaves when it is complete."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class _JobBytes(io.BufferedIOBase):
    """The ``buffer`` of a ``JobStream``: bytes are UTF-8 text of the same line."""

    def __init__(self, stream: JobStream) -> None:
        super().__init__()
        self.text = stream

    @property
    def raw(self) -> _JobBytes:
        """One for a buffer of the author's, which closes it."""
        return _JobRaw(self.text)

    def detach(self) -> _JobBytes:  # type: ignore[override]  # no raw stream of the interpreter's
        """Return the stream without a buffer, which is this one."""
        return self

    def write(self, data: Any, /) -> int:
        stream = self.text
        data = bytes(memoryview(data))
        sink = active_sink()
        if sink is not None:
            if not (_diverted and _to_diverted(sink, stream.stdio, data.decode("utf-8", "replace"))):
                _take(sink, data, stream.stdio, stream.echo)
            return len(data)
        real = getattr(stream.real, "buffer", None)
        if real is None:
            stream.real.write(data.decode("utf-8", "replace"))
        else:
            # The text that was written before is in front of these bytes.
            stream.real.flush()
            real.write(data)
        return len(data)

    def flush(self) -> None:
        # A wrapper may be collected later than the real stream is closed, and flushes once more.
        if not getattr(self.text.real, "closed", False):
            self.text.flush()

    def fileno(self) -> int:
        return self.text.fileno()

    def isatty(self) -> bool:
        return self.text.isatty()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Do nothing: the stream is everybody's."""


class _JobRaw(_JobBytes):
    """Closes by itself: whoever buffers it asks afterwards whether it is closed (3.13)."""

    def close(self) -> None:
        """Be closed, which closes nothing of anybody's."""
        io.BufferedIOBase.close(self)
