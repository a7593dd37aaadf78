"""Waits for what tells nobody: a condition, looked at after each call of what changes it, or each change of files."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["until_called", "until_files"]

_CHANGES = 0x002 | 0x004 | 0x040 | 0x080 | 0x100 | 0x200 | 0x400
"""inotify(7): modified, attributes, moved from here and to here, created, deleted, and the directory itself deleted."""


async def until_called(owner: object, name: str, holds: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something holds that calls of ``owner.name`` bring about, on whatever thread they are made."""
    loop, called = asyncio.get_running_loop(), asyncio.Event()
    original: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        finally:
            loop.call_soon_threadsafe(called.set)

    @functools.wraps(original)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        try:
            return await original(*args, **kwargs)
        finally:
            loop.call_soon_threadsafe(called.set)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, call_async if inspect.iscoroutinefunction(original) else call)
        await _until(holds, called, seconds)


async def until_files(directory: Path, holds: Callable[[], object]) -> None:
    """Wait until something holds of the files in a directory and below it, whoever changes them."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    with _notifications() as (fd, watch):

        def look() -> None:
            os.read(fd, 1 << 16)
            # What was made since is watched before the condition is looked at, so that nothing in it is missed.
            watch(directory)
            changed.set()

        watch(directory)
        loop.add_reader(fd, look)
        try:
            await _until(holds, changed, 60)
        finally:
            loop.remove_reader(fd)


async def _until(holds: Callable[[], object], changed: asyncio.Event, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while True:
            # Cleared first: a change that comes while the condition is looked at counts.
            changed.clear()
            if holds():
                return
            await changed.wait()


@contextmanager
def _notifications() -> Iterator[tuple[int, Callable[[Path], None]]]:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")

    def watch(directory: Path) -> None:
        # Of one that isn't there yet, what it will come to be in; again, if more of the way was made meanwhile.
        near = None
        while near != (near := _nearest(directory)):
            libc.inotify_add_watch(fd, os.fsencode(near), _CHANGES)
        # To add one again changes nothing. One that has gone meanwhile is refused, and that it went was told above it.
        for place, _, _ in os.walk(directory):
            libc.inotify_add_watch(fd, os.fsencode(place), _CHANGES)

    try:
        yield fd, watch
    finally:
        os.close(fd)


def _nearest(directory: Path) -> Path:
    return next(place for place in (directory, *directory.parents) if place.is_dir())
