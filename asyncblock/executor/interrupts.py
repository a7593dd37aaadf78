"""Signals in an executor process: what a block's handler raises, and what a block sends itself, is the block's.

The interpreter runs a handler between any two instructions of the main thread, where async blocks run: what it raises
comes out of whatever runs there, in another job's code or in the event loop itself.
"""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import os
import signal
from collections.abc import Callable
from typing import Any

from ..errors import LocalProtocolError
from ..forks import undo_in_child
from .tasks import blame, owner

__all__ = ["Interrupts"]

_OURS = (signal.SIGINT, signal.SIGTERM)
"""Signals on which an executor process leaves."""


class Interrupts:
    """The replaced functions, and what was there before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pid = os.getpid()
        self._patched: list[tuple[Any, str, Any, Any]] = []
        self._signal, self._getsignal = signal.signal, signal.getsignal
        self._replace(signal, "signal", self._set)
        self._replace(signal, "getsignal", lambda number: _bare(self._getsignal(number)))
        self._replace(signal, "raise_signal", self._sent_by(signal.raise_signal, lambda number: number))
        self._replace(_thread, "interrupt_main", self._sent_by(_thread.interrupt_main, _interrupts))
        # A forked process isn't the executor's: what it sends itself and what its handlers raise is its own affair.
        undo_in_child(self.undo)
        self._replace(os, "kill", self._sent_by(os.kill, lambda pid, number: number if pid == os.getpid() else None))

    def _replace(self, module: Any, name: str, function: Callable[..., Any]) -> None:
        self._patched.append((module, name, getattr(module, name), function))
        setattr(module, name, function)

    def undo(self) -> None:
        """Put the functions back that nobody else has replaced since."""
        for module, name, original, function in self._patched:
            if getattr(module, name) is function:
                setattr(module, name, original)

    def _set(self, signalnum: int, handler: Any) -> Any:
        who = owner()
        # A process that the block has forked is its own.
        own = os.getpid() != self._pid
        if who is not None and not own and callable(handler) and not isinstance(handler, signal.Handlers):
            handler = _Handler(handler, who)
        return _bare(self._signal(signalnum, handler))

    def _sent_by(self, original: Callable[..., Any], number_of: Callable[..., Any]) -> Callable[..., Any]:
        def send(*args: Any) -> Any:
            who, number = owner(), number_of(*args)
            ours = number in _OURS and os.getpid() == self._pid and not isinstance(self._getsignal(number), _Handler)
            if who is None or not ours:
                return original(*args)
            name = signal.Signals(number).name
            words = f"the block sent {name} to its own process, where other jobs run; it has ended itself alone"
            kind = KeyboardInterrupt if number == signal.SIGINT else LocalProtocolError
            self._loop.call_soon_threadsafe(blame, kind(words), who)
            return None

        return send


def _interrupts(number: int = signal.SIGINT) -> int:
    return number


class _Handler:
    """A block's signal handler."""

    def __init__(self, handler: Callable[[int, Any], Any], who: Any) -> None:
        self.handler = handler
        self._who = who
        self._context = contextvars.copy_context()
        self._pid = os.getpid()

    def __call__(self, number: int, frame: Any) -> Any:
        try:
            return self._context.copy().run(self.handler, number, frame)
        except BaseException as error:
            if owner() is self._who or os.getpid() != self._pid:
                # Its own code is what was interrupted: a time limit for it, say.
                raise
            blame(error, self._who)
            return None


def _bare(handler: Any) -> Any:
    return handler.handler if isinstance(handler, _Handler) else handler
