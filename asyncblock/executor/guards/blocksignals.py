"""Signals in an executor process: what a block's handler raises, and what a block sends itself, is the block's.

The interpreter runs a handler between any two instructions of the main thread, where async blocks run: what it raises
comes out of whatever runs there, in another job's code or in the event loop itself.

SIGTERM and SIGINT are for the executor, which leaves in order whatever blocks set: a block's handler of these is kept
here, and called before that.
"""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from ...errors import LocalProtocolError
from ...runtime.forks import undo_in_child
from ..attribution.tasks import blame, owner
from .blockloop import Guards

__all__ = ["BlockSignals"]

_SETTINGS = (signal.SIG_IGN, signal.SIG_DFL)

_OURS = (signal.SIGINT, signal.SIGTERM)
"""Signals on which an executor process leaves."""


class BlockSignals:
    """The replaced functions, and what was there before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pid = os.getpid()
        self._patched: list[tuple[Any, str, Any, Any]] = []
        self._kept: dict[tuple[int, Any], Any] = {}
        """What each block has set for the signals that are the executor's."""
        self._signal, self._getsignal = signal.signal, signal.getsignal
        if isinstance(loop, Guards):
            loop.interrupts = self
        self._replace(signal, "signal", self._set)
        self._replace(signal, "getsignal", lambda number: _bare(self._get(number)))
        self._replace(signal, "raise_signal", self._sent_by(signal.raise_signal, lambda number: number))
        self._replace(_thread, "interrupt_main", self._sent_by(_thread.interrupt_main, _interrupts))
        # A forked process isn't the executor's: what it sends itself and what its handlers raise is its own affair.
        undo_in_child(self._leave_child)
        self._replace(os, "kill", self._sent_by(os.kill, lambda pid, number: number if pid == os.getpid() else None))

    def _replace(self, module: Any, name: str, function: Callable[..., Any]) -> None:
        self._patched.append((module, name, getattr(module, name), function))
        setattr(module, name, function)

    def undo(self) -> None:
        """Put the functions back that nobody else has replaced since."""
        for module, name, original, function in self._patched:
            if getattr(module, name) is function:
                setattr(module, name, original)

    def _leave_child(self) -> None:
        self.undo()
        who = owner()
        for (number, whose), handler in self._kept.items():
            # A callback of the loop isn't the child's: its parent's loop is what would call it.
            if whose is who and not (isinstance(handler, _Handler) and handler.of_loop):
                self._signal(number, handler)

    # ------------------------------------------------------------------ what blocks set

    def keep(self, number: int, callback: Callable[[], object]) -> bool:
        """Keep a callback that a block has given the loop; False where the loop shall have it."""
        who = owner()
        if who is None or number not in _OURS or os.getpid() != self._pid:
            return False
        self._kept[number, who] = _Handler(lambda *_: callback(), who, of_loop=True)
        return True

    def let_go(self, number: int) -> bool | None:
        """Forget a callback of the loop's, and tell whether there was one; None where the loop has it."""
        who = owner()
        if who is None or number not in _OURS or os.getpid() != self._pid:
            return None
        return self._kept.pop((number, who), None) is not None

    def forget(self, who: Any) -> None:
        """Forget what somebody has set who has ended."""
        for key in [key for key in self._kept if key[1] is who]:
            del self._kept[key]

    def came(self, number: int) -> None:
        """Call what blocks have set for a signal that the executor leaves on."""
        for (each, _), handler in list(self._kept.items()):
            if each == number and isinstance(handler, _Handler):
                handler(number, None)

    def _get(self, number: int) -> Any:
        key = (number, owner())
        return self._kept[key] if key in self._kept else self._getsignal(number)

    def _set(self, signalnum: int, handler: Any) -> Any:
        who = owner()
        # A process that the block has forked is its own.
        own = os.getpid() != self._pid
        if who is not None and not own and callable(handler) and not isinstance(handler, signal.Handlers):
            given, handler = handler, _Handler(handler, who)
        else:
            given = handler
        if who is None or own or signalnum not in _OURS:
            return _bare(self._signal(signalnum, handler))
        before, ours = self._get(signalnum), self._getsignal(signalnum)
        # Refuses other threads than the main one, and what can't be a handler.
        self._signal(signalnum, ours if callable(handler) or handler in _SETTINGS else handler)
        if given is ours:
            self._kept.pop((signalnum, who), None)
        else:
            self._kept[signalnum, who] = handler
        return _bare(before)

    def _sent_by(self, original: Callable[..., Any], number_of: Callable[..., Any]) -> Callable[..., Any]:
        def send(*args: Any) -> Any:
            who, number = owner(), number_of(*args)
            if who is None or number not in _OURS or os.getpid() != self._pid:
                return original(*args)
            handler = self._kept.get((number, who))
            if isinstance(handler, _Handler):
                # For the block itself, and not for the executor.
                if threading.current_thread() is threading.main_thread():
                    handler(number, None)
                else:
                    self._loop.call_soon_threadsafe(handler, number, None)
                return None
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

    def __init__(self, handler: Callable[[int, Any], Any], who: Any, *, of_loop: bool = False) -> None:
        self.handler = handler
        self.who = who
        self.of_loop = of_loop
        """It was given to the event loop."""
        self._context = contextvars.copy_context()
        self._pid = os.getpid()

    def __call__(self, number: int, frame: Any) -> Any:
        try:
            return self._context.copy().run(self.handler, number, frame)
        except BaseException as error:
            if owner() is self.who or os.getpid() != self._pid:
                # Its own code is what was interrupted: a time limit for it, say.
                raise
            blame(error, self.who)
            return None


def _bare(handler: Any) -> Any:
    return handler.handler if isinstance(handler, _Handler) else handler
