"""Counting calls until they are awaited, so that a block that forgets the ``await`` is told."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

__all__ = ["counted", "given_up"]


class Counting(Protocol):
    """What has counted calls."""

    unawaited: int


C = TypeVar("C", bound=Counting)
P = ParamSpec("P")
R = TypeVar("R")


def counted(
    method: Callable[Concatenate[C, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[C, P], Coroutine[Any, Any, R]]:
    """Count the call until it is awaited, so that a block that forgets the ``await`` is told."""

    async def begun(self: C, *args: P.args, **kwargs: P.kwargs) -> R:
        self.unawaited -= 1
        return await method(self, *args, **kwargs)

    def call(self: C, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        self.unawaited += 1
        return begun(self, *args, **kwargs)

    functools.update_wrapper(call, method)
    return call


def given_up(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Close a coroutine that was given to a task and never begun, for the task was cancelled before that.

    If it is such a call, it isn't one that the block forgot to await.
    """
    frame = getattr(coroutine, "cr_frame", None)
    if frame is None or inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED:
        return
    who = frame.f_locals.get("self") if frame.f_globals.get("__package__") == __package__ else None
    if isinstance(getattr(who, "unawaited", None), int):
        who.unawaited -= 1  # type: ignore[union-attr]  # as has just been seen
    coroutine.close()
