"""Counting calls until they are awaited, so that a block that forgets the ``await`` is told."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

__all__ = ["counted"]


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
